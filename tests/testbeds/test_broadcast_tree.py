"""Broadcast tree: samples against theta^(2h), the averaged curve against brute force over pairs."""

import numpy as np
import pytest

from rgprobe.errors import OptionError
from rgprobe.testbeds import broadcast_tree


def heights(depth, branching):
    i = np.arange(branching**depth)
    levels = [i // branching**h for h in range(depth + 1)]
    return np.sum([level[:, None] != level[None, :] for level in levels], axis=0)


@pytest.mark.parametrize(("depth", "branching", "theta"), [(5, 2, 0.8), (3, 3, 0.6), (2, 5, 0.95), (1, 7, 0.5)])
def test_samples_have_the_exact_correlations(depth, branching, theta):
    samples = 20_001
    spins = broadcast_tree.sample(depth=depth, samples=samples, theta=theta, branching=branching, seed=5).astype(float)
    known = broadcast_tree.exact(depth=depth, theta=theta, branching=branching)
    expected = known.pair_correlation[heights(depth, branching)]
    # +-1 products over independent trees; five errors because there are up to 496 pairs
    error = np.sqrt((1 - expected**2) / samples)
    assert (abs(spins.T @ spins / samples - expected) <= 5 * error + 1e-12).all()
    assert (abs(spins.mean(0)) < 5 / np.sqrt(samples)).all()


@pytest.mark.parametrize(("depth", "branching", "theta"), [(6, 2, 0.8), (3, 3, 0.6), (2, 5, 1.0)])
def test_curve_is_the_average_over_all_pairs(depth, branching, theta):
    known = broadcast_tree.exact(depth=depth, theta=theta, branching=branching)
    matrix = theta ** (2.0 * heights(depth, branching))
    brute = [np.diagonal(matrix, r).mean() for r in range(len(matrix))]
    np.testing.assert_allclose(known.correlation, brute, rtol=1e-12)


def test_curve_follows_the_power_law_well_inside_the_tree():
    known = broadcast_tree.exact(depth=16, theta=0.8)
    # the ripple has period b, so a slope over whole octaves is free of it; the finite size enters at b^D theta^2D
    octaves = 2 ** np.arange(2, 8)
    slopes = np.diff(np.log(known.correlation[octaves])) / np.log(2)
    np.testing.assert_allclose(slopes, -known.exponent, rtol=1e-2)
    assert known.exponent == pytest.approx(-2 * np.log(0.8) / np.log(2))


def test_sampling_is_a_function_of_its_seed():
    one, same, other = (broadcast_tree.sample(depth=3, samples=3, theta=0.5, seed=s) for s in (0, 0, 1))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(
    "options", [{"depth": 0}, {"samples": 0}, {"theta": 0.0}, {"theta": 1.1}, {"theta": float("nan")}, {"branching": 1}]
)
def test_what_is_no_tree_is_refused(options):
    with pytest.raises(OptionError):
        broadcast_tree.sample(**{"depth": 2, "samples": 2, "theta": 0.5, **options})
