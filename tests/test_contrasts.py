"""Intervals that cover and tests that keep their level, for each of the three questions that a comparison can ask."""

import numpy as np
import pytest
from scipy import stats

from rgprobe.contrasts import Excess, excess_contrast, group_contrast, paired_contrast, prediction_band

SIMULATIONS = 4000
# four standard errors of a 5% rate over so many simulations
LEVEL = 0.05 + 4 * np.sqrt(0.05 * 0.95 / SIMULATIONS)


def checkpoints(rng, count, prompts=24, *, spread, difficulty):
    """Prompt effects that all share, an effect of each checkpoint, noise of both."""
    effect = spread * rng.standard_normal((count, 1, SIMULATIONS))
    return difficulty + effect + rng.standard_normal((count, prompts, SIMULATIONS))


def excess(drawn):
    """The first of the draws beyond the mean of the others."""
    return Excess(drawn[0] - drawn[1:].mean(0), drawn[1:].mean(1))


def test_paired_differences_are_those_of_scipy():
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, 21, 7))
    contrast = paired_contrast(first, second)
    reference = stats.ttest_rel(second, first)
    np.testing.assert_allclose(contrast.p_value, reference.pvalue, rtol=1e-10)
    interval = reference.confidence_interval()
    np.testing.assert_allclose([contrast.low, contrast.high], [interval.low, interval.high], rtol=1e-10)


def test_welch_is_that_of_scipy():
    rng = np.random.default_rng(1)
    first, second = rng.standard_normal((3, 7)), 2 * rng.standard_normal((5, 7))
    contrast = group_contrast(first, second)
    reference = stats.ttest_ind(second, first, equal_var=False)
    np.testing.assert_allclose(contrast.p_value, reference.pvalue, rtol=1e-10)
    interval = reference.confidence_interval()
    np.testing.assert_allclose([contrast.low, contrast.high], [interval.low, interval.high], rtol=1e-10)


def test_two_checkpoints_that_do_not_differ_are_seldom_told_apart_and_planted_differences_are_covered():
    rng = np.random.default_rng(2)
    difficulty = 3 * rng.standard_normal((24, SIMULATIONS))
    first, second = checkpoints(rng, 2, spread=0.0, difficulty=difficulty)
    assert 0.03 <= np.mean(paired_contrast(first, second).p_value < 0.05) <= LEVEL
    contrast = paired_contrast(first, second + 0.9)
    assert 0.93 <= np.mean((contrast.low <= 0.9) & (contrast.high >= 0.9)) <= 0.97
    found = contrast.p_value < 0.05
    assert found.mean() > 0.8
    assert (contrast.difference[found] > 0).mean() > 0.999


@pytest.mark.parametrize(("spread_a", "spread_b"), [(0.0, 0.0), (1.0, 1.0), (0.2, 2.0)])
@pytest.mark.parametrize("seeds", [5, 8])
def test_two_checkpoints_drawn_like_their_nulls_seldom_differ_in_excess(seeds, spread_a, spread_b):
    rng = np.random.default_rng(3)
    difficulty = rng.standard_normal((24, SIMULATIONS))
    first = checkpoints(rng, seeds + 1, spread=spread_a, difficulty=difficulty)
    second = 4.0 + checkpoints(rng, seeds + 1, spread=spread_b, difficulty=1.5 * difficulty)  # another architecture
    contrast = excess_contrast(excess(first), excess(second))
    assert np.mean(contrast.p_value < 0.05) <= LEVEL
    naive = paired_contrast(excess(first).by_prompt, excess(second).by_prompt)
    if spread_b:
        assert np.mean(naive.p_value < 0.05) > 0.5  # leaving the seeds out
    moved = excess_contrast(excess(first), Excess(excess(second).by_prompt + 2.0, excess(second).by_seed))
    assert np.mean((moved.low <= 2.0) & (moved.high >= 2.0)) >= 0.93


@pytest.mark.parametrize("spread", [0.0, 0.5, 2.0])
def test_a_null_that_both_share_counts_once(spread):
    rng = np.random.default_rng(4)
    difficulty = rng.standard_normal((24, SIMULATIONS))
    first = checkpoints(rng, 6, spread=spread, difficulty=difficulty)
    second = np.concatenate([checkpoints(rng, 1, spread=spread, difficulty=difficulty), first[1:]])
    contrast = excess_contrast(excess(first), excess(second))
    assert np.mean(contrast.p_value < 0.05) <= LEVEL
    if spread == 2.0:  # not conservative where the spread of checkpoints is what decides
        assert np.mean(contrast.p_value < 0.05) >= 0.04


def test_families_that_do_not_differ_are_seldom_told_apart_though_their_checkpoints_differ():
    rng = np.random.default_rng(5)
    difficulty = rng.standard_normal((24, SIMULATIONS))
    first = checkpoints(rng, 3, spread=2.0, difficulty=difficulty)
    second = checkpoints(rng, 3, spread=2.0, difficulty=difficulty)
    contrast = group_contrast(first.mean(1), second.mean(1))
    assert np.mean(contrast.p_value < 0.05) <= LEVEL
    assert contrast.sufficient.all()
    # one checkpoint of each, paired over prompts: right about these two, wrong about the families
    assert np.mean(paired_contrast(first[0], second[0]).p_value < 0.05) > 0.7
    moved = group_contrast(first.mean(1), second.mean(1) + 5.0)
    assert 0.93 <= np.mean((moved.low <= 5.0) & (moved.high >= 5.0)) <= 0.985


def test_the_error_of_a_null_that_all_checkpoints_share_is_in_the_interval():
    rng = np.random.default_rng(6)
    first, second = rng.standard_normal((2, 3, SIMULATIONS))
    null = 3 * rng.standard_normal((5, SIMULATIONS))
    excesses = first - null.mean(0)
    assert (
        np.mean(group_contrast(excesses, second, nulls=[null]).p_value < 0.05) <= LEVEL + 0.015
    )  # Welch, few checkpoints
    assert np.mean(group_contrast(excesses, second).p_value < 0.05) > 0.1


def test_equal_runs_leave_nothing_to_test():
    value = np.random.default_rng(7).standard_normal((24, 3))
    value[:, 2] = np.nan
    seeds = np.random.default_rng(8).standard_normal((5, 3))
    for contrast in (paired_contrast(value, value), excess_contrast(Excess(value, seeds), Excess(value, seeds))):
        assert contrast.equal.tolist() == [True, True, False]
        assert np.isnan(contrast.p_value).all()


def test_an_exact_difference_is_known_without_a_test():
    first = np.full((24, 2), 0.1)
    contrast = paired_contrast(first, first * 3)  # a variance of these would be a rounding above zero
    assert contrast.exact.all()
    assert not contrast.equal.any()
    assert np.isnan(contrast.p_value).all()
    np.testing.assert_allclose(contrast.low, 0.2, rtol=1e-12)
    np.testing.assert_allclose(contrast.high, 0.2, rtol=1e-12)


def test_prompts_that_one_run_lacks_count_for_neither():
    rng = np.random.default_rng(9)
    first, second = rng.standard_normal((2, 30, 2))
    second[:12, 1] = np.nan
    contrast = paired_contrast(first, second)
    assert contrast.sufficient.tolist() == [True, False]
    np.testing.assert_allclose(contrast.p_value[1], paired_contrast(first[12:], second[12:]).p_value[1], rtol=1e-12)


def test_a_single_prompt_or_seed_has_no_interval():
    first, second = np.random.default_rng(10).standard_normal((2, 1, 3))
    assert np.isnan(paired_contrast(first, second).p_value).all()
    one = Excess(np.random.default_rng(11).standard_normal((24, 3)), first)
    other = Excess(np.random.default_rng(12).standard_normal((24, 3)), second)
    assert np.isnan(excess_contrast(one, other).low).all()
    assert not excess_contrast(one, other).sufficient.any()


def test_one_more_draw_falls_into_the_band():
    drawn = np.random.default_rng(13).standard_normal((6, SIMULATIONS))
    low, high = prediction_band(drawn[1:])
    assert 0.935 <= np.mean((low <= drawn[0]) & (drawn[0] <= high)) <= 0.965
