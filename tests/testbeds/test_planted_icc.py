"""Planted ICC: mean squares and the law of the estimate, over many draws."""

import numpy as np
import pytest

from rgprobe.errors import OptionError
from rgprobe.testbeds import planted_icc


def mean_squares(x):
    """Between and within families, for (families, members, dim)."""
    families, members, dim = x.shape
    means = x.mean(1, keepdims=True)
    between = members * ((means - means.mean(0)) ** 2).sum() / (dim * (families - 1))
    within = ((x - means) ** 2).sum() / (dim * families * (members - 1))
    return between, within


@pytest.mark.parametrize(("families", "members", "dim"), [(24, 8, 1), (7, 3, 5), (2, 2, 9)])
@pytest.mark.parametrize("icc", [0.0, 0.2, 0.8])
def test_mean_squares_and_coverage_are_exact(families, members, dim, icc):
    draws = 401
    shape = {"families": families, "members": members, "icc": icc, "dim": dim}
    known = planted_icc.exact(**shape)
    found = np.array([mean_squares(planted_icc.sample(seed=seed, **shape)) for seed in range(draws)])
    # each mean square is its expectation times chi^2 over its degrees of freedom
    freedom = np.array([dim * (families - 1), dim * families * (members - 1)])
    expected = np.array([known.between, known.within])
    assert (abs(found.mean(0) - expected) < 4 * expected * np.sqrt(2 / freedom / draws)).all()
    ratio = found[:, 0] / found[:, 1]
    estimate = (ratio - 1) / (ratio + members - 1)
    low, high = known.estimate_interval
    covered = ((low < estimate) & (estimate < high)).mean()
    assert abs(covered - 0.95) < 4 * np.sqrt(0.95 * 0.05 / draws)


def test_full_correlation_is_exact_and_wider_coverage_has_the_wider_interval():
    assert planted_icc.exact(families=3, members=3, icc=1.0).estimate_interval == (1.0, 1.0)
    wide, narrow = (
        planted_icc.exact(families=9, members=5, icc=0.5, coverage=c).estimate_interval for c in (0.99, 0.5)
    )
    assert wide[0] < narrow[0] < 0.5 < narrow[1] < wide[1]
    drawn = planted_icc.sample(families=101, members=3, icc=1.0, dim=2)
    assert np.array_equal(drawn, np.broadcast_to(drawn[:, :1], drawn.shape))


def test_sampling_is_a_function_of_its_seed():
    one, same, other = (planted_icc.sample(families=2, members=3, icc=0.5, seed=s) for s in (0, 0, 1))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("options", [{"families": 1}, {"members": 1}, {"icc": -0.1}, {"icc": float("nan")}, {"dim": 0}])
def test_what_is_no_family_is_refused(options):
    with pytest.raises(OptionError):
        planted_icc.sample(**{"families": 3, "members": 3, "icc": 0.5, **options})


def test_impossible_coverage_is_refused():
    with pytest.raises(OptionError):
        planted_icc.exact(families=3, members=3, icc=0.5, coverage=1.0)
