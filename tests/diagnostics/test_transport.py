"""Jacobian spectra, Lyapunov exponents and iterated blocks: on models against dense algebra, and on planted collections."""

from functools import cache

import numpy as np
import pytest
import tiny_models
import torch
import xarray as xr
from fake_trace import fake_trace
from gauge_models import tiny_gauge
from tiny_models import random_prompts

import rgprobe as rg
from rgprobe.diagnostics import available
from rgprobe.diagnostics.fixed_points import contraction_rate, critical_point, spectral_radius
from rgprobe.diagnostics.jacobian_spectrum import nonnormality, singular_values
from rgprobe.diagnostics.lyapunov import lyapunov_exponents
from rgprobe.errors import NumericalRefusal, OptionError
from rgprobe.probe.iterated_blocks import ITERATIONS
from rgprobe.probe.jacobians import RANKS
from rgprobe.probe.operator_spectra import Operator
from rgprobe.probe.passes import PASSES
from rgprobe.probe.tangents import linearized, prompt_flow
from rgprobe.testbeds import linear_flow, migdal_kadanoff

COLLECTED = ("iterations", "jacobians", "stretching")
PROMPTS = [ids[:length] for ids, length in zip(random_prompts(2, 40), (5, 1), strict=True)]
MODELS = {
    "gpt2": lambda: tiny_models.gpt2(n_layer=2).double(),
    "bert": lambda: tiny_models.bert(num_hidden_layers=2).double(),
    "gauge": tiny_gauge,
}


@cache
def probe_of(name):
    return rg.load(MODELS[name]())


@cache
def traced(name, sink="exclude"):
    return rg.trace(probe_of(name), PROMPTS, positions=4, sink=sink, collect=COLLECTED)


@cache
def dense(name, first):
    """Jacobians of all blocks on the flattened tokens from `first` on of the first prompt, and the states there."""
    flow = prompt_flow(probe_of(name), PROMPTS[0])
    found = []
    for block, state in zip(flow.blocks, flow.states, strict=False):
        jacobian = torch.autograd.functional.jacobian(block, state.clone())[first:, :, first:]
        found.append(jacobian.reshape(2 * (jacobian[0, 0].numel(),)).detach())
    return found, flow.states[:, first:]


def measured(name, trace):
    return available()[name].measure(trace)


@pytest.mark.parametrize(("name", "sink"), [("gpt2", "exclude"), ("bert", "include"), ("gauge", "exclude")])
def test_singular_values_are_those_of_the_dense_jacobian(name, sink):
    found = traced(name, sink).reductions["jacobians"]["singular_values"].values[0]
    blocks, _ = dense(name, 1 if sink == "exclude" else 0)
    for here, jacobian in zip(found, blocks, strict=True):
        expected = torch.linalg.svdvals(jacobian)[:RANKS].numpy()
        kept = np.isfinite(here)
        assert kept[0]
        np.testing.assert_allclose(here[kept], expected[kept], rtol=3e-3)


def test_measured_gains_are_logarithms_of_what_was_collected():
    trace = traced("gpt2")
    values = measured("jacobian_spectrum", trace).values
    blocks, _ = dense("gpt2", 1)
    for block, jacobian in enumerate(blocks):
        assert float(values["largest_gain"][0, block]) == pytest.approx(
            float(torch.linalg.svdvals(jacobian)[0].log()), abs=3e-3
        )
        # random signs on 96 dimensions, 4 draws
        rms = float(jacobian.square().sum() / len(jacobian)) ** 0.5
        assert float(values["rms_gain"][0, block]) == pytest.approx(np.log(rms), abs=0.15)
    assert values["nonnormality"].where(np.isfinite(values["nonnormality"]), 0.5).max() < 1.1
    assert values["effective_rank"].min() > 0


@pytest.mark.parametrize("name", ["gpt2", "gauge"])
def test_stretching_is_that_of_the_product_of_dense_jacobians(name):
    found = traced(name).reductions["stretching"]
    blocks, states = dense(name, 1)
    product = torch.eye(len(blocks[0]), dtype=torch.float64)
    for block in blocks:
        product = block @ product
    # the frame is drawn inside; whatever it is, its volume grows by no more than the leading singular values allow
    total = found["rates"].values[0].sum(0)
    largest = torch.linalg.svdvals(product).log().numpy()
    assert total[0] <= largest[0] + 1e-9
    assert total[:2].sum() <= largest[:2].sum() + 1e-9
    growth = states.norm(dim=-1).log().diff(dim=0).mean(1)
    np.testing.assert_allclose(found["norm_growth"].values[0], growth, rtol=1e-9)


def test_exponents_are_means_over_the_blocks_so_far():
    trace = traced("gpt2")
    values = measured("lyapunov", trace).values
    rates = trace.reductions["stretching"]["rates"].values[..., 0]
    np.testing.assert_allclose(values["exponent"].values[:, 1], rates[:, :2].mean(1))
    np.testing.assert_allclose(values["exponent"].values[:, -1], rates.mean(1))
    assert measured("lyapunov", trace).details["exponents"].dims == ("prompt", "tangent")


def test_one_token_has_no_sink_to_leave_out_and_everything_is_defined():
    trace = traced("gauge")
    for name in COLLECTED:
        first = next(iter(trace.reductions[name].data_vars))
        assert np.isfinite(trace.reductions[name][first].values[1]).any(), name


def test_iterated_blocks_repeat_the_block_with_norms_held():
    trace = traced("bert", "include")
    flow = prompt_flow(probe_of("bert"), PROMPTS[0])
    state = flow.states[1]
    norms = state.norm(dim=-1, keepdim=True)
    direction, curve = state / norms, []
    with torch.no_grad():
        for _ in range(5):
            moved = flow.blocks[1](norms * direction)
            moved = moved / moved.norm(dim=-1, keepdim=True)
            curve.append(float((moved - direction).norm()) / len(state) ** 0.5)
            direction = moved
    np.testing.assert_allclose(trace.reductions["iterations"]["residuals"].values[0, 1, :5], curve, rtol=1e-9)


def test_a_prompts_numbers_do_not_depend_on_its_company():
    alone = rg.trace(probe_of("gpt2"), PROMPTS[1:2], positions=4, collect=COLLECTED)
    for name in COLLECTED:
        for variable, array in alone.reductions[name].data_vars.items():
            np.testing.assert_allclose(traced("gpt2").reductions[name][variable].values[1:2], array.values, rtol=1e-9)


def test_half_precision_and_blocks_that_are_no_maps_are_undefined_not_wrong():
    half = rg.trace(tiny_models.llama(num_hidden_layers=1).bfloat16(), PROMPTS[1:], positions=4, collect=COLLECTED)
    probe = rg.load(tiny_models.gpt2(n_layer=2))
    calls = []

    def drift(module, args, output):
        calls.append(0)
        return output * (1 + len(calls))

    handle = probe.bridge.blocks[1].register_forward_hook(drift)
    no_map = rg.trace(probe, PROMPTS[1:], positions=4, collect=COLLECTED)
    handle.remove()
    for trace in (half, no_map):
        for name in ("jacobian_spectrum", "lyapunov", "fixed_points"):
            values = measured(name, trace).values
            assert all(array.isnull().all() for array in values.data_vars.values()), name


def test_nothing_is_measured_without_the_collection():
    for name in ("jacobian_spectrum", "lyapunov", "fixed_points"):
        with pytest.raises(OptionError, match="collects"):
            measured(name, fake_trace(states=np.zeros((1, 2, 3, 4))))


def test_costs_are_stated_in_forward_passes():
    probe = probe_of("gpt2")
    assert all(1 < PASSES[name].forwards(probe) < 300 for name in COLLECTED)


def test_statuses_become_shares_and_curves_their_last_step():
    residuals = np.full((2, 3, ITERATIONS), np.nan)
    residuals[:, :, :4] = [1.0, 0.5, 0.25, 0.125]
    outcome = np.zeros((2, 3, 4))
    outcome[:, 1, 0], outcome[:, 2, 0] = 1, 3
    outcome[..., 2:] = [0.5, np.nan]
    outcome[:, 0, 3] = 0.25
    planted = xr.Dataset(
        {
            "residuals": (("prompt", "block", "iteration"), residuals),
            "outcome": (("prompt", "block", "item"), outcome),
            "stack_residuals": (("prompt", "iteration"), residuals[:, 0]),
            "stack_outcome": (("prompt", "item"), outcome[:, 0]),
        },
        coords={"item": ["status", "period", "contraction", "radius"]},
    )
    trace = fake_trace(states=np.zeros((2, 4, 3, 5)))
    trace.reductions["iterations"] = planted
    values = measured("fixed_points", trace).values
    assert values["converged"].values.tolist() == [[1, 0, 0]] * 2
    assert values["converged"].dtype == float
    assert values["cyclic"].values.tolist() == [[0, 1, 0]] * 2
    np.testing.assert_allclose(values["log_residual"], np.log(0.125))
    np.testing.assert_allclose(values["log_contraction"], np.log(0.5))
    np.testing.assert_allclose(values["log_radius"].values[:, 0], np.log(0.25))
    assert values["log_radius"].isnull().values[:, 1:].all()


def test_a_planted_spectrum_is_recovered_through_products():
    planted = torch.linspace(2.0, 0.1, 63, dtype=torch.float64)
    weight = linear_flow.sample(singular_values=planted[None], frames="independent", seed=1).weights[0]
    products = linearized(lambda x: weight @ x, torch.zeros(63, dtype=torch.float64))
    found = singular_values(Operator(63, products.jvp, products.vjp))
    torch.testing.assert_close(found, planted[:8], rtol=0, atol=1e-4)
    assert nonnormality(Operator(63, products.jvp, products.vjp)) > 0.3


def test_exponents_of_a_planted_flow():
    planted = torch.tensor([[1.2, 1.0, 0.8]]).repeat(9, 1)
    flow = linear_flow.sample(singular_values=planted, frames="aligned", seed=2)
    pushes = [lambda rows, w=weight: rows @ w.mT for weight in flow.weights]
    torch.testing.assert_close(
        lyapunov_exponents(pushes, flow.directions.T), linear_flow.exact(singular_values=planted).slopes
    )


def renormalized(coupling):
    return torch.from_numpy(migdal_kadanoff.renormalize(coupling.numpy()))


@pytest.mark.parametrize("start", [0.2, 0.3, 0.5])
def test_the_critical_point_of_migdal_kadanoff_and_its_exponents(start):
    known = migdal_kadanoff.exact()
    np.testing.assert_allclose(critical_point(renormalized, start), [known.coupling, known.y, known.nu], atol=1e-8)


def test_a_map_that_turns_over_has_no_exponent():
    with pytest.raises(NumericalRefusal, match="derivative"):
        critical_point(lambda x: 3.9 * x * (1 - x), 0.7)


def test_rates_of_a_linear_contraction():
    turn = torch.linalg.qr(torch.randn(7, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0]
    start = torch.ones(7, dtype=torch.float64)
    assert contraction_rate(lambda x: 0.7 * x @ turn, start) == pytest.approx(0.7, abs=1e-6)
    assert spectral_radius(Operator.of(0.7 * turn)) == pytest.approx(0.7, abs=1e-9)
