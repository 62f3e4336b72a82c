"""Sizes read off a configuration alone are those of the model, and its relatives share everything but blocks, or width."""

import json

import pytest
import tiny_models
import torch
from tiny_models import FAMILIES

from rgprobe.errors import CheckpointError
from rgprobe.models.shipped import shipped_path
from rgprobe.probe import outline as module
from rgprobe.probe.loading import load
from rgprobe.probe.outline import miniature, outline_of


@pytest.mark.parametrize("name", ["standard-small", "gauge-small"])
def test_a_shipped_model_is_counted_without_its_weights(name, tmp_path):
    probe = load(name, device="cpu")
    (tmp_path / "config.json").write_bytes((shipped_path(name) / "config.json").read_bytes())
    for source in (name, tmp_path, tmp_path / "config.json"):
        found = outline_of(source)
        assert (found.family, found.blocks, found.heads, found.width) == (
            probe.family, probe.n_blocks, probe.n_heads, probe.width,
        )  # fmt: skip
        assert (found.vocabulary, found.context, found.parameters) == (
            probe.vocabulary, probe.context, probe.n_parameters,
        )  # fmt: skip
        assert 0 < found.matrices < found.parameters


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_architecture_has_relatives(family, tmp_path):
    model = FAMILIES[family]()
    model.config.save_pretrained(tmp_path)
    record = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**record, "architectures": [type(model).__name__]}))
    outline = outline_of(tmp_path)
    assert outline.parameters == sum(parameter.numel() for parameter in model.parameters())
    before = torch.random.get_rng_state()
    probe, relative = miniature(outline, 1)
    assert (probe.n_blocks, probe.n_heads, probe.width, probe.vocabulary) == (1, 4, tiny_models.WIDTH, 61)
    assert relative.parameters == probe.n_parameters
    assert torch.equal(before, torch.random.get_rng_state())


def test_what_does_not_fit_is_halved_in_width(tmp_path, monkeypatch):
    tiny_models.llama(vocab_size=4000).config.save_pretrained(tmp_path)
    record = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**record, "architectures": ["LlamaForCausalLM"]}))
    monkeypatch.setattr(module, "LARGEST", 60_000)
    outline = outline_of(tmp_path)
    assert outline.parameters > 60_000
    probe, relative = miniature(outline, 2)
    assert relative.parameters <= 60_000
    assert (probe.width, probe.n_heads, probe.vocabulary) == (12, 2, 2000)


def test_what_has_no_configuration_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no config"):
        outline_of(tmp_path)
    (tmp_path / "config.json").write_text("[")
    with pytest.raises(CheckpointError, match="no JSON"):
        outline_of(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama", "architectures": ["Nothing"]}')
    with pytest.raises(CheckpointError, match="known architecture"):
        outline_of(tmp_path)


@pytest.mark.parametrize(
    "field",
    [
        {"architectures": ["pipeline"]},  # a function of transformers
        {"architectures": ["AutoModel"]},
        {"architectures": [7]},
        {"architectures": None},
        {"hidden_size": -8},
        {"hidden_size": "wide"},
        {"num_hidden_layers": 1.5},
        {"num_attention_heads": 0},
        {"vocab_size": None},
    ],
    ids=str,
)
def test_odd_configurations_are_refused(field, tmp_path):
    settings = json.loads((shipped_path("standard-small") / "config.json").read_text("utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(settings | field), encoding="utf-8")
    with pytest.raises(CheckpointError, match="the configuration of a known architecture"):
        outline_of(tmp_path)


def test_a_gauge_configuration_takes_no_memory(tmp_path):
    settings = json.loads((shipped_path("gauge-small") / "config.json").read_text("utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(settings | {"d_vocab": 2**34}), encoding="utf-8")
    assert outline_of(tmp_path).parameters > 2**34
