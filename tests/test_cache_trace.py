"""Recorded activations give the numbers that the model itself gives; what they do not allow is refused with a reason."""

import numpy as np
import pytest
import torch
import xarray as xr
from gauge_models import tiny_gauge
from hooked_model import VOCABULARY, HookedTransformer
from tiny_models import bert, gpt2, random_prompts

import rgprobe as rg
from rgprobe.errors import BadInput, OptionError, PromptError

LENGTHS = (17, 11, 23)


def padded(prompts, side="right"):
    """Ids, and their mask."""
    longest = max(map(len, prompts))
    ids, mask = torch.zeros(len(prompts), longest, dtype=torch.long), torch.zeros(len(prompts), longest)
    for row, prompt in enumerate(prompts):
        at = slice(0, len(prompt)) if side == "right" else slice(longest - len(prompt), longest)
        ids[row, at], mask[row, at] = prompt, 1
    return ids, mask


def some_prompts(vocabulary=VOCABULARY):
    return [random_prompts(1, length, seed=length, vocabulary=vocabulary)[0] for length in LENGTHS]


def cached(model, ids):
    with torch.no_grad():
        _, cache = model.run_with_cache(ids)
    return cache


def test_a_padded_cache_measures_what_the_model_measures():
    model = rg.load(HookedTransformer())
    ids, mask = padded(some_prompts())
    trace = rg.trace_cache(cached(model.bridge, ids), mask=mask, tokens=ids, readout=model.readout, positions=7)
    direct = rg.trace(model, some_prompts(), positions=7, collect=trace.provenance["options"]["collect"])
    for name in ("attention", "geometry", "lens", "units"):
        # the same arithmetic in a batch may round the last digit another way
        xr.testing.assert_allclose(getattr(trace, name), getattr(direct, name), rtol=1e-4, atol=1e-5)
    for name in ("states", "sketches", "graph"):
        xr.testing.assert_allclose(getattr(trace, name), getattr(direct, name), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(trace.token_ids, direct.token_ids)
    assert trace.reductions.keys() == direct.reductions.keys() >= {"fisher", "mixing", "response"}


@pytest.mark.parametrize("make", [gpt2, bert, tiny_gauge])
def test_one_prompt_of_every_family_is_bit_equal(make):
    model = rg.load(make())
    (prompt,) = random_prompts(1, 13)
    plain = {name: tensor.numpy() for name, tensor in cached(model.bridge, prompt[None]).items()}
    trace = rg.trace_cache(plain, tokens=prompt, readout=model.readout)
    assert trace.causal == model.causal
    direct = rg.trace(model, [prompt], collect=["attention", "states", "beliefs", "sketches"])
    xr.testing.assert_identical(trace.lens, direct.lens)
    xr.testing.assert_identical(trace.geometry, direct.geometry)
    xr.testing.assert_allclose(trace.attention, direct.attention, rtol=1e-6)


def test_left_padding_and_a_cache_without_batch_are_cut_alike():
    states = {f"blocks.{block}.hook_resid_post": torch.randn(1, 9, 6) for block in range(3)}
    states["blocks.0.hook_resid_pre"] = torch.randn(1, 9, 6)
    left = {name: torch.cat([torch.full((1, 4, 6), 7.0), tensor], 1) for name, tensor in states.items()}
    bare = rg.trace_cache({name: tensor[0] for name, tensor in states.items()})
    xr.testing.assert_identical(rg.trace_cache(left, mask=[[0] * 4 + [1] * 9]).states, bare.states)
    assert bare.states.sizes == {"prompt": 1, "state": 4, "position": 8, "width": 6}


def test_either_name_of_a_state_and_either_name_of_attention_will_do():
    model = rg.load(HookedTransformer())
    prompt = some_prompts()[0]
    full = dict(cached(model.bridge, prompt[None]).items())
    spare = {name: full[name] for name in full if not name.startswith("blocks.0.hook_resid_post")}
    xr.testing.assert_identical(rg.trace_cache(spare).states, rg.trace_cache(full).states)
    patterns = {name: full[name] for name in full if "attn_scores" not in name}
    by_pattern, by_scores = rg.trace_cache(patterns).attention, rg.trace_cache(full).attention
    for name in ("participation", "participation_by_token", "heat_capacity", "keys", "distance"):
        xr.testing.assert_allclose(by_pattern[name], by_scores[name], rtol=1e-4, atol=1e-6)


def test_thermal_beliefs_come_from_attention_and_values():
    model = rg.load(HookedTransformer())
    prompt = some_prompts()[0]
    cache = dict(cached(model.bridge, prompt[None]).items())
    trace = rg.trace_cache(cache, belief="thermal", positions=5)
    direct = rg.trace(model, [prompt], belief="thermal", positions=5, collect=["beliefs"])
    torch.testing.assert_close(trace.beliefs(0, 1).mean, direct.beliefs(0, 1).mean, rtol=0, atol=0)
    cache.pop("blocks.1.attn.hook_v")
    with pytest.raises(OptionError, match=r"blocks\.1\.attn\.hook_v not recorded"):
        rg.trace_cache(cache, belief="thermal")


def test_without_tokens_nothing_is_said_of_the_next_token():
    model = rg.load(HookedTransformer())
    cache = cached(model.bridge, some_prompts()[0][None])
    trace = rg.trace_cache(cache, readout=model.readout)
    assert trace.lens["answer_rank"].isnull().all()
    assert trace.lens["entropy"].notnull().all()
    assert (trace.token_ids == -1).all()
    assert trace.tokens[0][:3] == ("0", "1", "2")
    named = rg.trace_cache(cache, tokens=[[f"w{i}" for i in range(LENGTHS[0])]])
    assert named.recorded_tokens(0)[0] == "w1"


def test_what_was_not_recorded_is_left_out_with_a_reason_or_refused_by_name():
    states = {f"blocks.{block}.hook_resid_{end}": torch.randn(4, 9, 6) for block in (0, 1) for end in ("pre", "post")}
    flow = rg.measure(rg.trace_cache(states))
    assert {"collapse", "correlation", "nongaussianity"} <= set(flow.diagnostics)
    reasons = flow.provenance["not_measured"]
    assert reasons["temperature"] == "needs attention (blocks.0.attn.hook_pattern and 1 more not recorded)"
    assert "no readout was given" in reasons["elimination"]
    with pytest.raises(OptionError, match="hook_pattern and 1 more not recorded"):
        rg.measure(rg.trace_cache(states), diagnostics="temperature")
    with pytest.raises(OptionError, match="no model here to run again"):
        rg.measure(rg.trace_cache(states), diagnostics="operator_gain")


@pytest.mark.parametrize(
    ("change", "culprit"),
    [
        ({"blocks.0.hook_resid_post": torch.full((2, 9, 6), torch.nan)}, "finite states"),
        ({"blocks.0.hook_resid_post": torch.zeros(2, 8, 6)}, "2 prompts of 9 tokens"),
        ({"blocks.0.hook_resid_post": torch.zeros(2, 1, 1, 9, 6)}, "2 dimensions and a batch"),
        ({"blocks.0.attn.hook_pattern": torch.full((2, 1, 9, 9), 0.05).tril()}, "rows that sum to 1"),
        ({"blocks.0.attn.hook_attn_scores": torch.full((2, 1, 9, 9), 1 / 9)}, "scores before the softmax"),
    ],
)
def test_what_is_no_activation_is_refused_by_name(change, culprit):
    states = {f"blocks.0.hook_resid_{end}": torch.randn(2, 9, 6) for end in ("pre", "post")}
    with pytest.raises(BadInput, match=culprit):
        rg.trace_cache({**states, **change})


def test_wrong_masks_tokens_names_and_policies_are_refused():
    states = {"blocks.0.hook_resid_pre": torch.randn(2, 9, 6), "blocks.0.hook_resid_post": torch.randn(2, 9, 6)}
    with pytest.raises(BadInput, match=r"mask: expected \(2, 9\)"):
        rg.trace_cache(states, mask=torch.ones(2, 8))
    with pytest.raises(PromptError, match="9, as activations"):
        rg.trace_cache(states, tokens=torch.zeros(2, 8, dtype=torch.long))
    with pytest.raises(PromptError, match="a row for each of 2 prompts"):
        rg.trace_cache(states, tokens=torch.zeros(3, 9, dtype=torch.long))
    with pytest.raises(BadInput, match=r"such as blocks\.0\.hook_resid_post"):
        rg.trace_cache({"model.layers.0.output": torch.zeros(2, 9, 6)})
    with pytest.raises(OptionError, match=r"lens \| thermal"):
        rg.trace_cache(states, belief="fisher")
    bidirectional = {**states, "blocks.0.attn.hook_pattern": torch.full((2, 1, 9, 9), 1 / 9)}
    assert not rg.trace_cache(bidirectional).causal
    with pytest.raises(BadInput, match=r"pass causal=False"):
        rg.trace_cache(bidirectional, causal=True)
