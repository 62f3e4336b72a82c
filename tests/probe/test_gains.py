"""Perturbations followed through tiny models of both families, against central finite differences of whole passes."""

import numpy as np
import pytest
import tiny_models
import torch
from gauge_models import tiny_gauge
from tiny_models import random_prompts

import rgprobe as rg
from rgprobe.errors import NumericalRefusal
from rgprobe.probe.gains import (
    DIRECTIONS,
    SHORTEST,
    direction_names,
    fisher_lengths,
    followed,
    gains,
    input_states,
    perturbations,
    unit_length,
)

IDS = random_prompts(1, 11)[0]
RECORDED = torch.tensor([1, 4, 10])
MODELS = {"gpt2": tiny_models.gpt2, "llama": tiny_models.llama, "bert": tiny_models.bert, "gauge": tiny_gauge}


@pytest.fixture(scope="module", params=list(MODELS))
def probe(request):
    return rg.load(MODELS[request.param]().double())


def states_and_logits(probe, shift):
    """All states and the model's own logits with state 0 displaced."""
    states = []
    hooks = [(probe.state_hook(0), lambda x, hook: x + shift)]
    hooks += [(probe.state_hook(s), lambda x, hook: states.append(x[0].clone())) for s in range(probe.n_blocks + 1)]
    with torch.no_grad(), probe.evaluating():
        logits = probe.bridge.run_with_hooks(IDS[None], fwd_hooks=hooks, return_type="logits")[0]
    return torch.stack(states), logits


def slopes_along(probe, direction, step):
    """Derivatives of states and logits by differences of whole passes, of fourth order: the slow, obvious way."""

    def slope(h):
        (up, high), (down, low) = (states_and_logits(probe, sign * h * direction) for sign in (1, -1))
        return (up - down) / (2 * h), (high - low) / (2 * h)

    return [(4 * near - far) / 3 for near, far in zip(slope(step), slope(2 * step), strict=True)]


def test_lengths_are_those_of_central_differences(probe):
    # transformers computes the norms of llama in float32, whatever the weights are: differences carry its rounding
    step, accuracy = (1e-3, 1e-3) if "Llama" in probe.name else (1e-4, 1e-7)
    u = perturbations(probe, IDS, first=1)[[0, 3, 5, 8]]
    p = states_and_logits(probe, 0)[1][RECORDED].softmax(-1)
    metric = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    for direction, length, output in zip(u, *followed(probe, IDS, u, RECORDED, first=1), strict=True):
        change, dz = slopes_along(probe, direction, step)
        np.testing.assert_allclose(length, change[:, 1:].square().sum(-1).mean(-1).sqrt().log(), atol=accuracy)
        form = torch.einsum("ia,iab,ib->i", dz[RECORDED], metric, dz[RECORDED])
        assert output == pytest.approx(0.5 * float(form.mean().log()), abs=accuracy)


def test_directions_are_named_and_of_unit_length_without_the_sink(probe):
    u = perturbations(probe, IDS, first=1)
    assert len(u) == len(direction_names()) == sum(DIRECTIONS.values())
    torch.testing.assert_close(u.square().sum((1, 2)), torch.full((len(u),), 10.0, dtype=torch.float64))
    assert not u[:, 0].any()
    torch.testing.assert_close(perturbations(probe, IDS, first=1), u)  # drawn by the prompt alone


def test_an_exchange_keeps_the_sum_of_each_pair_unless_a_norm_stands_before_state_0(probe):
    u = perturbations(probe, IDS, first=1)[direction_names().index("order_1")]
    rest = float(u[1:11].unflatten(0, (-1, 2)).sum(1).abs().max())
    assert (rest < 1e-12) is (probe.name != "BertForMaskedLM")


def test_principal_directions_are_the_same_axis_at_every_token_up_to_sign(probe):
    axes = perturbations(probe, IDS, first=1)[:3, 1:]
    x = input_states(probe, IDS[None])[0, 1:]
    covariance = torch.cov(x.T)
    for k, axis in enumerate(axes):
        torch.testing.assert_close(axis * torch.sign(axis @ axis[0])[:, None], axis[:1].expand_as(axis))
        assert float(axis[0] @ covariance @ axis[0]) == pytest.approx(float(torch.linalg.eigvalsh(covariance)[-1 - k]))


def test_the_collection_is_part_of_a_trace_and_refuses_short_prompts(probe):
    short = IDS[:SHORTEST]
    trace = rg.trace(probe, [IDS, short, short.new_full((9,), 5)], positions=4, collect=["gains"])
    found = trace.reductions["gains"]
    assert found["log_length"].dims == ("prompt", "direction", "state")
    np.testing.assert_allclose(found["log_length"][0, :, 0], 0, atol=1e-12)
    assert found["log_length"][0].notnull().all()
    assert found["log_fisher"][0].notnull().all()
    assert found["log_length"][1].isnull().all()
    # where all tokens are the same none can be replaced by another or exchanged, unless position is in the state
    assert found["log_length"][2].sel(direction="random_1").notnull().all()


def test_a_prompts_gains_do_not_depend_on_its_company():
    probe = rg.load(tiny_gauge())
    both = rg.trace(probe, [IDS[:8], IDS], positions=4, collect=["gains"]).reductions["gains"]
    alone = rg.trace(probe, [IDS], positions=4, collect=["gains"]).reductions["gains"]
    assert both.isel(prompt=[1]).equals(alone)
    (prompt,) = probe.encode([IDS])
    assert gains(probe, prompt, torch.tensor([1, 4, 7, 10]), "exclude").equals(alone.isel(prompt=0))


def test_fisher_length_is_the_second_order_divergence_of_outputs():
    generator = torch.Generator().manual_seed(0)
    z, dz = torch.randn(2, 5, 7, generator=generator, dtype=torch.float64)
    p, q = z.log_softmax(-1), (z + 1e-4 * dz).log_softmax(-1)
    divergence = (p.exp() * (p - q)).sum(-1)
    np.testing.assert_allclose(fisher_lengths(z, dz), (2 * divergence).sqrt() / 1e-4, rtol=1e-3)
    assert float(fisher_lengths(z, torch.ones_like(z)).max()) < 1e-12  # a shift of all logits changes nothing


def test_zero_stays_zero():
    assert unit_length(torch.zeros(1, 4, 3), first=1).tolist() == torch.zeros(1, 4, 3).tolist()


def test_blocks_that_are_no_maps_of_the_residual_stream_have_no_gains(monkeypatch):
    def refuse(*_, **__):
        raise NumericalRefusal("blocks.0", expected="a map", received="none", remedy="leave it out")

    monkeypatch.setattr("rgprobe.probe.gains.pushed_forward", refuse)
    probe = rg.load(tiny_models.llama())
    (prompt,) = probe.encode([torch.arange(3, 15)])
    found = gains(probe, prompt, torch.arange(1, 12), "exclude")
    assert found["log_length"].isnull().all()
    assert found["log_fisher"].isnull().all()
