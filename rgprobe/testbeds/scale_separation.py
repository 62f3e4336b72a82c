r"""Micro, macro and output variables: how much of the output the micro variables tell once the macro ones are known.

Per dimension, with independent standard normal macro M, residual R and noise E,

    micro = a M + R,      output = M + c R + E.

Given M, output and micro share only c R: their partial correlation is c / sqrt(1 + c^2) and

    I(micro; output | macro) = ln(1 + c^2) / 2  nats per dimension,

whatever a, though micro and output are correlated through M as well. Scales separate at c = 0. For c = 0.3 this is 0.0431;
a partial *correlation* of 0.3 would give 0.0472.

Source: conditional mutual information of Gaussians, Cover & Thomas, Elements of Information Theory, chapter 8.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from rgprobe.testbeds.options import require

__all__ = ["ScaleSeparationTruth", "Scales", "exact", "sample"]


@dataclass(frozen=True, eq=False)
class Scales:
    """Rows of micro, macro and output variables."""

    micro: Float64[np.ndarray, "rows dim"]
    macro: Float64[np.ndarray, "rows dim"]
    output: Float64[np.ndarray, "rows dim"]


@dataclass(frozen=True)
class ScaleSeparationTruth:
    """What is known about the variables.

    Attributes:
        conditional_information: I(micro; output | macro), nats, all dimensions together.
        unconditional_information: I(micro; output), nats: what is reported when conditioning is forgotten.
        partial_correlation: of micro and output given macro, in each dimension.
    """

    conditional_information: float
    unconditional_information: float
    partial_correlation: float


def sample(*, rows: int, coefficient: float, overlap: float = 1.0, dim: int = 1, seed: int = 0) -> Scales:
    """Independent rows; dimensions are turned by random rotations, one per variable, so that none is aligned.

    Args:
        rows: at least 1.
        coefficient: c, finite.
        overlap: a, finite.
        dim: of each variable, at least 1.
        seed: of the generator.

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> sample(rows=5, coefficient=0.3, dim=2).output.shape
        (5, 2)
    """
    _check(coefficient, overlap, dim)
    require(rows >= 1, "rows", expected="an integer >= 1", received=rows)
    generator = np.random.default_rng(seed)
    macro, residual, noise = generator.standard_normal((3, rows, dim))
    turns, _ = np.linalg.qr(generator.standard_normal((3, dim, dim)))
    micro, output = overlap * macro + residual, macro + coefficient * residual + noise
    return Scales(micro @ turns[0], macro @ turns[1], output @ turns[2])


def exact(*, coefficient: float, overlap: float = 1.0, dim: int = 1) -> ScaleSeparationTruth:
    """Conditional and unconditional mutual information.

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> known = exact(coefficient=0.3)
        >>> round(known.conditional_information, 4), round(known.unconditional_information, 4)
        (0.0431, 0.259)
    """
    _check(coefficient, overlap, dim)
    c, a = coefficient, overlap
    # determinant of the joint covariance over the product of variances, (1 + a^2)(2 + c^2) - (a + c)^2
    unexplained = (1 + a**2) * (2 + c**2) - (a + c) ** 2
    total = -0.5 * np.log(unexplained / ((1 + a**2) * (2 + c**2)))
    return ScaleSeparationTruth(float(dim * np.log1p(c**2) / 2), float(dim * total), float(c / np.hypot(1, c)))


def _check(coefficient: float, overlap: float, dim: int) -> None:
    require(bool(np.isfinite(coefficient)), "coefficient", expected="a finite number", received=coefficient)
    require(bool(np.isfinite(overlap)), "overlap", expected="a finite number", received=overlap)
    require(dim >= 1, "dim", expected="an integer >= 1", received=dim)
