"""A tiny random checkpoint with the shipped tokenizer, and `rgprobe` called in this process."""

import math
import os
import shutil
from typing import NamedTuple

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported: everything here is on disk

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from rgprobe.cli import main, run_command
from rgprobe.models import GaugeConfig, GaugeTransformer
from rgprobe.models.shipped import shipped_path

CONTEXT, VOCABULARY = 48, 2048


class Outcome(NamedTuple):
    """What one invocation did."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def built_checkpoint(tmp_path_factory):
    directory = tmp_path_factory.mktemp("built") / "tiny"
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(
        **sizes, vocab_size=VOCABULARY, max_position_embeddings=CONTEXT, bos_token_id=0, eos_token_id=0,
        tie_word_embeddings=True,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(directory)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(shipped_path("standard-small") / name, directory)
    return directory


@pytest.fixture(scope="session")
def gauge_checkpoint(tmp_path_factory):
    """A gauge model, to be read only."""
    directory = tmp_path_factory.mktemp("built") / "tiny-gauge"
    config = GaugeConfig(n_layers=2, n_heads=2, d_model=16, d_vocab=VOCABULARY, n_ctx=CONTEXT, d_mlp=24, d_code=4)
    model = GaugeTransformer(config)
    model.reset_parameters(0)
    model.save_pretrained(directory)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(shipped_path("standard-small") / name, directory)
    return directory


@pytest.fixture
def checkpoint(built_checkpoint, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(built_checkpoint, tmp_path / "tiny")


@pytest.fixture
def rgprobe(capsys, monkeypatch):
    """Call the command line; standard error never holds more than one line."""
    monkeypatch.setattr(run_command, "LONG", math.inf)  # what a run announces depends on how busy the machine is

    def call(*arguments):
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert err.count("\n") == (code != 0), err
        assert err == "" or err.startswith("rgprobe: ")
        assert "Traceback" not in out + err
        return Outcome(code, out, err)

    return call


@pytest.fixture
def run_tiny(rgprobe, checkpoint, tmp_path, monkeypatch):
    """`rgprobe run` on the tiny checkpoint; drawing takes most of the time, so it is left out unless `draw`."""

    def call(*arguments, source=checkpoint, out=tmp_path / "out", nulls=0, diagnostics="condensation", draw=False):
        if not draw:
            monkeypatch.setattr("rgprobe.report.write_report", lambda flows, path, **_: path.write_text("a page"))
        fixed = ("run", source, "--nulls", nulls, "--out", out, "--device", "cpu", "--diagnostics", diagnostics)
        return rgprobe(*fixed, *arguments)

    return call


@pytest.fixture(scope="session")
def finished_once(built_checkpoint, tmp_path_factory):
    directory = tmp_path_factory.mktemp("finished") / "out"
    texts = ("--text", "Now is the winter of our discontent made glorious summer", "--text", "A second, shorter one")
    few = ("--diagnostics", "temperature,elimination,condensation,consensus")
    assert (
        main(["run", str(built_checkpoint), *texts, "--nulls", "2", "--out", str(directory), "--device", "cpu", *few])
        == 0
    )
    return directory


@pytest.fixture
def finished(finished_once, tmp_path):
    """The output directory of a complete run: several diagnostics, two prompts, two random initialisations."""
    return shutil.copytree(finished_once, tmp_path / "finished")
