"""Batched activations against one sequence at a time, for both families."""

import numpy as np
import pytest
import tiny_models
import torch
from gauge_models import tiny_gauge

import rgprobe as rg
from rgprobe.errors import PromptError
from rgprobe.probe.batches import activations, batched_log_probabilities, batched_states

MODELS = {"gauge": tiny_gauge, "gpt2": tiny_models.gpt2, "llama": tiny_models.llama}
IDS = torch.stack(tiny_models.random_prompts(5, 9))


@pytest.fixture(params=MODELS, scope="module")
def probe(request):
    return rg.load(MODELS[request.param]())


def test_batches_are_what_a_trace_of_single_prompts_holds(probe):
    trace = rg.trace(probe, list(IDS), positions=range(9), sink="include", bos="never", collect=["states"])
    found = batched_states(probe, IDS)
    np.testing.assert_allclose(found.transpose(1, 0, 2, 3), trace.states.values, rtol=1e-4, atol=1e-5)


def test_the_readout_of_the_last_state_is_the_prediction(probe):
    found = batched_log_probabilities(probe, batched_states(probe, IDS))
    expected = torch.stack([probe.logits(row).double().log_softmax(-1) for row in IDS])
    np.testing.assert_allclose(found[-1], expected.numpy(), atol=1e-4)
    np.testing.assert_allclose(np.exp(found).sum(-1), 1.0, atol=1e-12)


def test_the_size_of_a_batch_changes_nothing(probe):
    names = ["blocks.1.attn.hook_pattern", "blocks.0.attn.hook_v"]
    whole, parts = activations(probe, IDS, names), activations(probe, IDS, names, rows=2)
    for name in names:
        np.testing.assert_allclose(parts[name], whole[name], rtol=1e-5, atol=1e-6)
    assert whole[names[0]].shape == (5, probe.n_heads, 9, 9)


@pytest.mark.parametrize(
    "ids", [torch.zeros(0, 3, dtype=torch.int64), torch.tensor([[0, 61]]), torch.zeros(1, 65).long()]
)
def test_what_the_model_cannot_read_is_refused(probe, ids):
    with pytest.raises(PromptError):
        batched_states(probe, ids)
