"""Saving and loading a gauge model, and what damaged checkpoints get."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from rgprobe.errors import CheckpointError
from rgprobe.models import GaugeConfig, GaugeTransformer

CONFIG = GaugeConfig(n_layers=1, n_heads=2, d_model=8, d_vocab=11, n_ctx=9, d_mlp=12, d_code=3)


@pytest.fixture
def saved(tmp_path):
    GaugeTransformer(CONFIG).save_pretrained(tmp_path / "gauge")
    return tmp_path / "gauge"


def edit_config(directory, **changes):
    path = directory / "config.json"
    record = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({name: value for name, value in record.items() if value is not None}))


def edit_tensors(directory, change):
    path = directory / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


@pytest.mark.parametrize("changes", [{}, {"decode": "kl", "update": "vfe"}, {"attention": "uniform", "frames": "none"}])
def test_a_saved_model_computes_the_same(tmp_path, changes):
    model = GaugeTransformer(GaugeConfig(**{**CONFIG.to_dict(), **changes})).eval()
    model.save_pretrained(tmp_path / "a")
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    again = GaugeTransformer.from_pretrained(tmp_path / "a")
    assert torch.equal(torch.rand(2), expected)
    ids = torch.tensor([[0, 4, 10, 4]])
    assert again.cfg == model.cfg
    assert torch.equal(again(ids), model(ids))
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"config.json", "model.safetensors"}
    record = json.loads((tmp_path / "a" / "config.json").read_text())
    assert record["model_type"] == "gauge_transformer"
    assert record["format_version"] == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "llama"}, "model_type: expected 'gauge_transformer', received 'llama'"),
        ({"model_type": None}, "model_type: expected 'gauge_transformer', received None"),
        ({"format_version": 2}, "format_version: expected 1, received 2; use the version of rgprobe that wrote it"),
        ({"n_heads": 3}, "d_model: expected a multiple of 2 x heads = 6"),
        ({"attention": "cosine"}, "attention: expected kl"),
        ({"colour": "red"}, "colour: expected a field"),
        ({"d_mlp": None}, "d_mlp: expected a positive integer, received nothing"),
        ({"d_mlp": 13}, r"mlp.down.weight: expected shape \(8, 13\), received shape \(8, 12\)"),
        ({"frames": "none"}, "received 1 extra: tokens.phi.weight"),
        ({"n_layers": 2}, "missing: blocks.1."),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(saved, changes, message):
    edit_config(saved, **changes)
    with pytest.raises(CheckpointError, match=message):
        GaugeTransformer.from_pretrained(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("embed.weight"), "received 1 missing: embed.weight"),
        (lambda tensors: tensors.update(extra=torch.ones(2)), "received 1 extra: extra"),
        (lambda tensors: tensors["ln_final.weight"].fill_(torch.nan), "ln_final.weight: expected finite.*8 NaN"),
        (lambda tensors: tensors.update({"ln_final.weight": torch.ones(8).long()}), "floating-point.*int64"),
    ],
)
def test_tensors_that_do_not_fit_are_named(saved, change, message):
    edit_tensors(saved, change)
    with pytest.raises(CheckpointError, match=message):
        GaugeTransformer.from_pretrained(saved)


@pytest.mark.parametrize(
    ("name", "content"),
    [("config.json", b"{"), ("config.json", b"[]"), ("config.json", b"\xff"), ("model.safetensors", b"\x00" * 40)],
)
def test_broken_files_are_named(saved, name, content):
    (saved / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=name):
        GaugeTransformer.from_pretrained(saved)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_absent_and_truncated_files_are_named(saved, name):
    path = saved / name
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CheckpointError, match=name):
        GaugeTransformer.from_pretrained(saved)
    path.unlink()
    with pytest.raises(CheckpointError, match=name):
        GaugeTransformer.from_pretrained(saved)
