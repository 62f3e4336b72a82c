r"""Migdal-Kadanoff renormalization of the Ising coupling K: the textbook map with a known fixed point.

Blocks of b sites in d dimensions: move bonds, K -> b^(d-1) K, then decimate b of them in series,

    tanh K' = tanh(b^(d-1) K)^b.

For b = d = 2 this is K' = ln(cosh 4K) / 2, with an unstable fixed point K* = 0.304689 between disorder (K = 0) and order
(K = infinity), thermal eigenvalue dK'/dK = 2 tanh 4K* = b^y, y = 0.747236, and nu = 1/y = 1.33827 (the square lattice
has K* = 0.440687 and nu = 1). The map is exact on the hierarchical lattice whose bonds are replaced, again and again, by
two double bonds in series. For d = 1 it is decimation, t' = t^b in t = tanh K, which has no fixed point between: every
finite coupling flows to disorder, and the correlation length falls by b per step.

Source: Migdal, Sov. Phys. JETP 42, 743 (1975); Kadanoff, Ann. Phys. 100, 359 (1976); Berker & Ostlund,
J. Phys. C 12, 4961 (1979).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.optimize import brentq

from rgprobe.testbeds.options import require

__all__ = ["MigdalKadanoff", "exact", "renormalize", "sample"]


@dataclass(frozen=True)
class MigdalKadanoff:
    """The fixed point and its exponents.

    Attributes:
        coupling: K*.
        eigenvalue: dK'/dK at K*.
        y: ln(eigenvalue) / ln b.
        nu: 1 / y, the exponent of the correlation length.
    """

    coupling: float
    eigenvalue: float
    y: float
    nu: float


def renormalize(
    coupling: Float64[np.ndarray, "*shape"] | float, *, dimension: int = 2, scale: int = 2
) -> Float64[np.ndarray, "*shape"]:
    """One step K -> K', for couplings of either sign or none.

    Raises:
        OptionError: dimension below 1 or scale below 2.

    Example:
        >>> float(renormalize(0.5).round(6)), float((np.log(np.cosh(2.0)) / 2).round(6))
        (0.662501, 0.662501)
    """
    _check(dimension, scale)
    k = np.asarray(coupling, dtype=float)
    size = scale ** (dimension - 1) * np.abs(k)
    # t^b is near 1 in the ordered phase: there ln t = -2 artanh(e^(-2K)) keeps what tanh K has rounded away
    small, large = np.minimum(size, 1.0), np.clip(size, 1.0, 300.0)
    log_power = -2 * scale * np.arctanh(np.exp(-2 * large))
    ordered = (np.log1p(np.exp(log_power)) - np.log(-np.expm1(log_power))) / 2 + np.maximum(size - 300.0, 0.0)
    magnitude = np.where(size < 1, np.arctanh(np.tanh(small) ** scale), ordered)
    return np.asarray(np.where(k < 0, np.sign(k) ** scale, 1.0) * magnitude)


def sample(
    *, couplings: Float64[np.ndarray, " starts"], steps: int, dimension: int = 2, scale: int = 2
) -> Float64[np.ndarray, "points starts"]:
    """Orbits: the starting couplings, then each after 1 ... `steps` steps.

    Raises:
        OptionError: steps negative, dimension below 1 or scale below 2.

    Example:
        >>> sample(couplings=np.array([0.25, 0.35]), steps=3).round(3)
        array([[0.25 , 0.35 ],
               [0.217, 0.383],
               [0.168, 0.442],
               [0.106, 0.552]])
    """
    require(steps >= 0, "steps", expected="an integer >= 0", received=steps)
    orbit = [np.asarray(couplings, dtype=float)]
    for _ in range(steps):
        orbit.append(renormalize(orbit[-1], dimension=dimension, scale=scale))
    return np.stack(orbit)


def exact(*, dimension: int = 2, scale: int = 2) -> MigdalKadanoff:
    """The unstable fixed point at a finite coupling, with its exponents.

    Raises:
        OptionError: dimension below 2 (decimation has no such fixed point) or scale below 2.

    Example:
        >>> known = exact()
        >>> round(known.coupling, 6), round(known.y, 6), round(known.nu, 5)
        (0.304689, 0.747236, 1.33827)
    """
    require(dimension >= 2, "dimension", expected="an integer >= 2", received=dimension)
    _check(dimension, scale)
    bonds = scale ** (dimension - 1)

    def excess(k: float) -> float:
        return float(renormalize(k, dimension=dimension, scale=scale) - k)

    # below K* couplings fall and above it they grow: near 0 as K^b, near infinity by ln(b) less than bonds * K
    star = float(brentq(excess, 1e-6, 2.0, xtol=1e-15, rtol=1e-14))
    t = np.tanh(bonds * star)
    eigenvalue = float(scale * t ** (scale - 1) * bonds * (1 - t**2) / (1 - t ** (2 * scale)))
    y = float(np.log(eigenvalue) / np.log(scale))
    return MigdalKadanoff(star, eigenvalue, y, 1 / y)


def _check(dimension: int, scale: int) -> None:
    require(dimension >= 1, "dimension", expected="an integer >= 1", received=dimension)
    require(scale >= 2, "scale", expected="an integer >= 2", received=scale)
