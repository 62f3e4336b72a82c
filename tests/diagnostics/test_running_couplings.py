"""A closed flow on couplings that follow a planted map; the couplings themselves on planted attention and states."""

import numpy as np
import pytest
import tiny_models
import torch
from gauge_models import tiny_gauge
from scipy.linalg import expm

import rgprobe as rg
from rgprobe.diagnostics.closed_flow import FOLDS, RIDGE, fit_flow, held_out
from rgprobe.diagnostics.running_couplings import COUPLINGS, couplings, leading_coordinates, neighbour_length
from rgprobe.errors import NumericalRefusal
from rgprobe.planted_trace import planted_trace, sketched
from rgprobe.testbeds import coupling_flow


def rows_of(paths):
    prompt, layer = np.indices(paths[:, 1:, 0].shape)
    k = paths.shape[-1]
    return paths[:, :-1].reshape(-1, k), paths[:, 1:].reshape(-1, k), prompt.ravel(), layer.ravel()


@pytest.mark.parametrize("eigenvalues", [(1.1, 0.8, 0.5), (0.9, 0.3), (1.05,)])
def test_the_planted_map_is_recovered(eigenvalues):
    options = {"layers": 7, "eigenvalues": eigenvalues, "noise": 0.05, "seed": 3}
    known = coupling_flow.exact(**options)
    before, after, _, _ = rows_of(coupling_flow.sample(prompts=400, **options).paths)
    found = fit_flow(before, after, ridge=0.0)
    np.testing.assert_allclose(found.matrix, known.matrix, atol=0.02)
    np.testing.assert_allclose(found.eigenvalues.real, eigenvalues, atol=0.02)
    np.testing.assert_allclose(found.fixed_point, known.fixed_point, atol=0.15)
    g = np.random.default_rng(0).standard_normal((5, len(eigenvalues)))
    np.testing.assert_allclose(
        found.beta(g), (g - known.fixed_point) @ (known.matrix - np.eye(len(eigenvalues))).T, atol=0.1
    )


def test_held_out_errors_are_those_of_the_truth():
    options = {"layers": 6, "eigenvalues": (1.1, 0.8, 0.5), "noise": 0.2, "seed": 1}
    known = coupling_flow.exact(**options)
    before, after, prompt, layer = rows_of(coupling_flow.sample(prompts=500, **options).paths)
    found = held_out(before, after, prompt=prompt, layer=layer)
    variance = before.var(0)
    np.testing.assert_allclose(found.flow.mean(0), (known.flow_error / variance).mean(1), rtol=0.1)
    np.testing.assert_allclose(found.persistence.mean(0), (known.persistence_error / variance).mean(1), rtol=0.1)
    expected = (known.flow_error / variance).mean(1) / (known.persistence_error / variance).mean(1)
    np.testing.assert_allclose(found.ratio().full, expected, rtol=0.1)


def test_held_out_errors_are_those_of_the_slow_reference():
    rng = np.random.default_rng(2)
    paths = rng.standard_normal((11, 5, 2)).cumsum(1)
    before, after, prompt, layer = rows_of(paths)
    found = held_out(before, after, prompt=prompt, layer=layer)
    scale = before.std(0)
    x, change = before / scale, (after - before) / scale
    for p in range(11):
        for l in range(4):
            kept = (prompt % FOLDS != p % FOLDS) & (layer != l)
            centred = x[kept] - x[kept].mean(0)
            ridge = RIDGE * kept.sum() * np.eye(2)
            slope = np.linalg.solve(centred.T @ centred + ridge, centred.T @ (change[kept] - change[kept].mean(0)))
            mine = (prompt == p) & (layer == l)
            guess = change[kept].mean(0) + (x[mine] - x[kept].mean(0)) @ slope
            assert found.flow[p, l] == pytest.approx(((change[mine] - guess) ** 2).mean(), rel=1e-8)
            usual = (x + change)[kept].mean(0)
            assert found.constant[p, l] == pytest.approx((((x + change)[mine] - usual) ** 2).mean(), rel=1e-10)
            assert found.persistence[p, l] == pytest.approx((change[mine] ** 2).mean(), rel=1e-10)
    ratio = found.ratio()
    rest = np.arange(11) != 4
    np.testing.assert_allclose(ratio.deleted[4], found.flow[rest].sum(0) / found.persistence[rest].sum(0))


def test_layers_of_their_own_maps_are_not_a_closed_flow():
    rng = np.random.default_rng(3)
    paths = [rng.standard_normal((60, 3))]
    for _ in range(8):  # a small turn about another axis each time
        a = rng.standard_normal((3, 3))
        paths.append(paths[-1] @ expm(0.4 * (a - a.T) / np.linalg.norm(a - a.T)))
    before, after, prompt, layer = rows_of(np.stack(paths, 1))
    for l in range(8):
        own = fit_flow(before[layer == l], after[layer == l], ridge=0.0)
        np.testing.assert_allclose(before[layer == l] @ own.matrix.T + own.offset, after[layer == l], atol=1e-9)
    assert held_out(before, after, prompt=prompt, layer=layer).ratio().full.mean() > 0.9


def test_scatter_about_a_mean_beats_persistence_and_not_the_constant():
    paths = np.random.default_rng(7).standard_normal((300, 7, 2))
    before, after, prompt, layer = rows_of(paths)
    found = held_out(before, after, prompt=prompt, layer=layer)
    np.testing.assert_allclose(found.ratio().full, 0.5, atol=0.06)
    np.testing.assert_allclose(found.ratio("constant").full, found.ratio().full, rtol=0.03)


def test_a_random_walk_is_persistent():
    paths = np.random.default_rng(4).standard_normal((80, 8, 3)).cumsum(1)
    before, after, prompt, layer = rows_of(paths)
    ratio = held_out(before, after, prompt=prompt, layer=layer).ratio().full
    assert (ratio > 0.95).all()
    assert (ratio < 1.1).all()


def test_too_little_is_refused():
    x = np.zeros((7, 4))
    with pytest.raises(NumericalRefusal, match="at least 8 rows"):
        fit_flow(x, x)
    with pytest.raises(NumericalRefusal, match="several layers and prompts"):
        held_out(x, x, prompt=np.arange(7), layer=np.zeros(7, int))


def planted(prompts=6, tokens=40, blocks=5, seed=0):
    rng = np.random.default_rng(seed)
    states = rng.standard_normal((prompts, blocks + 1, tokens, 6))
    for t in range(1, tokens):
        states[:, :, t] += 0.7 * states[:, :, t - 1]
    spread = np.linspace(0.5, 3.0, blocks)[:, None, None, None]
    scores = torch.from_numpy(spread * rng.standard_normal((prompts, blocks, 3, tokens, tokens)))
    hidden = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
    trace = planted_trace(scores=list(scores.masked_fill(hidden, -torch.inf)), states=states, sketches=sketched(states))
    width = np.full((2, prompts, blocks + 1), 3.0)
    object.__setattr__(
        trace,
        "geometry",
        trace.attention[[]].assign(participation_ratio=(("sink", "prompt", "state"), width)),
    )
    return trace, spread.ravel()


def test_couplings_are_what_they_say():
    trace, spread = planted()
    g = couplings(trace)
    assert g.shape == (6, 5, len(COUPLINGS))
    np.testing.assert_allclose(g[..., 2], np.log(3.0))
    # theta falls as one over the spread of the scores
    np.testing.assert_allclose(g[..., 0].mean(0) + np.log(spread), (g[..., 0].mean(0) + np.log(spread))[0], atol=0.1)
    assert (np.diff(g[..., 1].mean(0)) < 0).all()
    sketches = trace.sketches.values
    assert g[2, 3, 3] == pytest.approx(np.log(neighbour_length(sketches[2, 3])))


def test_the_length_of_neighbours_is_clipped_and_refused():
    rng = np.random.default_rng(5)
    assert neighbour_length(np.tile([[1.0], [-1.0]], (20, 1))) == pytest.approx(-1 / np.log(0.01))
    assert neighbour_length(np.linspace(0, 1, 9000)[:, None]) == pytest.approx(-1 / np.log(0.999), rel=0.2)
    assert np.isnan(neighbour_length(rng.standard_normal((7, 3))))
    assert np.isnan(neighbour_length(np.ones((30, 3))))


def test_coordinates_are_in_one_basis_for_all_layers():
    states = np.random.default_rng(6).standard_normal((3, 4, 9, 7)) + 2
    found = leading_coordinates(states, 7)
    unit = states / np.linalg.norm(states, axis=-1, keepdims=True)
    flat = (unit - unit.mean((0, 1, 2))).reshape(-1, 7)
    np.testing.assert_allclose(found.reshape(-1, 7) @ found.reshape(-1, 7).T, flat @ flat.T, atol=1e-10)
    assert (np.diff(found.reshape(-1, 7).var(0)) < 0).all()


def test_it_is_measured_on_either_family():
    prompts = tiny_models.random_prompts(11, 20)
    for model in (tiny_models.gpt2(n_layer=5), tiny_gauge(n_layers=4)):
        flow = rg.run(model, prompts, nulls=1, shuffles=0, diagnostics="running_couplings", positions=12)
        node = flow.to_xarray()["running_couplings"]
        assert list(node["null_model"].values) == ["random_init", "persistence", "constant"]
        value = node["value"]
        assert np.isfinite(value.sel(quantity="coordinate_error").values).all()
        assert np.isfinite(value.sel(quantity="coupling_error").values[1:]).all()
        assert np.isnan(value.sel(quantity="beta_theta").values[0])
        assert np.isfinite(value.sel(quantity="beta_theta").values[1:]).all()
        persistence = node["null"].sel(null_model="persistence", quantity="coupling_error").values[1:]
        np.testing.assert_allclose(persistence, 1.0)
        log_g = node["log_coupling"].mean("prompt")
        np.testing.assert_allclose(np.diff(log_g.values[:, 0]), value.sel(quantity="beta_theta").values[1:], atol=1e-9)
