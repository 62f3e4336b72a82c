"""Dimension, spectrum, kurtosis, sparsity and overlap on points, units and states whose answer is known."""

import numpy as np
import pytest
import tiny_models
import torch
from fake_trace import fake_trace
from gauge_models import tiny_gauge
from tiny_models import random_prompts

import rgprobe as rg
from rgprobe.data import load_prompts
from rgprobe.diagnostics.correlation import correlation
from rgprobe.diagnostics.input_overlap import input_overlap, overlap
from rgprobe.diagnostics.intrinsic_dimension import (
    SCALES,
    distinct,
    gride,
    intrinsic_dimension,
    neighbour_ratios,
    one_of_each,
)
from rgprobe.diagnostics.nongaussianity import excess_kurtosis, leading_components, nongaussianity
from rgprobe.diagnostics.pooling import recorded_points
from rgprobe.diagnostics.sparsity import sparsity
from rgprobe.diagnostics.spectrum import covariance_spectrum, fitted_range, spectrum, spectrum_exponent
from rgprobe.probe.units import unit_sparsity
from rgprobe.testbeds import power_law_spectrum, relu_kurtosis


def test_a_five_dimensional_cube_and_a_flat_torus():
    rng = np.random.default_rng(0)
    cube = rng.random((2000, 5)) @ np.linalg.qr(rng.standard_normal((12, 5)))[0].T
    found = gride(neighbour_ratios(cube), np.arange(2000) % 40, 40)
    assert float(found.full[0]) == pytest.approx(4.7, abs=0.25)
    angles = 2 * np.pi * rng.random((1500, 2))
    torus = np.concatenate([np.cos(angles), np.sin(angles)], 1)
    found = gride(neighbour_ratios(torus), np.arange(1500) % 30, 30)
    assert (np.abs(found.full[:4] - 2) < 3 * found.standard_error[:4]).all()
    assert (found.standard_error[:4] < 0.1).all()


def test_noise_is_seen_at_small_scales_and_not_at_large_ones():
    rng = np.random.default_rng(1)
    circle = 2 * np.pi * rng.random(1200)
    points = np.column_stack([np.cos(circle), np.sin(circle), 0.01 * rng.standard_normal((1200, 6))])
    found = gride(neighbour_ratios(points), np.arange(1200) % 30, 30).full
    assert found[0] > 2
    assert found[SCALES.index(32)] < 1.4


def test_gride_maximises_its_likelihood_and_its_copies_are_fits_without_a_prompt():
    points = np.random.default_rng(2).standard_normal((90, 3))
    x, owner = neighbour_ratios(points), np.arange(90) % 9
    found = gride(x, owner, 9)
    for column, k in enumerate(SCALES):

        def log_likelihood(d, x=x[:, column], k=k):
            return (np.log(d) + (k - 1) * np.log(np.expm1(d * x)) - (2 * k - 1) * d * x).sum()

        best = float(found.full[column])
        assert log_likelihood(best) > max(log_likelihood(0.999 * best), log_likelihood(1.001 * best))
    for gone in range(9):
        direct = gride(x[owner != gone], owner[owner != gone], 9).full
        moved = np.abs(direct - found.full)
        assert (np.abs(found.deleted[gone] - direct) < 0.2 * moved + 2e-3 * found.full).all()


def test_neighbour_ratios_are_the_sorted_distances():
    points = np.random.default_rng(3).standard_normal((70, 4))
    distances = np.sort(np.linalg.norm(points[:, None] - points, axis=-1), 1)
    direct = np.stack([np.log(distances[:, 2 * k] / distances[:, k]) for k in SCALES], 1)
    np.testing.assert_allclose(neighbour_ratios(points), direct, atol=1e-9)
    assert np.isnan(neighbour_ratios(points[:20])[:, SCALES.index(16)]).all()


def test_every_token_takes_part_once_at_a_place_of_its_own():
    ids = np.random.default_rng(0).integers(-1, 9, 63)
    first = one_of_each(ids, seed=4)
    assert sorted(ids[first]) == list(range(9))
    assert (np.diff(first) > 0).all()
    np.testing.assert_array_equal(one_of_each(ids, seed=4), first)
    # no occurrence is preferred: neither the first one nor the last
    drawn = np.array([one_of_each(np.array([5, 5, 5]), seed=seed)[0] for seed in range(600)])
    assert (np.abs(np.bincount(drawn) - 200) < 4 * (600 * 2 / 9) ** 0.5).all()
    assert one_of_each(np.full(7, -1), seed=0).size == 0


def test_points_that_are_equal_up_to_rounding_count_once():
    cloud = np.random.default_rng(5).standard_normal((200, 8))
    cloud /= np.linalg.norm(cloud, axis=1, keepdims=True)
    doubled = np.concatenate([cloud, cloud + 1e-7 * np.random.default_rng(6).standard_normal(cloud.shape)])
    np.testing.assert_array_equal(distinct(doubled), np.arange(200))
    apart = np.sqrt(((doubled[:, None] - doubled) ** 2).sum(-1))
    direct = [i for i in range(400) if not (apart[i, :i] < 1e-5).any()]
    assert distinct(doubled).tolist() == direct
    assert len(distinct(cloud)) == 200


def recurring_trace(*, noise, tokens=240, occurrences=3, known=True):
    """Directions of three-dimensional points, one per token, each in several prompts up to noise."""
    rng = np.random.default_rng(7)
    ids = rng.permutation(np.repeat(np.arange(tokens), occurrences))
    points = rng.standard_normal((tokens, 4))[ids]
    points = points / np.linalg.norm(points, axis=1, keepdims=True) + noise * rng.standard_normal((len(ids), 4))
    shape = (-1, 30)
    states = np.stack([points, points], 0).reshape(2, -1, 30, 4).swapaxes(0, 1)
    return fake_trace(states=states, token_ids=ids.reshape(shape) if known else np.full_like(ids, -1).reshape(shape))


@pytest.mark.parametrize("noise", [0.0, 1e-7, 1e-3])
def test_recurrences_of_a_token_are_not_its_neighbours(noise):
    trace = recurring_trace(noise=noise)
    found = intrinsic_dimension(trace)
    points = trace.states.values[:, 0].reshape(-1, 4)
    every = gride(neighbour_ratios(points), np.arange(len(points)) // 30, len(points) // 30).full
    # with every occurrence the nearest neighbour is the same token, and both distances are noise
    assert noise == 0 or every[1] < 1.5
    dimension = found.values["two_nn"].mean("prompt").values
    assert dimension[0] == pytest.approx(3, abs=3 * 3 / 240**0.5)
    assert dimension[1] == dimension[0]  # the same occurrences at every depth
    assert found.details["points"].values.tolist() == [240, 240]


@pytest.mark.parametrize("name", ["standard-small", "gauge-small"])
def test_in_the_shipped_pair_the_nearest_neighbour_is_the_same_token(name):
    """The numbers of docs/diagnostics/intrinsic_dimension.md."""
    trace = rg.trace(name, list(load_prompts("held_out")), collect=["states"])
    ids = np.concatenate([trace.token_ids[prompt][trace.recorded(prompt)] for prompt in range(trace.n_prompts)])
    choices = [one_of_each(ids, seed=seed) for seed in range(6)]
    assert (len(ids), len(choices[0])) == (768, 365)
    for state in range(1, 7):
        points, owner = recorded_points(trace, state)
        likeness = points @ points.T - 9 * np.eye(len(ids))
        assert 0.575 < (ids[likeness.argmax(1)] == ids).mean() < 0.685
        chosen = [distinct(points), *choices]
        every, *once = (gride(neighbour_ratios(points[c]), owner[c], trace.n_prompts).full[0] for c in chosen)
        assert 2.0 <= every < 8.5
        assert 10.6 < min(once) <= max(once) < 15.5
        assert np.ptp(once) < 1.6
    assert intrinsic_dimension(trace).values["two_nn"].isnull().all()


def test_few_tokens_are_refused_however_often_they_occur_and_so_are_unknown_ones():
    for trace in (recurring_trace(noise=1e-3, tokens=60, occurrences=8), recurring_trace(noise=0.1, known=False)):
        found = intrinsic_dimension(trace)
        assert all(each.isnull().all() for each in found.values.values())
    assert recurring_trace(noise=1e-3, tokens=60, occurrences=8).token_ids.size == 480


def test_the_exponent_of_a_power_law_spectrum():
    alphas = []
    for seed in range(5):
        points = power_law_spectrum.sample(rows=1500, dim=300, alpha=1.0, seed=seed)
        alphas.append(spectrum_exponent(covariance_spectrum(points, fitted_range(*points.shape))[0])[0])
    assert np.mean(alphas) == pytest.approx(0.98, abs=0.04)


def test_spectrum_and_coordinates_are_those_of_the_covariance():
    for shape in ((40, 7), (7, 40)):
        points = np.random.default_rng(4).standard_normal(shape)
        values, along = covariance_spectrum(points, 5)
        direct = np.linalg.eigvalsh(np.cov(points.T, bias=True))[::-1][:5]
        np.testing.assert_allclose(values, direct, rtol=1e-10)
        np.testing.assert_allclose((along**2).mean(0), values, rtol=1e-10)
        np.testing.assert_allclose(along.T @ along / len(points), np.diag(values), atol=1e-12)


def test_kurtosis_of_known_laws_and_of_relu_networks_over_their_weights():
    rng = np.random.default_rng(5)
    laws = np.column_stack([rng.standard_normal(40_000), rng.uniform(-1, 1, 40_000), rng.laplace(size=40_000)])
    found = excess_kurtosis(laws, np.arange(40_000) % 50, 50)
    assert (np.abs(found.full - [0.0, -1.2, 3.0]) < 4 * found.standard_error).all()
    assert found.standard_error[0] == pytest.approx((24 / 40_000) ** 0.5, rel=0.4)
    outputs = relu_kurtosis.sample(networks=400_000, width=32, seed=0)[:, None]
    over_weights = excess_kurtosis(outputs, np.arange(400_000) % 100, 100)
    assert abs(float(over_weights.full[0]) - 15 / 32) < 3 * float(over_weights.standard_error[0])
    assert float(over_weights.standard_error[0]) < 0.02


def test_leading_components_are_those_of_the_full_decomposition():
    points = power_law_spectrum.sample(rows=150, dim=60, alpha=2.0, seed=1)
    exact = np.linalg.svd(points - points.mean(0), full_matrices=False)
    found = leading_components(points, 5)
    exact = np.abs(exact[0] * exact[1])[:, :5]
    assert (np.abs(np.abs(found) - exact).max(0) < 1e-3 * exact.std(0)).all()


def test_shares_of_planted_units():
    power = torch.zeros(4, 10)
    power[0, :] = 1e8  # a sink, in which all units take part
    power[1:, :3] = 2.0
    power[1, 3] = 1e-6
    excluded, included = unit_sparsity(power)
    torch.testing.assert_close(excluded, torch.tensor([0.3, 0.7, 0.7], dtype=torch.float64))
    torch.testing.assert_close(included, torch.tensor([(3 * 0.3 + 1) / 4, 0.7 * 3 / 4, 0.0], dtype=torch.float64))
    assert unit_sparsity(power[:1])[0].isnan().all()
    gaussian = torch.randn(50, 4000, generator=torch.Generator().manual_seed(0))
    assert float(unit_sparsity(gaussian.square())[1, 0]) == pytest.approx(1 / 3, rel=0.02)
    assert float(unit_sparsity(gaussian.relu().square())[1, 0]) == pytest.approx(1 / 6, rel=0.02)


@pytest.mark.parametrize("family", [*tiny_models.FAMILIES, "gauge"])
def test_units_and_sketches_are_those_of_the_model(family):
    model = tiny_gauge() if family == "gauge" else tiny_models.FAMILIES[family]()
    ids = random_prompts(1, 9)[0]
    probe = rg.load(model)
    seen = {}

    def keeping(name):  # some names are aliases, and the hook point goes by another
        return lambda tensor, hook: seen.__setitem__(name, tensor[0].double())

    names = [f"blocks.{block}.mlp.hook_post" for block in range(probe.n_blocks)]
    states = [probe.state_hook(state) for state in range(probe.n_blocks + 1)]
    probe.stream(ids, [(name, keeping(name)) for name in names + states])
    trace = rg.trace(probe, [ids], collect=["sketches", "units"])
    direct = np.stack([unit_sparsity(seen[name].square()).numpy() for name in names], 1)
    for index, name in enumerate(("participation", "silent", "decimated")):
        np.testing.assert_allclose(sparsity(trace).values[name].isel(prompt=0), direct[..., index], rtol=1e-5)
    for state, name in enumerate(states):
        x = seen[name][1:]
        x = x / x.norm(dim=-1, keepdim=True)
        mine = trace.sketches.values[0, state].astype(np.float64)
        # as many coordinates as there are: a rotation, which keeps every inner product
        np.testing.assert_allclose(mine @ mine.T, (x @ x.T).numpy(), atol=2e-6)


def test_what_is_left_of_the_input():
    rng = np.random.default_rng(6)
    start = rng.standard_normal((1, 7, 30))
    turn = np.linalg.qr(rng.standard_normal((30, 30)))[0]
    states = np.concatenate([start, -2 * start, start @ turn, np.zeros_like(start)])
    direct = ((start[0] @ turn) * start[0]).sum(-1) / (start[0] ** 2).sum(-1)
    np.testing.assert_allclose(overlap(states), [1, -1, direct.mean(), np.nan], atol=1e-12)
    shifted = np.stack([states[:3] + 50.0] * 2)
    values = input_overlap(fake_trace(states=shifted)).values
    assert (values["overlap"] > 0.99).all()
    np.testing.assert_allclose(values["connected_overlap"].isel(state=1), -1, atol=1e-9)


def pooled_trace(prompts=8, positions=30, width=200, seed=0):
    rng = np.random.default_rng(seed)
    flat = rng.standard_normal((prompts, 1, positions, 3)) @ rng.standard_normal((3, width))
    power = power_law_spectrum.sample(rows=prompts * positions, dim=width, alpha=1.0, seed=seed)
    ids = np.arange(prompts * positions).reshape(prompts, positions)
    return fake_trace(states=np.concatenate([flat, power.reshape(prompts, 1, positions, width)], 1), token_ids=ids)


def test_pooled_diagnostics_report_estimates_and_refuse_what_they_cannot_tell():
    trace = pooled_trace()
    dimension = intrinsic_dimension(trace)
    assert float(dimension.values["two_nn"].isel(state=0).mean()) == pytest.approx(
        2, abs=0.5
    )  # directions of 3-d points
    assert dimension.values["two_nn"].isel(state=1).isnull().all()  # far above ten
    assert float(dimension.values["log_ratio"].isel(state=1).mean()) < 0.1
    kurtosis = nongaussianity(trace).values
    assert (kurtosis["coupling"].mean("prompt") < 0.5).all()
    found = spectrum(trace)
    assert found.details["eigenvalues"].shape == (2, 50)
    alphas = [spectrum_exponent(row)[0] for row in found.details["eigenvalues"].values]
    np.testing.assert_allclose(found.values["exponent"].mean("prompt"), alphas, rtol=1e-10)
    few = pooled_trace(prompts=4)
    for measure in (intrinsic_dimension, nongaussianity, spectrum):
        assert all(each.isnull().all() for each in measure(few).values.values()), measure


def test_an_untrained_network_does_not_beat_its_null():
    names = ["correlation", "correlation_length", "mutual_information", "intrinsic_dimension", "spectrum"]
    names += ["nongaussianity", "sparsity", "input_overlap"]
    prompts = random_prompts(20, 40, seed=1)
    flow = rg.run(tiny_models.gpt2(n_layer=2), prompts, nulls=5, shuffles=0, positions=8, diagnostics=names)
    words = [str(word) for name in flow.diagnostics for word in flow.to_xarray()[name]["verdict"].values.ravel()]
    assert "within null" in words
    assert words.count("beats null") <= 0.05 * len(words)


def test_shuffled_tokens_have_no_correlations_left_at_the_input_end():
    # tokens drawn in runs: neighbours are alike, and shuffling ends that
    rng = np.random.default_rng(0)
    runs = [np.repeat(rng.integers(4, tiny_models.VOCABULARY, 8), 5) for _ in range(20)]
    model = tiny_models.llama(num_hidden_layers=1)
    rows = {}
    for name, prompts in (("given", runs), ("shuffled", [rng.permutation(run) for run in runs])):
        trace = rg.trace(model, [torch.from_numpy(run) for run in prompts], collect=["sketches"])
        values = correlation(trace).values["correlation_1"].isel(state=0).values
        rows[name] = values.mean(), values.std(ddof=1) / len(values) ** 0.5
    assert rows["given"][0] > 0.5
    assert abs(rows["shuffled"][0]) < 3 * rows["shuffled"][1] + 0.1
