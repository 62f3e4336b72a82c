"""Checkpoints for sweeps, and work that can be sent to other processes."""

import os
import shutil
import signal
from pathlib import Path

import torch
from sweep_fates import log
from transformers import LlamaConfig, LlamaForCausalLM

from rgprobe.flow import run
from rgprobe.models.shipped import shipped_path
from rgprobe.probe.loading import load

TEXTS = ("Now is the winter of our discontent made glorious summer", "To be, or not to be, that is the question")
OPTIONS = {"nulls": 1, "positions": 4, "diagnostics": "plateau,attention_entropy"}
STEPS = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144)


def training_run(folder, *, steps=STEPS, seed=0):
    """A folder as `rgprobe train --checkpoints` leaves it: weights that drift a little with every step."""
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"bos_token_id": 0, "eos_token_id": 0, "tie_word_embeddings": True}
    config = LlamaConfig(**sizes, **ends, vocab_size=2048, max_position_embeddings=32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
        for step in steps:
            place = folder / "checkpoints" / f"step-{step:06d}"
            model.save_pretrained(place)
            for name in ("tokenizer.json", "tokenizer_config.json"):
                shutil.copy(shipped_path("standard-small") / name, place)
            for parameter in model.parameters():
                parameter.data += 0.1 * torch.randn_like(parameter)
    return folder


def measured(item, *, starts, victim=None):
    """The flow of an item; the process is killed in the middle of it the first time that the victim is at hand."""

    def on_progress(done, total, label):
        if item.place.step == victim and done == total - 1 and Path(starts).read_text().split().count(str(victim)) == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    log(starts, item.place.step)
    model = load(item.place.location, **item.loading)
    return run(model, list(item.prompts.texts), on_progress=on_progress, **item.running)
