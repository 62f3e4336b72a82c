"""Gauge models through the loop that every family shares."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from rgprobe.errors import OptionError
from rgprobe.models import GaugeTransformer
from rgprobe.models.families import get_family
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


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_resumed_run_equals_an_uninterrupted_one(tiny_options, precision):
    def interrupt(progress):
        if progress.step == 7:
            raise Interruption

    whole = train(tiny_options("whole", family="gauge", precision=precision)).directory
    with pytest.raises(Interruption):
        train(tiny_options("cut", family="gauge", precision=precision), on_progress=interrupt)
    cut = train(tiny_options("cut", family="gauge", precision=precision, resume=True)).directory
    assert weights(cut) == weights(whole)


def test_the_seed_decides_the_weights(tiny_options):
    runs = [train(tiny_options(f"run{i}", family="gauge", steps=2, seed=i // 2)).directory for i in range(3)]
    assert weights(runs[0]) == weights(runs[1]) != weights(runs[2])


@pytest.mark.parametrize("family", ["standard", "gauge"])
def test_bfloat16_changes_a_step_by_little_and_leaves_weights_float32(tiny_options, family):
    runs = [tiny_options(name, family=family, steps=3, precision=name) for name in ("float32", "bfloat16")]
    high, low = (load_file(train(options).directory / "model.safetensors") for options in runs)
    assert {tensor.dtype for tensor in low.values()} == {torch.float32}
    moved = [float((high[name] - low[name]).norm() / high[name].norm()) for name in high]
    assert 0 < max(moved) < 0.2


@pytest.mark.parametrize("family", ["standard", "gauge"])
def test_gradient_checkpointing_saves_memory_and_changes_no_bit(tiny_options, family, monkeypatch):
    kept = {}

    def keep(tensor):
        kept[here] = kept.get(here, 0) + tensor.numel()
        return tensor

    directories = []
    for here in (False, True):
        options = tiny_options(str(here), family=family, steps=2, layers=3, gradient_checkpointing=here)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            directories.append(train(options).directory)
    assert weights(directories[0]) == weights(directories[1])
    assert kept[True] < 0.8 * kept[False]


def test_switches_reach_the_model_and_its_record(tiny_options):
    settings = ("frames=rotary", "log_prior=false", "d_code=3")
    directory = train(tiny_options(family="gauge", steps=1, settings=settings)).directory
    config = GaugeTransformer.from_pretrained(directory).cfg
    assert (config.frames, config.log_prior, config.d_code) == ("rotary", False, 3)
    record = json.loads((directory / "training.json").read_text())
    assert record["options"]["settings"] == list(settings)
    assert record["command"].endswith("--set frames=rotary --set log_prior=false --set d_code=3")


@pytest.mark.parametrize(
    ("family", "settings", "message"),
    [
        ("standard", ("frames=rotary",), "--set: .*frames; pass --family gauge"),
        ("gauge", ("frame=rotary",), "frame: expected a field of GaugeConfig"),
        ("gauge", ("frames=spiral",), "frames: expected so"),
        ("gauge", ("log_prior",), "--set: expected name=value"),
    ],
)
def test_switches_that_do_not_exist_are_refused(tiny_options, family, settings, message):
    with pytest.raises(OptionError, match=message):
        train(tiny_options(family=family, settings=settings))


def test_without_switches_both_families_have_equally_many_parameters():
    for size in (
        {"vocabulary": 2048, "context": 256, "layers": 6, "width": 128, "heads": 8},
        {"vocabulary": 96, "context": 64, "layers": 4, "width": 128, "heads": 4},
        {"vocabulary": 4096, "context": 64, "layers": 3, "width": 192, "heads": 6},
    ):
        counts = [sum(p.numel() for p in get_family(name).build(**size).parameters()) for name in ("standard", "gauge")]
        assert abs(counts[1] / counts[0] - 1) < 0.02, size
