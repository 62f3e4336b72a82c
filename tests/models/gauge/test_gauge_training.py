"""Gauge models through the loop that every family shares."""

import json

import pytest
from transformers import AutoTokenizer

from rgprobe.models import GaugeTransformer
from rgprobe.models.training import train


class Interruption(Exception):
    """Stands for a kill."""


def weights(directory):
    return (directory / "model.safetensors").read_bytes()


def test_a_short_run_learns_and_is_saved_whole(tiny_options):
    result = train(tiny_options(family="gauge", steps=40, validate_every=10))
    assert result.validation[-1] < result.validation[0] - 0.5
    written = {path.name for path in result.directory.iterdir()}
    assert written >= {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "training.json"}
    model, tokenizer = (kind.from_pretrained(result.directory) for kind in (GaugeTransformer, AutoTokenizer))
    assert model.cfg.d_vocab == len(tokenizer)
    assert sum(p.numel() for p in model.parameters()) == result.n_parameters
    record = json.loads((result.directory / "training.json").read_text())
    assert record["options"]["family"] == "gauge"


def test_a_resumed_run_equals_an_uninterrupted_one(tiny_options):
    def interrupt(progress):
        if progress.step == 7:
            raise Interruption

    whole = train(tiny_options("whole", family="gauge")).directory
    with pytest.raises(Interruption):
        train(tiny_options("cut", family="gauge"), on_progress=interrupt)
    cut = train(tiny_options("cut", family="gauge", resume=True)).directory
    assert weights(cut) == weights(whole)


def test_the_seed_decides_the_weights(tiny_options):
    runs = [train(tiny_options(f"run{i}", family="gauge", steps=2, seed=i // 2)).directory for i in range(3)]
    assert weights(runs[0]) == weights(runs[1]) != weights(runs[2])
