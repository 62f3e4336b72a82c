import numpy as np
import pytest

from rgprobe.errors import OptionError
from rgprobe.testbeds import fractional_walk

TIMES = np.array([0.5, 1.0, 3.0, 10.0, 100.0])


@pytest.mark.parametrize("hurst", [0.2, 0.5, 0.9, 1.0])
def test_increments_have_the_covariance_of_the_walk(hurst):
    walk = fractional_walk.sample(times=TIMES, coordinates=60_000, hurst=hurst, seed=3)
    known = fractional_walk.exact(times=TIMES, hurst=hurst)
    np.testing.assert_allclose((walk**2).mean(1), known.squared, rtol=0.03)
    gaps = np.abs(TIMES[:, None] - TIMES)
    moved = ((walk[:, None] - walk) ** 2).mean(-1)
    np.testing.assert_allclose(moved, gaps ** (2 * hurst), rtol=0.03, atol=1e-12)


def test_at_one_it_moves_at_constant_velocity():
    walk = fractional_walk.sample(times=TIMES, coordinates=5, hurst=1.0)
    np.testing.assert_allclose(walk / TIMES[:, None], np.tile(walk[1], (5, 1)), rtol=1e-6)


@pytest.mark.parametrize(
    "wrong", [{"times": np.array([1.0, 1.0])}, {"times": np.array([0.0, 1.0])}, {"hurst": 1.1}, {"coordinates": 0}]
)
def test_options_outside_their_domain(wrong):
    with pytest.raises(OptionError, match=next(iter(wrong))):
        fractional_walk.sample(**{"times": TIMES, "coordinates": 1, "hurst": 0.5, **wrong})
