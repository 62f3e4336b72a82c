r"""Fractional Brownian motion of many coordinates: displacement with a known exponent.

Each coordinate is Gaussian with covariance (s^2H + t^2H - |t - s|^2H) / 2 between times s and t, so that its mean squared
displacement from the start is t^2H exactly, at any times, log-spaced ones as well. H = 1/2 is a random walk (diffusion: steps
that know nothing of each other), H > 1/2 persists, H < 1/2 turns back; H = 1 is motion at constant velocity.

Source: Mandelbrot & Van Ness, SIAM Review 10, 422 (1968).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from rgprobe.testbeds.options import require

__all__ = ["WalkTruth", "exact", "sample"]


@dataclass(frozen=True, eq=False)
class WalkTruth:
    """What is known about the walk.

    Attributes:
        exponent: H, the slope of ln |x_t - x_0| against ln t.
        squared: mean squared displacement of a coordinate at each time, t^2H.
    """

    exponent: float
    squared: Float64[np.ndarray, " times"]


def sample(
    *, times: Float64[np.ndarray, " times"], coordinates: int, hurst: float, seed: int = 0
) -> Float64[np.ndarray, "times coordinates"]:
    """Independent coordinates at the given times, all of them 0 at time 0.

    Args:
        times: positive and increasing.
        coordinates: at least 1.
        hurst: H, 0 < H <= 1.
        seed: of the generator.

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> walk = sample(times=np.array([1.0, 4.0, 16.0]), coordinates=100_000, hurst=0.5)
        >>> (walk**2).mean(1).round(1)
        array([ 1.,  4., 16.])
    """
    _check(times, hurst)
    require(coordinates >= 1, "coordinates", expected="an integer >= 1", received=coordinates)
    power, gap = times ** (2 * hurst), np.abs(times[:, None] - times)
    covariance = (power[:, None] + power - gap ** (2 * hurst)) / 2
    values, vectors = np.linalg.eigh(covariance)  # at H = 1 the rank is one, which a Cholesky factor does not survive
    root = vectors * np.sqrt(np.where(values > len(times) * np.finfo(float).eps * values[-1], values, 0))
    return root @ np.random.default_rng(seed).standard_normal((len(times), coordinates))


def exact(*, times: Float64[np.ndarray, " times"], hurst: float) -> WalkTruth:
    """Exponent and mean squared displacement.

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> exact(times=np.array([1.0, 4.0]), hurst=0.25).squared
        array([1., 2.])
    """
    _check(times, hurst)
    return WalkTruth(hurst, times ** (2 * hurst))


def _check(times: Float64[np.ndarray, " times"], hurst: float) -> None:
    increasing = len(times) > 0 and bool(times[0] > 0 and (np.diff(times) > 0).all())
    require(increasing, "times", expected="positive and increasing numbers", received=times)
    require(0 < hurst <= 1, "hurst", expected="a number with 0 < H <= 1", received=hurst)
