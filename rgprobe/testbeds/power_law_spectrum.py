r"""Gaussian data whose covariance has a power-law spectrum, lambda_k = k^(-alpha).

The participation ratio of a covariance is PR = (sum lambda)^2 / sum lambda^2. Measured on n samples it is biased
downwards: for the covariance S of n independent rows, nu = n - 1 degrees of freedom where the mean was removed,

    E (tr S)^2 = (sum lambda)^2 + 2 sum lambda^2 / nu,
    E tr S^2   = (1 + 1/nu) sum lambda^2 + (sum lambda)^2 / nu,

and the ratio of these is what a sample shows, up to relative fluctuations of order 1/n. For d equal eigenvalues it is
d / (1 + d/nu) up to 1/nu: tokens without any structure have a participation ratio far below d if they are few.

Source: moments of the Wishart distribution, e.g. Muirhead, Aspects of Multivariate Statistical Theory (1982), section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from rgprobe.testbeds.options import require

__all__ = ["SpectrumTruth", "exact", "sample"]


@dataclass(frozen=True, eq=False)
class SpectrumTruth:
    """What is known about the data.

    Attributes:
        eigenvalues: of the population's covariance, descending.
        participation_ratio: of the population.
        sampled_participation_ratio: ratio of the expectations over samples of the asked size, mean removed.
    """

    eigenvalues: Float64[np.ndarray, " dim"]
    participation_ratio: float
    sampled_participation_ratio: float


def sample(*, rows: int, dim: int, alpha: float, seed: int = 0) -> Float64[np.ndarray, "rows dim"]:
    """Independent rows N(0, Q diag(k^-alpha) Q^T), Q a random rotation.

    Args:
        rows: n, at least 1.
        dim: d, at least 1.
        alpha: exponent, >= 0; 0 for white data.
        seed: of data and rotation.

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> sample(rows=5, dim=3, alpha=1.0).shape
        (5, 3)
    """
    _check(rows, dim, alpha, least=1)
    generator = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(generator.standard_normal((dim, dim)))
    scale = np.arange(1, dim + 1) ** (-alpha / 2)
    return (generator.standard_normal((rows, dim)) * scale) @ turn.T


def exact(*, rows: int, dim: int, alpha: float) -> SpectrumTruth:
    """Spectrum and participation ratios.

    Args:
        rows: n, at least 2.
        dim: d, at least 1.
        alpha: exponent, >= 0.

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> known = exact(rows=101, dim=100, alpha=0.0)
        >>> known.participation_ratio, round(known.sampled_participation_ratio, 2)  # d / (1 + d/nu) = 50
        (100.0, 49.76)
    """
    _check(rows, dim, alpha, least=2)
    eigenvalues = np.arange(1, dim + 1) ** -float(alpha)
    total, square, freedom = eigenvalues.sum() ** 2, (eigenvalues**2).sum(), rows - 1
    sampled = (total + 2 * square / freedom) / (square * (1 + 1 / freedom) + total / freedom)
    return SpectrumTruth(eigenvalues, float(total / square), float(sampled))


def _check(rows: int, dim: int, alpha: float, *, least: int) -> None:
    require(rows >= least, "rows", expected=f"an integer >= {least}", received=rows)
    require(dim >= 1, "dim", expected="an integer >= 1", received=dim)
    require(0 <= alpha < np.inf, "alpha", expected="a finite number >= 0", received=alpha)
