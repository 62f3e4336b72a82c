"""Intervals that cover, tests that keep their level, and entries that are counted where they exist."""

import numpy as np
import pytest
import torch
from scipy import stats

from rgprobe.bootstrap import bootstrap_interval
from rgprobe.nulls import (
    benjamini_hochberg,
    compare_with_draws,
    compare_with_seeds,
    shuffle_tokens,
)
from rgprobe.probe.prompts import EncodedPrompt

SIMULATIONS = 400


def crossed(rng, seeds, prompts, seed_spread, entries=SIMULATIONS):
    """Checkpoint and null seeds drawn alike: a prompt effect, a seed effect, noise of both."""
    prompt_effect = rng.standard_normal((prompts, entries))
    effect = seed_spread * rng.standard_normal((seeds + 1, 1, entries))
    drawn = prompt_effect + effect + rng.standard_normal((seeds + 1, prompts, entries))
    return drawn[0], drawn[1:]


def test_a_checkpoint_drawn_like_the_null_seldom_beats_it():
    rng = np.random.default_rng(0)
    value, null = crossed(rng, 5, 24, seed_spread=2.0, entries=4000)
    comparison = compare_with_seeds(value, null)
    assert comparison.carries == "prompts and seeds"
    assert comparison.sufficient.all()
    # four standard errors of a 5% rate over 4,000 simulations
    assert np.mean(comparison.p_value < 0.05) <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / 4000)
    naive = stats.ttest_rel(value, null.mean(0)).pvalue
    assert np.mean(naive < 0.05) > 0.7  # leaving the seeds out


def test_a_real_difference_is_found():
    value, null = crossed(np.random.default_rng(1), 5, 24, seed_spread=0.1)
    assert np.mean(compare_with_seeds(value + 3.0, null).p_value < 0.05) > 0.95


@pytest.mark.parametrize("seed_spread", [0.5, 2.0])
def test_intervals_of_differences_from_seeds_cover(seed_spread):
    value, null = crossed(np.random.default_rng(2), 8, 24, seed_spread, entries=2000)
    comparison = compare_with_seeds(value + 0.7, null)
    covered = np.mean((comparison.low <= 0.7) & (comparison.high >= 0.7))
    assert 0.92 <= covered <= 0.98
    band = np.mean((value.mean(0) >= comparison.null_low) & (value.mean(0) <= comparison.null_high))
    assert 0.92 <= band <= 0.98


def test_intervals_of_differences_from_draws_cover():
    rng = np.random.default_rng(3)
    value = 1.5 + rng.standard_normal((40, SIMULATIONS))
    null = rng.standard_normal((3, 40, SIMULATIONS))
    comparison = compare_with_draws(value, null)
    assert 0.92 <= np.mean((comparison.low <= 1.5) & (comparison.high >= 1.5)) <= 0.98
    assert np.mean(compare_with_draws(value - 1.5, null).p_value < 0.05) <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / 400)


@pytest.mark.parametrize("skewed", ["exponential", "lognormal"])
def test_bootstrap_intervals_of_skewed_data_cover(skewed):
    rng = np.random.default_rng(4)
    data = (
        rng.exponential(size=(40, SIMULATIONS))
        if skewed == "exponential"
        else rng.lognormal(sigma=0.5, size=(40, SIMULATIONS))
    )
    truth = 1.0 if skewed == "exponential" else np.exp(0.125)
    low, high = bootstrap_interval(data, seed=0)
    assert 0.92 <= np.mean((low <= truth) & (high >= truth)) <= 0.98


def test_the_bootstrap_agrees_with_scipy_at_its_wider_level():
    data = np.random.default_rng(5).exponential(size=40)
    low, high = bootstrap_interval(data, seed=0, resamples=9999)
    level = 2 * stats.norm.cdf(stats.t.ppf(0.975, 39) * np.sqrt(40 / 39)) - 1
    options = {"method": "BCa", "n_resamples": 9999, "rng": np.random.default_rng(1), "confidence_level": level}
    reference = stats.bootstrap((data,), np.mean, **options)
    np.testing.assert_allclose(
        [low, high], [reference.confidence_interval.low, reference.confidence_interval.high], atol=0.02
    )


@pytest.mark.parametrize("prompts", [6, 12, 24])
def test_bootstrap_intervals_of_few_prompts_cover(prompts):
    data = np.random.default_rng(prompts).standard_normal((prompts, SIMULATIONS))
    low, high = bootstrap_interval(data, seed=0)
    assert 0.92 <= np.mean((low <= 0) & (high >= 0)) <= 0.98


@pytest.mark.parametrize("defined", [3, 4, 7, 8, 15])
def test_bootstrap_intervals_of_partly_defined_entries_are_those_of_what_is_defined(defined):
    data = np.full((24, SIMULATIONS), np.nan)
    data[24 - defined :] = np.random.default_rng(defined).standard_normal((defined, SIMULATIONS))
    low, high = bootstrap_interval(data, seed=0)
    assert 0.92 <= np.mean((low <= 0) & (high >= 0)) <= 0.98
    alone = bootstrap_interval(data[24 - defined :], seed=0)
    np.testing.assert_array_equal([low, high], alone)


def test_the_bootstrap_is_a_function_of_its_seed_and_refuses_two_prompts():
    data = np.random.default_rng(6).standard_normal((12, 3))
    assert all(np.array_equal(a, b) for a, b in zip(*(bootstrap_interval(data, seed=3) for _ in range(2)), strict=True))
    assert all(np.isnan(bound).all() for bound in bootstrap_interval(data[:2], seed=3))


def test_missing_prompts_leave_the_same_interval_as_leaving_them_out():
    rng = np.random.default_rng(7)
    value, null = crossed(rng, 6, 30, 1.0, entries=5)
    holed, holed_null = value.copy(), null.copy()
    holed[25:, 0] = np.nan  # the checkpoint's value is refused there
    holed_null[:, 22:, 1] = np.nan  # the null's is
    whole = compare_with_seeds(value, null)
    found = compare_with_seeds(holed, holed_null)
    for entry, kept in ((0, 25), (1, 22), (2, 30)):
        alone = compare_with_seeds(value[:kept, [entry]], null[:, :kept, [entry]])
        for name in ("null", "null_low", "null_high", "difference", "low", "high", "p_value"):
            np.testing.assert_allclose(getattr(found, name)[[entry]], getattr(alone, name), rtol=1e-10, err_msg=name)
    np.testing.assert_allclose(found.p_value[2:], whole.p_value[2:], rtol=1e-12)
    draws = compare_with_draws(holed, holed_null)
    alone = compare_with_draws(value[:25, [0]], null[:, :25, [0]])
    np.testing.assert_allclose(draws.p_value[[0]], alone.p_value, rtol=1e-10)
    np.testing.assert_allclose(draws.low[[0]], alone.low, rtol=1e-10)


def test_sufficiency_is_counted_entry_by_entry():
    value, null = crossed(np.random.default_rng(8), 5, 20, 1.0, entries=3)
    value[0, 1] = np.nan  # 19 prompts left
    null[0, :, 2] = np.nan  # four seeds left
    assert compare_with_seeds(value, null).sufficient.tolist() == [True, False, False]
    assert compare_with_draws(value, null).sufficient.tolist() == [True, False, True]


def test_what_is_undefined_has_no_p_value():
    value, null = crossed(np.random.default_rng(9), 5, 20, 1.0, entries=2)
    value[:, 0] = np.nan
    comparison = compare_with_seeds(value, null)
    assert np.isnan([comparison.p_value[0], comparison.difference[0], comparison.low[0]]).all()
    assert np.isfinite(comparison.p_value[1])


@pytest.mark.parametrize(("seeds", "prompts", "carries"), [(1, 1, "nothing"), (1, 5, "prompts"), (3, 1, "seeds")])
def test_the_interval_says_which_variance_it_carries(seeds, prompts, carries):
    value, null = crossed(np.random.default_rng(10), seeds, prompts, 1.0, entries=4)
    comparison = compare_with_seeds(value, null)
    assert comparison.carries == carries
    assert not comparison.sufficient.any()
    assert np.isnan(comparison.low).all() == (carries == "nothing")
    assert np.isfinite(comparison.difference).all()


def test_seeds_that_do_not_differ_say_nothing_of_how_far_one_more_would_fall():
    value = np.tile([0.0, 1.0, 1 + 1e-15], (20, 1))
    null = np.zeros((5, 20, 3))
    null[..., 2] = 1.0  # off by rounding
    np.testing.assert_array_equal(compare_with_seeds(value, null).p_value, [1.0, np.nan, 1.0])
    varied = value + np.random.default_rng(0).standard_normal(value.shape) * [0, 1, 0]
    assert np.isnan(compare_with_seeds(varied, null).p_value[1])  # nor does the spread of the prompts


def test_equal_differences_of_independent_prompts_are_a_sign_test():
    value = np.tile([0.0, 1.0], (20, 1))
    np.testing.assert_allclose(compare_with_draws(value, np.zeros((3, 20, 2))).p_value, [1.0, 2.0**-19])


def test_an_all_or_none_quantity_raises_no_alarm():
    """Each seed shows it with probability 1/6, the checkpoint too: as often as not it is the only one."""
    shown = np.random.default_rng(12).random((4000, 6)) < 1 / 6
    value, null = (
        np.tile(shown[:, 0].astype(float), (20, 1)),
        np.tile(shown[:, 1:].T.astype(float)[:, None], (1, 20, 1)),
    )
    with np.errstate(invalid="ignore"):
        assert np.mean(compare_with_seeds(value, null).p_value <= 0.05) < 0.01


def test_benjamini_hochberg_is_scipys_with_nan_left_out():
    p = np.random.default_rng(11).beta(0.4, 4, size=(6, 7))
    p[2, 3] = p[0, 0] = np.nan
    found = benjamini_hochberg(p)
    expected = stats.false_discovery_control(p[np.isfinite(p)]) <= 0.05
    assert np.array_equal(found[np.isfinite(p)], expected)
    assert 0 < expected.sum() < expected.size
    assert not found[np.isnan(p)].any()
    assert not benjamini_hochberg(np.full(3, np.nan)).any()


def encoded(ids):
    return EncodedPrompt("", torch.tensor(ids), tuple(map(str, ids)))


def test_shuffling_keeps_the_tokens_the_first_one_and_the_special_ones():
    prompt = encoded([9, *range(20, 50), 7, *range(50, 60)])
    shuffled = shuffle_tokens(prompt, seed=0, fixed=frozenset({7}))
    assert sorted(shuffled.tolist()) == sorted(prompt.ids.tolist())
    assert shuffled[0] == 9
    assert shuffled[31] == 7
    assert not torch.equal(shuffled, prompt.ids)
    assert torch.equal(shuffled, shuffle_tokens(prompt, seed=0, fixed=frozenset({7})))
    assert not torch.equal(shuffled, shuffle_tokens(prompt, seed=1, fixed=frozenset({7})))
    assert shuffle_tokens(encoded([3]), seed=0).tolist() == [3]
