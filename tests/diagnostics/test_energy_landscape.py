"""Basins of stored patterns, against patterns whose minima are known; the landscape of planted clusters of tokens."""

import numpy as np
import pytest
import tiny_models
import torch
from gauge_models import tiny_gauge

import rgprobe as rg
from rgprobe.diagnostics.energy_landscape import (
    GRID,
    energy_landscape,
    matched_beta,
    permuted_coordinates,
    plane_slice,
    principal_coordinates,
    splitting,
)
from rgprobe.diagnostics.hopfield import barriers, basins, descend, energy, grid_minima
from rgprobe.planted_trace import planted_trace
from rgprobe.testbeds import stored_patterns


@pytest.mark.parametrize(("patterns", "dim", "norm"), [(2, 3, 1.0), (5, 9, 2.0), (9, 13, 0.7)])
@pytest.mark.parametrize("excess", [0.8, 1.05, 2.0, 5.0])
def test_stored_patterns_are_the_minima(patterns, dim, norm, excess):
    beta = excess * stored_patterns.exact(patterns=patterns, norm=norm, beta=1.0).spinodal
    known = stored_patterns.exact(patterns=patterns, norm=norm, beta=beta)
    x = stored_patterns.sample(patterns=patterns, dim=dim, norm=norm, seed=1)
    starts = np.concatenate([x, x.mean(0)[None] + 1e-3 * x])
    np.testing.assert_allclose(
        energy(starts, x, np.asarray(beta)), stored_patterns.energy(starts, x, beta=beta), atol=1e-12
    )
    found = basins(descend(starts, x, np.asarray(beta)), x)
    assert len(found.minima) == known.minima
    if known.minima > 1:
        own = found.minima[found.label[:patterns]]
        np.testing.assert_allclose(np.linalg.norm(own - x, axis=1) / norm, known.distance, atol=1e-6)
        np.testing.assert_allclose(energy(own, x, np.asarray(beta)), known.energy, atol=1e-9)
        assert (barriers(found.minima, x, beta) >= 0).all()
    else:
        np.testing.assert_allclose(found.minima[0], x.mean(0), atol=1e-6)
        assert np.isnan(barriers(found.minima, x, beta)).all()


def test_descent_is_that_of_the_slow_reference_and_batches_do_not_mix():
    rng = np.random.default_rng(0)
    clouds = rng.standard_normal((3, 17, 5)) * np.array([0.3, 1.0, 3.0])[:, None, None]
    clouds -= clouds.mean(1, keepdims=True)
    beta = np.array([0.5, 1.7, 4.0])
    ends = descend(clouds, clouds, beta)
    for index in range(3):
        x = clouds[index].copy()
        for _ in range(1500):
            weight = np.exp(-beta[index] * ((x[:, None] - clouds[index]) ** 2).sum(-1) / 2)
            x = (weight[:, :, None] * clouds[index]).sum(1) / weight.sum(1, keepdims=True)
        np.testing.assert_allclose(ends[index], x, atol=1e-5)
        here = np.asarray(beta[index])
        assert (energy(ends[index], clouds[index], here) <= energy(clouds[index], clouds[index], here) + 1e-12).all()


def test_two_wells_have_the_barrier_between_them():
    two = np.array([[-1.0, 0.0], [1.0, 0.0]])
    beta = 4.0
    found = basins(descend(two, two, np.asarray(beta)), two)
    line = np.zeros((4001, 2))
    line[:, 0] = np.linspace(found.minima[:, 0].min(), found.minima[:, 0].max(), 4001)
    profile = beta * energy(line, two, np.asarray(beta))
    np.testing.assert_allclose(barriers(found.minima, two, beta), profile.max() - profile[0], rtol=1e-3)
    assert found.participation == pytest.approx(2.0)


def test_a_slice_shows_wells_that_are_there_and_counts_its_own_minima():
    rng = np.random.default_rng(1)
    centres = np.array([[4.0, 0, 0], [-2, 3.4, 0], [-2, -3.4, 0]])
    cloud = principal_coordinates(np.repeat(centres, 6, 0) + 0.1 * rng.standard_normal((18, 3)))
    shown = plane_slice(cloud, 2.0)
    assert shown.free_energy.shape == (GRID, GRID)
    assert shown.free_energy.min() == 0
    assert int(grid_minima(shown.free_energy)) == 3
    assert int(grid_minima(plane_slice(cloud, 0.05).free_energy)) == 1
    place = np.abs(shown.axis[:, None] - cloud[:, 0]).argmin(0), np.abs(shown.axis[:, None] - cloud[:, 1]).argmin(0)
    assert shown.free_energy[place[1], place[0]].max() < np.median(shown.free_energy)
    # wells that only a third component separates are one on the plane
    deep = np.concatenate([cloud, cloud])
    deep[:18, 2] += 3
    deep[18:, 2] -= 3
    assert int(grid_minima(plane_slice(deep, 2.0).free_energy)) == 3
    assert len(basins(descend(deep, deep, np.asarray(2.0)), deep).minima) == 6


def test_distances_survive_principal_coordinates_and_variances_the_permutation():
    points = np.random.default_rng(2).standard_normal((33, 48)) + 5
    found = principal_coordinates(points)
    assert found.shape == (33, 32)
    direct = np.linalg.norm(points[:, None] - points, axis=-1)
    np.testing.assert_allclose(np.linalg.norm(found[:, None] - found, axis=-1), direct, atol=1e-10)
    null = permuted_coordinates(found, np.random.default_rng(3))
    np.testing.assert_allclose(null.var(0), found.var(0), rtol=1e-10)
    assert not np.allclose(null, found)
    assert splitting(found, 0.5) == pytest.approx(0.5 * found.var(0)[0])


def clustered(clusters, tokens=24, width=16, blocks=2, prompts=2, noise=0.05, seed=0):
    rng = np.random.default_rng(seed)
    centres = np.linalg.qr(rng.standard_normal((width, clusters)))[0].T
    states = centres[np.arange(tokens) % clusters] + noise * rng.standard_normal((prompts, blocks + 1, tokens, width))
    scores = torch.from_numpy(3.0 * rng.standard_normal((prompts, blocks, 2, tokens, tokens)))
    hidden = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
    return planted_trace(scores=list(scores.masked_fill(hidden, -torch.inf)), states=states)


@pytest.mark.parametrize("clusters", [3, 6])
def test_clusters_of_tokens_are_basins_and_a_permuted_cloud_has_others(clusters):
    found = energy_landscape(clustered(clusters))
    assert found.values["basins"].dims == ("prompt", "block")
    assert (found.values["basins"] == clusters).all()
    np.testing.assert_allclose(found.values["basin_participation"], clusters, rtol=1e-6)
    assert (found.values["barrier"] > 0.5).all()
    null = found.internal_nulls["permuted_coordinates"]["basins"]
    assert null.dims == ("draw", "prompt", "block")
    assert clusters == 3 or float(null.mean()) > clusters  # three clusters lie on a plane: permuted, they still mingle
    tokens = found.details["token_on_plane"].values
    assert np.isfinite(tokens).all()
    label = found.details["basin_of_token"].values[0, 0]
    assert len({(a, b) for a, b in zip(label, np.arange(24) % clusters, strict=True)}) == clusters


def test_hot_heads_see_one_basin():
    trace = clustered(3)
    trace.attention["score_variance"] *= 1e-4
    found = energy_landscape(trace)
    assert (found.values["basins"] == 1).all()
    assert np.isnan(found.values["barrier"]).all()
    assert (found.values["splitting"] < 1).all()


def test_beta_makes_products_vary_as_scores_do():
    unit = np.random.default_rng(4).standard_normal((20, 7))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    beta = matched_beta(2.5, unit)
    off = ~np.eye(20, dtype=bool)
    rows = [np.var(beta * (unit @ unit[i])[off[i]], ddof=1) for i in range(20)]
    assert np.sqrt(np.mean(rows)) == pytest.approx(2.5)
    assert np.isnan(matched_beta(2.5, np.ones((9, 4)) / 2))


def test_too_few_tokens_and_equal_states_are_undefined():
    few = energy_landscape(clustered(3, tokens=7))
    assert np.isnan(few.values["basins"].values).all()
    same = clustered(3)
    same.states.values[:] = 1.0
    assert np.isnan(energy_landscape(same).values["basins"].values).all()


def test_it_is_measured_on_either_family():
    prompts = tiny_models.random_prompts(3, 24)
    for model, blocks in ((tiny_models.gpt2(), 3), (tiny_gauge(), 2)):
        flow = rg.run(model, prompts, nulls=1, shuffles=0, diagnostics="energy_landscape", positions=16)
        node = flow.to_xarray()["energy_landscape"]
        assert list(node["null_model"].values) == ["random_init", "permuted_coordinates"]
        assert np.isfinite(node["value"].sel(quantity="basins").values).all()
        assert node["slice_free_energy"].shape == (3, blocks, GRID, GRID)
