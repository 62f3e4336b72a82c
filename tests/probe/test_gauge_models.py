"""A gauge model in a probe: loaded from a directory or in hand, traced, and re-drawn for the null."""

import json

import numpy as np
import pytest
import torch
from tiny_models import random_prompts

import rgprobe as rg
from rgprobe.errors import CheckpointError
from rgprobe.models import GaugeConfig, GaugeTransformer
from rgprobe.models.tokenizer import save_tokenizer, train_tokenizer
from rgprobe.probe.row_statistics import MINIMUM_KEYS

CONFIG = GaugeConfig(n_layers=2, n_heads=2, d_model=16, d_vocab=61, n_ctx=32, d_mlp=24, d_code=4, initializer_range=0.3)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("gauge") / "tiny-gauge"
    model = GaugeTransformer(CONFIG)
    model.reset_parameters(3)
    model.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def probe(directory):
    return rg.load(directory, device="cpu")


def state(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def test_a_directory_becomes_a_gauge_probe(probe, directory):
    assert (probe.family, probe.name, probe.source.kind) == ("gauge", "tiny-gauge", "directory")
    assert (probe.n_blocks, probe.n_heads, probe.width, probe.vocabulary, probe.context) == (2, 2, 16, 61, 32)
    assert probe.causal
    assert set(probe.source.sha256) == {"config.json", "model.safetensors"}
    assert probe.n_parameters == sum(p.numel() for p in GaugeTransformer.from_pretrained(directory).parameters())
    (ids,) = random_prompts(1, 20)
    model = GaugeTransformer.from_pretrained(directory)
    with torch.no_grad():
        assert torch.equal(probe.logits(ids), model(ids[None])[0])
        expected = model(ids[None], return_type="loss").item()
    assert probe.loss(ids) == pytest.approx(expected, rel=1e-5)
    assert probe.hook_gives_scores


def test_precision_and_a_model_in_hand(directory):
    assert rg.load(directory, device="cpu", dtype="float64").dtype == torch.float64
    model = GaugeTransformer.from_pretrained(directory).train()
    before = state(model)
    in_hand = rg.load(model)
    assert in_hand.bridge is model
    with in_hand.randomised(0) as null:
        assert null.bridge is not model
        assert not torch.equal(null.bridge.embed.weight, model.embed.weight)
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())
    assert model.training


def test_the_null_is_drawn_in_place_and_put_back(probe):
    before = state(probe.bridge)
    drawn = []
    for seed in (0, 0, 1):
        with probe.randomised(seed) as null:
            assert null.bridge is probe.bridge
            assert null.family == "gauge"
            drawn.append(null.bridge.embed.weight.detach().clone())
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert all(torch.equal(before[name], p) for name, p in probe.bridge.named_parameters())


@pytest.mark.parametrize("belief", ["lens", "thermal"])
def test_traces_hold_what_the_model_computed(probe, belief):
    prompts = random_prompts(2, 17)
    trace = rg.trace(probe, prompts, belief=belief, positions=5)
    assert trace.provenance["family"] == "gauge"
    with torch.no_grad():
        _, cache = probe.bridge.run_with_cache(prompts[0][None])
    recorded = trace.recorded(0)
    for depth in range(2):
        after = cache[f"blocks.{depth}.hook_resid_post"][0, recorded]
        np.testing.assert_allclose(trace.states[0, depth + 1], after.numpy(), rtol=1e-5, atol=1e-6)
    pattern = cache["blocks.1.attn.hook_pattern"][0].double()
    participation = trace.attention["participation"].sel(sink="included").isel(prompt=0, block=1)
    enough = (pattern[0] > 0).sum(-1) >= MINIMUM_KEYS
    expected = (1 / pattern.square().sum(-1))[:, enough].mean(-1)
    np.testing.assert_allclose(participation, expected.numpy(), rtol=1e-4)
    if belief == "thermal":
        beliefs = trace.beliefs(0, 1)
        assert beliefs.batch_shape == (5, 2)
        weights = pattern[:, recorded].clone()
        weights[:, 1:, 0] = 0  # token 1, the first recorded, sees nothing but the sink
        assert recorded[0] == 1
        weights /= weights.sum(-1, keepdim=True)
        values = cache["blocks.1.attn.hook_v"][0].double().transpose(0, 1)
        torch.testing.assert_close(beliefs.mean, (weights @ values).transpose(0, 1), rtol=1e-4, atol=1e-5)
    else:
        last = torch.as_tensor(trace.beliefs(0, 2)).logsumexp(-1)
        torch.testing.assert_close(last, torch.zeros_like(last), rtol=0, atol=1e-5)


def test_a_run_with_a_null(probe, tmp_path):
    flow = rg.run(probe, random_prompts(2, 12), nulls=1, seed=0)
    again = rg.run(probe, random_prompts(2, 12), nulls=1, seed=0)
    flow.save(tmp_path / "a.nc")
    again.save(tmp_path / "b.nc")
    assert (tmp_path / "a.nc").read_bytes() == (tmp_path / "b.nc").read_bytes()
    assert rg.open_flow(tmp_path / "a.nc").provenance["family"] == "gauge"


def test_a_tokenizer_beside_the_weights_is_read_in_silence(directory, tmp_path, capfd):
    for file in directory.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    save_tokenizer(train_tokenizer(["to be"], level="character"), tmp_path, context=32)
    with_text = rg.load(tmp_path, device="cpu")
    assert with_text.tokenizer is with_text.bridge.tokenizer
    assert with_text.tokenizer.decode(with_text.bridge.to_tokens("be")[0, 1:]) == "be"
    assert capfd.readouterr().err == ""


def test_damaged_gauge_checkpoints_are_refused(directory, tmp_path):
    for file in directory.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    record = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**record, "format_version": 7}))
    with pytest.raises(CheckpointError, match="format_version: expected 1, received 7"):
        rg.load(tmp_path, device="cpu")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"expected model\.safetensors"):
        rg.load(tmp_path, device="cpu")
