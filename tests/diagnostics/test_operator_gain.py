"""Gains of perturbations: planted flows, and what is reported of models of both families."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import tiny_models
import torch
import xarray as xr
from gauge_models import tiny_gauge
from tiny_models import random_prompts

import rgprobe as rg
from rgprobe.diagnostics import available
from rgprobe.diagnostics.gain_slopes import classify, log_gains, slopes
from rgprobe.diagnostics.operator_gain import end_effects
from rgprobe.diagnostics.pooling import Estimates
from rgprobe.diagnostics.positional import MOVES, relative_changes
from rgprobe.diagnostics.prompt_spread import prompt_spread
from rgprobe.planted_trace import planted_trace
from rgprobe.probe.gains import direction_names, log_lengths
from rgprobe.testbeds import linear_flow

PROMPTS = [ids[:n] for ids, n in zip(random_prompts(5, 20), (20, 18, 20, 19, 18), strict=True)]

PLANTED = {"pca": 0.2, "token": -0.3, "order": -0.1, "random": 0.05}


def spread_by_pairs(states):
    """The double loop over prompts."""
    squares = [
        np.nanmean(((p[:, :, None] - q[:, None]) ** 2).sum(-1), axis=(1, 2))
        for (i, p), (j, q) in product(enumerate(states), repeat=2)
        if i != j
    ]
    return 0.5 * np.log(np.mean(squares, 0))


def ragged_states(seed=0, prompts=6):
    states = np.random.default_rng(seed).standard_normal((prompts, 3, 7, 5)) + 10.0
    states[2, :, 4:] = np.nan
    return states


def test_spread_is_the_distance_between_states_of_different_prompts():
    states = ragged_states()
    found = prompt_spread(states)
    np.testing.assert_allclose(found.full, spread_by_pairs(states), rtol=1e-12)
    for left_out in range(len(states)):
        kept = np.delete(states, left_out, 0)
        np.testing.assert_allclose(found.deleted[left_out], spread_by_pairs(kept), rtol=1e-12)
    assert prompt_spread(states[:4]) is None
    assert np.isnan(prompt_spread(np.ones((5, 1, 2, 3))).full).all()


def test_relevant_marginal_and_irrelevant_directions_of_a_linear_flow():
    values = torch.tensor([[1.2, 1.0, 0.8]]).repeat(6, 1)
    flow, truth = (
        linear_flow.sample(singular_values=values, frames="aligned"),
        linear_flow.exact(singular_values=values),
    )
    lengths = np.stack([log_lengths(flow.states(u[None, :])).numpy() for u in flow.directions.T])
    unit = Estimates(np.zeros(7), np.zeros((5, 7)))
    gain = log_gains(np.stack([lengths] * 5), unit)
    np.testing.assert_allclose(slopes(gain)[0], truth.slopes, atol=1e-12)
    noisy = slopes(gain + 0.02 * np.random.default_rng(1).standard_normal(gain.shape))
    assert classify(noisy).label.tolist() == ["relevant", "marginal", "irrelevant"]


def test_following_to_the_end_instead_of_from_the_start_inverts_the_signs():
    values = torch.tensor([[1.2, 1.0, 0.8]]).repeat(6, 1)
    flow = linear_flow.sample(singular_values=values, frames="identity")
    from_layer = []
    for layer in range(7):
        x = flow.directions
        for weight in flow.weights[layer:]:
            x = weight @ x
        from_layer.append(x.norm(dim=0).log().numpy())
    np.testing.assert_allclose(slopes(np.stack(from_layer, -1)), -np.log([1.2, 1.0, 0.8]), atol=1e-6)


def test_gain_carries_the_variance_of_the_spread():
    states = ragged_states(prompts=9)
    spread = prompt_spread(states)
    gain = log_gains(np.zeros((9, 2, 3)), spread)
    np.testing.assert_allclose(gain.mean(0), -np.stack([spread.full] * 2), rtol=1e-12)
    np.testing.assert_allclose(gain.std(0, ddof=1) / 3, np.stack([spread.standard_error] * 2), rtol=1e-9)


def test_relative_changes_are_a_jackknife_of_the_ratio():
    generator = np.random.default_rng(3)
    states, changes = ragged_states(prompts=9), generator.uniform(1, 2, (9, 3))
    spread = prompt_spread(states)
    found = relative_changes(changes, spread)
    np.testing.assert_allclose(found.mean(0), changes.mean(0) / np.exp(spread.full), rtol=1e-12)
    deleted = [np.delete(changes, i, 0).mean(0) / np.exp(spread.deleted[i]) for i in range(9)]
    exact = Estimates(found.mean(0), np.array(deleted))
    np.testing.assert_allclose(found.std(0, ddof=1) / 3, exact.standard_error, rtol=0.05)
    changes[0] = np.nan
    assert np.isfinite(relative_changes(changes, spread)[1:]).all()


def test_slopes_leave_out_what_is_not_finite():
    line = np.array([np.nan, 1.0, 3.0, -np.inf, 7.0])
    assert slopes(line) == pytest.approx(2.0)
    assert np.isnan(slopes(np.array([np.nan, 1.0])))
    assert classify(np.array([[0.1], [0.2]])).label.tolist() == [""]


def test_end_effects_are_of_perturbations_as_large_as_the_input_spread():
    assert end_effects(np.array([[0.5]]), np.array([[1.0, 4.0]])).tolist() == [[1.5]]


@pytest.fixture(scope="module", params=["llama", "gauge"])
def flow(request):
    model = tiny_models.llama(num_hidden_layers=2) if request.param == "llama" else tiny_gauge()
    names = ["operator_gain", "positional"]
    found = rg.run(model, PROMPTS, nulls=0, diagnostics=names, positions=8).to_xarray()
    found.attrs["gauge"] = request.param == "gauge"
    return found


def test_gains_of_a_model_are_reported_with_labels_and_random_directions_as_a_null(flow):
    node = flow["operator_gain"].to_dataset()
    assert node["value"].sel(quantity="gain_pca").notnull().all()
    np.testing.assert_allclose(node["value"].sel(quantity="gain_token").isel(state=0), 0, atol=1e-9)
    last = node["value"].sel(quantity="end_order")
    assert last.isel(state=-1).notnull()
    assert last.isel(state=slice(-1)).isnull().all()
    assert node["null_model"].values.tolist() == ["random_directions"]
    baseline = node["difference"].sel(null_model="random_directions")
    assert baseline.sel(quantity="gain_pca").notnull().all()
    assert baseline.sel(quantity="gain_random").isnull().all()
    assert node["direction"].values.tolist() == list(direction_names())
    assert set(node["label"].values) <= {"relevant", "marginal", "irrelevant"}
    per_layer = node["trend"].sel(quantity="gain_random") / (node.sizes["state"] - 1)
    mean = node["slope"].sel(direction=["random_1", "random_2", "random_3"]).mean()
    assert float(per_layer) == pytest.approx(float(mean))


def test_position_of_a_model_is_reported(flow):
    node = flow["positional"].to_dataset()
    values = node["value"]
    assert values.sel(quantity=["mode_64", "mode_16", "mode_4", "phase_64"]).isnull().all()
    assert values.sel(quantity=["phase_16", "phase_4"]).isel(state=slice(1, None)).notnull().all()
    broken = values.sel(quantity="translation").isel(state=slice(1, None))
    # beliefs that are diagonal in the common frame do not turn with the frames
    assert ((broken > 0) if flow.attrs["gauge"] else (broken == 0)).all()
    assert (values.sel(quantity=["offset", "filler", "permutation"]).isel(state=slice(1, None)) > 0).all()


def planted(prompts):
    """One slope per layer for each kind, in a flow whose prompts stay as far apart as they were."""
    states = np.random.default_rng(5).standard_normal((prompts, 1, 4, 3)).repeat(7, axis=1)
    slope = np.array([PLANTED[name.split("_")[0]] for name in direction_names()])
    lengths = np.broadcast_to(slope[:, None] * np.arange(7), (prompts, len(slope), 7))
    gains = xr.Dataset(
        {
            "log_length": (("prompt", "direction", "state"), lengths),
            "log_fisher": (("prompt", "direction"), lengths[..., -1]),
        },
        coords={"direction": list(direction_names())},
    )
    curves = (("prompt", "period", "state"), lengths[:, :3])
    moves = {name: (("prompt", "state"), np.ones((prompts, 7))) for name in MOVES}
    positions = xr.Dataset({"mode": curves, "phase": curves, **moves})
    return replace(planted_trace(states=states), reductions={"gains": gains, "positions": positions})


def test_planted_slopes_are_reported_kind_by_kind():
    trace = planted(6)
    measured = available()["operator_gain"].measure(trace)
    for kind, slope in PLANTED.items():
        found = measured.values[f"gain_{kind}"].mean("prompt")
        np.testing.assert_allclose(found, slope * np.arange(7), atol=1e-12)
        expected = 6 * slope + prompt_spread(trace.states.values).full[0]
        assert float(measured.values[f"end_{kind}"].mean("prompt")[-1]) == pytest.approx(expected)
    assert measured.details["label"].sel(direction=["pca_1", "token_1"]).values.tolist() == ["relevant", "irrelevant"]
    null = measured.internal_nulls["random_directions"]["gain_pca"].mean("prompt")
    np.testing.assert_allclose(null, np.tile(PLANTED["random"] * np.arange(7), (3, 1)), atol=1e-12)
    moved = available()["positional"].measure(trace).values["offset"].mean("prompt")
    np.testing.assert_allclose(moved, np.exp(-prompt_spread(trace.states.values).full))


def test_too_few_prompts_leave_everything_undefined():
    for name in ("operator_gain", "positional"):
        measured = available()[name].measure(planted(4))
        assert measured.values.to_dataarray().isnull().all()
        assert not measured.details["label"].values.any()
