"""Planted step: difference of means and its error over many series, with and without autocorrelation."""

import numpy as np
import pytest

from rgprobe.errors import OptionError
from rgprobe.testbeds import planted_step


@pytest.mark.parametrize(("length", "at", "step"), [(2, 1, 0.0), (21, 7, 1.5), (101, 90, -3.0)])
@pytest.mark.parametrize("phi", [-0.5, 0.0, 0.8])
def test_difference_of_means_has_the_exact_law(length, at, step, phi):
    series = 4001
    drawn = planted_step.sample(series=series, length=length, at=at, step=step, phi=phi, seed=3)
    known = planted_step.exact(length=length, at=at, step=step, phi=phi)
    found = drawn[:, at:].mean(1) - drawn[:, :at].mean(1)
    assert abs(found.mean() - known.difference) < 4 * known.standard_error / np.sqrt(series)
    # relative standard error of a Gaussian's standard deviation: 1 / sqrt(2 n)
    assert found.std(ddof=1) == pytest.approx(known.standard_error, rel=4 / np.sqrt(2 * series))
    assert abs(drawn[:, 0].var() - 1) < 4 * np.sqrt(2 / series)


def test_long_segments_have_the_long_run_variance():
    known = planted_step.exact(length=3000, at=1000, step=1.0, phi=0.8)
    assert known.standard_error**2 == pytest.approx(9 * (1 / 1000 + 1 / 2000), rel=0.02)
    assert known.naive_standard_error**2 == pytest.approx(1 / 1000 + 1 / 2000)


def test_sampling_is_a_function_of_its_seed():
    one, same, other = (planted_step.sample(series=2, length=5, at=2, step=1.0, seed=s) for s in (0, 0, 1))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(
    "options", [{"series": 0}, {"length": 1}, {"at": 0}, {"at": 5}, {"step": float("nan")}, {"phi": 1.0}]
)
def test_what_has_no_step_is_refused(options):
    with pytest.raises(OptionError):
        planted_step.sample(**{"series": 2, "length": 5, "at": 2, "step": 1.0, **options})
