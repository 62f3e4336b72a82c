"""Correlations between tokens and their decay, on spins whose correlation is known."""

import numpy as np
import pytest
from fake_trace import fake_trace
from scipy import optimize, stats

from rgprobe.bootstrap import bootstrap_interval
from rgprobe.diagnostics.correlation import connected_correlation, correlation
from rgprobe.diagnostics.correlation_length import correlation_length, decay
from rgprobe.diagnostics.decay_laws import best_law, distance_bins, fit_exponential, fit_laws, fit_power
from rgprobe.diagnostics.mutual_information import (
    distances_up_to,
    gaussianised,
    information,
    information_length,
    mutual_information,
)
from rgprobe.diagnostics.pooling import Estimates, common_window
from rgprobe.planted_trace import planted_trace
from rgprobe.testbeds import broadcast_tree, ising_chain


def spins(xi, *, length=512, chains=64, seed=0):
    coupling = ising_chain.coupling_for(xi)
    sample = ising_chain.sample(length=length, chains=chains, coupling=coupling, seed=seed)
    return sample[..., None].astype(float)


def tree_spins(theta=0.8, depth=9, samples=64, seed=0):
    return broadcast_tree.sample(depth=depth, theta=theta, samples=samples, seed=seed)[..., None].astype(float)


def with_prompt_means(xi, share, *, prompts=24, length=100, width=32, seed=0):
    """Chains of one correlation length, and in every coordinate a mean of the prompt's own: C(r) falls to `share`."""
    chains = spins(xi, length=length, chains=prompts * width, seed=seed).reshape(prompts, width, length)
    own = np.random.default_rng(seed).standard_normal((prompts, width, 1))
    return np.moveaxis(chains + np.sqrt(share / (1 - share)) * own, 1, 2)


def sketched(*states):
    """A trace whose sketches are given: each (prompt, site, coordinate), one per state."""
    array = np.stack(states, 1)
    trace = fake_trace(states=np.zeros((len(array), array.shape[1], 1, 1)))
    object.__setattr__(trace, "sketches", trace.states.__class__(array, dims=("prompt", "state", "site", "coordinate")))
    return trace


def test_correlations_and_their_delete_one_copies_are_the_direct_sums():
    x = np.random.default_rng(0).standard_normal((7, 11, 3)).cumsum(1) + np.arange(11.0)[:, None]

    def direct(x, r):
        y = x - x.mean(0)
        return (y[:, : x.shape[1] - r] * y[:, r:]).sum((0, 2)).mean() / (len(x) - 1)

    found = connected_correlation(x)
    assert found.full.shape == (6,)
    for r in range(6):
        assert found.full[r] == pytest.approx(direct(x, r) / direct(x, 0), rel=1e-10)
        for gone in range(7):
            rest = np.delete(x, gone, 0)
            assert found.deleted[gone, r] == pytest.approx(direct(rest, r) / direct(rest, 0), rel=1e-10)


def test_an_ising_chain_has_its_own_correlations_and_a_state_of_position_alone_has_none():
    found = connected_correlation(spins(5.0))
    exact = ising_chain.exact(coupling=ising_chain.coupling_for(5.0), max_distance=40).correlation
    assert (np.abs(found.full[1:41] - exact[1:]) < 4 * found.standard_error[1:41]).all()
    assert (np.abs(found.full[1:6] / exact[1:6] - 1) < 0.05).all()
    positional = np.tile(np.sin(np.arange(64.0) / 9)[:, None], (8, 1, 2))
    assert np.isnan(connected_correlation(positional).full).all()
    # a position that all prompts share leaves the correlations as they are
    shifted = connected_correlation(spins(5.0, chains=9) + 3 * np.sin(np.arange(512.0) / 9)[:, None])
    np.testing.assert_allclose(shifted.full, connected_correlation(spins(5.0, chains=9)).full, atol=1e-10)


@pytest.mark.parametrize(("xi", "low", "high"), [(5.0, 4.74, 5.2), (10.0, 9.3, 10.7)])
def test_the_correlation_length_of_an_ising_chain(xi, low, high):
    found = decay([connected_correlation(spins(xi))], 512)
    error = float(found.xi.standard_error[0])
    assert low < float(found.xi.full[0]) < high
    assert abs(float(found.xi.full[0]) - xi) < 2 * error
    assert error < 0.05 * xi
    assert found.length_holds[0]
    assert not found.exponent_holds[0]
    assert float(found.power_evidence.full[0]) < -10


def test_a_broadcast_tree_decays_as_a_power():
    found = decay([connected_correlation(tree_spins())], 512)
    assert float(found.power_evidence.full[0]) > 10
    assert best_law(found.laws)[0] == "power"
    assert found.exponent_holds[0]
    assert not found.length_holds[0]
    # the exponent of the exact curve of the same finite tree, fitted in the same way, and its asymptote
    exact = broadcast_tree.exact(depth=9, theta=0.8)
    average, r = distance_bins(256), np.arange(1.0, 257.0)
    curve = exact.correlation[1:257]
    fitted, _ = fit_power(average @ curve, (average @ curve) ** -2, average, r)
    assert abs(float(found.eta.full[0]) - float(fitted)) < 0.1
    assert abs(float(found.eta.full[0]) - exact.exponent) < 0.1


def test_intervals_of_the_correlation_length_cover_it():
    count, xi = 60, 6.0
    found = decay([connected_correlation(spins(xi, length=96, chains=32, seed=seed)) for seed in range(count)], 96)
    low, high = bootstrap_interval(found.xi.pseudo_values(unbiased=True), seed=0)
    hits = int(((low < xi) & (xi < high)).sum())
    assert hits >= stats.binom.ppf(0.001, count, 0.95)
    # the jackknife's error is the spread over samples
    assert found.xi.standard_error.mean() == pytest.approx(found.xi.full.std(), rel=0.35)


def test_what_cannot_be_told_is_left_out():
    rng = np.random.default_rng(0)
    noise, long, short_range = (
        rng.standard_normal((12, 64, 2)),
        spins(40.0, length=64, chains=12),
        spins(2.0, length=64, chains=12),
    )
    found = decay([connected_correlation(each) for each in (noise, long, short_range)], 64)
    assert found.length_holds.tolist() == [False, False, True]
    assert not found.exponent_holds[2]  # correlations reach less than a decade
    assert found.reach[2] < 10
    values = correlation_length(sketched(noise, np.repeat(long, 2, -1), np.repeat(short_range, 2, -1))).values
    assert values["xi"].isnull().all("prompt").values.tolist() == [True, True, False]
    assert float(values["xi"].isel(state=2).mean()) == pytest.approx(2.0, rel=0.3)


def curves_of(samples):
    return [connected_correlation(each) for each in samples]


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_prompts_that_differ_as_wholes_have_neither_an_exponent_nor_a_length(share):
    flat = decay(curves_of(with_prompt_means(0.1, share, seed=seed) for seed in range(20)), 100)
    falling = decay(curves_of(with_prompt_means(5.0, share, seed=seed) for seed in range(20)), 100)
    for found in (flat, falling):
        assert not found.exponent_holds.any()
        assert not found.length_holds.any()
        # 768 squares of a normal variable: 5% each
        np.testing.assert_allclose(found.floor.mean(), share, rtol=0.1)
        assert all(found.refused[i] == f"correlations keep a floor of {found.floor[i]:.2g}" for i in range(20))
    assert falling.laws.length_above_floor.mean() == pytest.approx(5.0, rel=0.05)
    assert set(best_law(falling.laws)) == {"floored exponential"}


@pytest.mark.parametrize(("share", "xi", "eta"), [(0.02, 5.2, 0.54), (0.2, 9.0, 0.37)])
def test_what_laws_without_a_floor_would_have_made_of_it(share, xi, eta):
    found = decay(curves_of(with_prompt_means(5.0, share, seed=seed) for seed in range(20)), 100)
    assert found.xi.full.mean() == pytest.approx(xi, rel=0.03)
    assert found.eta.full.mean() == pytest.approx(eta, rel=0.05)


def test_what_has_no_floor_keeps_its_length_or_its_exponent():
    chains = decay(curves_of(with_prompt_means(5.0, 0.0, seed=seed) for seed in range(40)), 100)
    # the floored law contains the exponential: better by 10 in 2% of these, by anything in 20%
    assert chains.length_holds.mean() >= 0.9
    assert np.isfinite(chains.floor).mean() <= 0.1
    trees = decay(curves_of(tree_spins(seed=seed) for seed in range(5)), 512)
    assert trees.exponent_holds.all()
    assert np.isnan(trees.floor).all()
    assert set(trees.refused) == {""}


def test_the_floor_and_the_reason_are_in_the_details():
    noise = np.random.default_rng(0).standard_normal((24, 100, 32))
    states = np.stack([noise, with_prompt_means(5.0, 0.2), with_prompt_means(5.0, 0.0)], 1)
    found = correlation_length(planted_trace(sketches=states))
    details = found.details
    assert details["refused"].values.tolist()[::2] == ["no correlations beyond noise", ""]
    assert details["refused"].values[1].startswith("correlations keep a floor of 0.1")
    assert details["law"].values.tolist() == ["", "floored exponential", "exponential"]
    assert np.isfinite(details["floor"].values).tolist() == [False, True, False]
    assert float(details["length_above_floor"][1]) == pytest.approx(5.0, rel=0.1)
    assert found.values["xi"].isnull().all("prompt").values.tolist() == [True, True, False]
    assert found.values[["eta", "power_evidence"]].isel(state=1).to_array().isnull().all()


def best_floored(y, weight, average, r):
    """The definition, length by length: non-negative least squares of an exponential and a constant."""
    root = np.sqrt(weight)

    def fit(length):
        design = np.stack([average @ np.exp(-(r - 1) / length), np.ones(len(y))], 1)
        return optimize.nnls(root[:, None] * design, root * y)

    lengths = np.geomspace(0.1, r[-1], 4000)
    best = min(lengths, key=lambda length: fit(length)[1])
    (_, floor), residual = fit(best)
    return best, floor, residual**2


@pytest.mark.parametrize(("floor", "noise"), [(0.05, 0.02), (0.0, 0.05), (-0.1, 0.01), (0.3, 0.0)])
def test_the_floored_law_is_the_best_that_two_amplitudes_above_zero_can_do(floor, noise):
    average, r = distance_bins(51), np.arange(1.0, 52.0)
    rng = np.random.default_rng(3)
    y = average @ (0.4 * np.exp(-r / 3.7) + floor) + noise * rng.standard_normal(len(average))
    weight = rng.uniform(50, 150, len(average))
    laws = fit_laws(y, weight, average, r)
    length, offset, chi2 = best_floored(y, weight, average, r)
    assert float(laws.floor) == pytest.approx(offset, abs=2e-3)
    assert float(laws.length_above_floor) == pytest.approx(length, rel=5e-3)
    # no misfit at these weights, so that criteria are chi^2 and what the parameters cost
    assert float(laws.aic_floored) == pytest.approx(chi2 + 6, abs=1e-4)
    mean = max((weight @ y) / weight.sum(), 0)
    assert float(laws.aic_constant) == pytest.approx(weight @ (y - mean) ** 2 + 2, rel=1e-9)


def test_information_that_keeps_a_floor_has_no_length():
    r, samples = distances_up_to(50), (with_prompt_means(5.0, 0.3, width=4, seed=seed) for seed in range(8))
    found = [information_length(information(gaussianised(each), r), r, components=4) for each in samples]
    assert np.isnan([each.full for each in found]).all()


@pytest.mark.parametrize("points", [13, 64])
def test_laws_without_noise_are_recovered_and_the_larger_law_contains_the_others(points):
    average, r = distance_bins(points), np.arange(1.0, points + 1)
    weight = np.full(len(average), 1e4)
    length, chi2 = fit_exponential(average @ (0.7 * np.exp(-r / 3.3)), weight, average, r)
    assert float(length) == pytest.approx(3.3, rel=1e-6)
    assert float(chi2) < 1e-8
    exponent, _ = fit_power(average @ (0.2 * r**-1.3), weight, average, r)
    assert float(exponent) == pytest.approx(1.3, rel=1e-6)
    both = average @ (r**-0.5 * np.exp(-r / 9))
    laws = fit_laws(both[None], 1e8 * weight[None], average, r)
    if points > 20:
        assert best_law(laws)[0] == "truncated power"
    nothing = fit_laws(np.zeros((1, len(average))), weight[None], average, r)
    assert best_law(nothing)[0] == "none"


def test_information_of_gaussian_pairs_and_its_bias():
    rng = np.random.default_rng(3)
    z = rng.standard_normal((400, 1, 3))
    rho = np.array([0.3, 0.6, 0.0])
    pairs = np.concatenate([z, rho * z + np.sqrt(1 - rho**2) * rng.standard_normal(z.shape)], 1)
    found = information(pairs @ rng.standard_normal((3, 3)), np.array([1]))
    exact = -0.5 * np.log(1 - rho**2).sum()
    assert abs(found.pseudo_values(unbiased=True).mean() - exact) < 3 * float(found.standard_error[0])
    independent = [information(rng.standard_normal((24, 8, 3)), np.array([4])) for _ in range(40)]
    biased = np.mean([each.full for each in independent])
    unbiased = np.array([each.pseudo_values(unbiased=True).mean() for each in independent])
    assert biased > 0.03
    assert abs(unbiased.mean()) < 3 * unbiased.std() / 40**0.5


@pytest.mark.parametrize("xi", [5.0, 10.0])
def test_information_decays_with_half_the_correlation_length(xi):
    r = distances_up_to(256)
    found = information(gaussianised(spins(xi)), r)
    length = information_length(found, r, components=1)
    assert abs(float(length.full) - xi / 2) < 2.5 * float(length.standard_error)
    assert float(length.standard_error) < 0.05 * xi / 2


def test_normal_scores_do_not_see_monotone_maps():
    x = np.random.default_rng(0).standard_normal((5, 40, 1))
    np.testing.assert_allclose(gaussianised(np.exp(3 * x)), gaussianised(x), atol=1e-12)
    assert len(np.unique(gaussianised(spins(5.0, chains=4)).round(12))) == 2  # ties stay ties


def test_pseudo_values_belong_to_prompts_and_short_prompts_take_no_part():
    x = np.random.default_rng(1).standard_normal((9, 48, 2)).cumsum(1)
    x[2, 20:] = x[7, 5:] = np.nan
    trace = sketched(x, x)
    window = common_window(trace)
    assert window.prompts.tolist() == [0, 1, 3, 4, 5, 6, 8]
    assert window.states.shape == (7, 2, 48, 2)
    for measure in (correlation, correlation_length, mutual_information):
        values = measure(trace).values
        for name, each in values.items():
            assert each.dims == ("prompt", "state"), name
            assert each.isel(prompt=[2, 7]).isnull().all(), name
    rows = correlation(trace).values["correlation_4"].isel(state=0).dropna("prompt").values
    found = connected_correlation(x[window.prompts])
    assert rows.mean() == pytest.approx(found.full[4], rel=1e-12)
    assert rows.std() / len(rows) ** 0.5 == pytest.approx(
        found.standard_error[4] * (7 / 6) ** 0.5 * (6 / 7) ** 0.5, rel=0.2
    )


@pytest.mark.parametrize("count", [1, 4])
def test_few_prompts_are_not_pooled(count):
    trace = sketched(np.random.default_rng(0).standard_normal((count, 64, 2)))
    for measure in (correlation, correlation_length, mutual_information):
        assert all(each.isnull().all() for each in measure(trace).values.values())


def test_jackknife_of_a_mean_is_the_sample():
    x = np.random.default_rng(0).standard_normal((6, 3))
    found = Estimates(x.mean(0), (x.sum(0) - x) / 5)
    for unbiased in (False, True):
        np.testing.assert_allclose(found.pseudo_values(unbiased=unbiased), x, atol=1e-12)
    np.testing.assert_allclose(found.standard_error, x.std(0, ddof=1) / 6**0.5, rtol=1e-12)
