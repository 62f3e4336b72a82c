"""The smallest checkpoints of both families that every command takes, with the shipped tokenizer."""

import hashlib
import json
import shutil

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from rgprobe.models import GaugeConfig, GaugeTransformer
from rgprobe.models.shipped import shipped_path

CONTEXT, VOCABULARY = 24, 2048
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


def build(root):
    """{"standard": directory, "gauge": directory}."""
    found = {"standard": root / "standard", "gauge": root / "gauge"}
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"bos_token_id": 0, "eos_token_id": 0, "tie_word_embeddings": True}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(LlamaConfig(**sizes, **ends, vocab_size=VOCABULARY, max_position_embeddings=CONTEXT))
    model.save_pretrained(found["standard"])
    gauge = GaugeTransformer(
        GaugeConfig(n_layers=2, n_heads=2, d_model=8, d_vocab=VOCABULARY, n_ctx=CONTEXT, d_mlp=8, d_code=4)
    )
    gauge.reset_parameters(0)
    gauge.save_pretrained(found["gauge"])
    for directory in found.values():
        for name in TOKENIZER:
            shutil.copy(shipped_path("standard-small") / name, directory)
        (directory / "model.safetensors").chmod(0o644)
    return found


def copied(source, target):
    """A copy whose weights may be damaged; the other files are links."""
    target.mkdir(parents=True)
    for file in source.iterdir():
        if file.name in TOKENIZER:
            (target / file.name).symlink_to(file)
        else:
            shutil.copyfile(file, target / file.name)
    return target


def manifest_of(*directories):
    """As shipped/manifest.json holds it."""
    return json.dumps(
        {each.name: {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(each.iterdir())}
         for each in directories}
    )  # fmt: skip
