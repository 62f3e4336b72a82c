"""Patched passes: calling only the blocks behind the patch changes nothing, in any family, at any state."""

import pytest
import tiny_models
import torch
from gauge_models import tiny_gauge
from tiny_models import random_prompts

import rgprobe as rg
from rgprobe import categorical
from rgprobe.probe import patching
from rgprobe.probe.patching import patched_divergence, states_at

IDS = random_prompts(1, 7)[0]
SCORE = torch.tensor([5, 6])
GAUGE = {"gauge": {}, "gauge, full covariance": {"covariance": "full"}, "gauge, free-energy descent": {"update": "vfe"}}


def probe_of(name):
    return rg.load(tiny_gauge(**GAUGE[name]) if name in GAUGE else tiny_models.FAMILIES[name]().double())


def whole_pass(probe, state, rows):
    """Reference: the model runs from its first block for every patch."""
    seen = []
    hooks = [(probe.state_hook(state), lambda tensor, hook: rows[None])]
    hooks.append((probe.state_hook(probe.n_blocks), lambda tensor, hook: seen.append(tensor[0])))
    with torch.inference_mode():
        probe.rows_to_last_state(IDS[None], hooks)
    return probe.readout(seen[0][SCORE]).double().log_softmax(-1)


@pytest.mark.parametrize("name", [*tiny_models.FAMILIES, *GAUGE])
def test_blocks_behind_the_patch_give_what_whole_passes_give(name):
    probe = probe_of(name)
    shifts = torch.randn(
        2 * patching.BATCH + 3, len(IDS), probe.width, generator=torch.Generator().manual_seed(0), dtype=probe.dtype
    )
    for state in range(probe.n_blocks + 1):
        own = states_at(probe, IDS, state)
        unpatched = whole_pass(probe, state, own)
        expected = [categorical.kl(unpatched, whole_pass(probe, state, own + shift)).mean() for shift in shifts]
        patches = [lambda here, shift=shift: here + shift for shift in shifts]
        found = patched_divergence(probe, IDS, patches, state=state, score=SCORE)
        torch.testing.assert_close(found, torch.stack(expected), rtol=1e-5, atol=1e-12)


def test_earlier_blocks_run_for_the_first_batch_only():
    probe = probe_of("llama")
    probe.calibrate()
    calls = []
    handles = [
        block.register_forward_pre_hook(lambda module, args, index=index: calls.append(index))
        for index, block in enumerate(probe.bridge.blocks)
    ]
    patches = [lambda here: here] * (3 * patching.BATCH - 1)
    found = patched_divergence(probe, IDS, patches, state=probe.n_blocks - 1, score=SCORE)
    for handle in handles:
        handle.remove()
    # one pass for the states, one for the first batch, in which the last block is called once more for the check
    assert calls.count(0) == 2
    assert calls.count(probe.n_blocks - 1) == 2 + 1 + 2
    assert float(found.abs().max()) < 1e-12


def test_a_block_that_is_no_map_is_passed_whole(monkeypatch):
    probe = probe_of("gpt2")
    patches = [lambda here: 1.1 * here] * (patching.BATCH + 2)
    expected = patched_divergence(probe, IDS, patches, state=1, score=SCORE)
    monkeypatch.setattr(patching, "relative_error", lambda found, target: 1.0)
    torch.testing.assert_close(patched_divergence(probe, IDS, patches, state=1, score=SCORE), expected)
