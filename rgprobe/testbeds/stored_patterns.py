r"""Modern Hopfield network with orthogonal patterns: where the minima of its energy are, and when there are any.

For N orthogonal patterns x_k of equal norm M, the energy

    E(y) = -logsumexp_k(beta <x_k, y>) / beta + |y|^2 / 2 + ln(N) / beta + M^2 / 2 >= 0

is stationary where y = sum_k p_k x_k with p = softmax(beta <x_k, y>): one step of attention over the patterns leaves y in
place. With p on one pattern, (1 - p)/(N - 1) on each other, and delta their difference, this is one equation,

    beta M^2 = ln[(1 + (N - 1) delta) / (1 - delta)] / delta,

the mean-field Potts model of N states. Its largest root is a minimum next to each pattern, at the squared distance
(1 - p)^2 M^2 N / (N - 1), which falls like e^(-2 beta M^2): the stored patterns are the minima. delta = 0, the mean of all
patterns, is a minimum for beta M^2 < N. The largest root exists down to a spinodal, and lies below the mean's energy
from beta M^2 = 2 (N - 1) ln(N - 1) / (N - 2) on. So there are 1, then N + 1, then N minima as beta rises.

Source: Ramsauer et al., ICLR 2021 (arXiv:2008.02217) for energy and update; Wu, Rev. Mod. Phys. 54, 235 (1982), for the
Potts mean field.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.optimize import brentq, minimize_scalar
from scipy.special import logsumexp, softmax

from rgprobe.testbeds.options import require

__all__ = ["HopfieldTruth", "energy", "exact", "retrieve", "sample"]


@dataclass(frozen=True)
class HopfieldTruth:
    """What is known about the energy.

    Attributes:
        weight: p, of its pattern at a minimum; NaN below the spinodal.
        distance: of that minimum from its pattern, over M; NaN below the spinodal.
        energy: at that minimum; NaN below the spinodal.
        mean_energy: at the mean of all patterns.
        minima: number of minima: 1, N + 1 or N.
        spinodal: least beta with a minimum at each pattern.
        transition: beta from which those lie lowest.
    """

    weight: float
    distance: float
    energy: float
    mean_energy: float
    minima: int
    spinodal: float
    transition: float


def sample(*, patterns: int, dim: int, norm: float = 1.0, seed: int = 0) -> Float64[np.ndarray, "patterns dim"]:
    """Orthogonal patterns of equal norm, uniformly turned.

    Args:
        patterns: N, at least 2.
        dim: at least N.
        norm: M, > 0.
        seed: of the rotation.

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> x = sample(patterns=2, dim=5, norm=3.0)
        >>> (x @ x.T).round(9) + 0.0
        array([[9., 0.],
               [0., 9.]])
    """
    _check(patterns, norm)
    require(dim >= patterns, "dim", expected=f"an integer >= {patterns}", received=dim)
    frame, r = np.linalg.qr(np.random.default_rng(seed).standard_normal((dim, patterns)))
    return norm * (frame * np.sign(np.diagonal(r))).T


def exact(*, patterns: int, norm: float = 1.0, beta: float) -> HopfieldTruth:
    """Minima, their energies and the temperatures at which they come and go.

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> known = exact(patterns=5, beta=12.0)
        >>> round(known.weight, 4), known.minima, round(known.transition, 4)
        (1.0, 5, 3.6968)
    """
    _check(patterns, norm)
    require(0 < beta < np.inf, "beta", expected="a finite number > 0", received=beta)
    others, coupling = patterns - 1, beta * norm**2
    lowest, spinodal = _spinodal(others)
    transition = 2.0 if patterns == 2 else 2 * others * np.log(others) / (others - 1)
    stored = coupling > max(spinodal, _coupling(lowest, others))
    minima = 1 if not stored else patterns if coupling >= patterns else patterns + 1
    missing, weight, depth = float("nan"), float("nan"), float("nan")
    if stored:
        # solved for u = ln(1 - delta): 1 - p is lost to rounding otherwise
        u = brentq(lambda u: _coupling(u, others) - coupling, -coupling - np.log(patterns) - 5, lowest, xtol=1e-14)
        missing = np.exp(u) * others / patterns
        weight, depth = 1 - missing, _energy(1 - missing, missing / others, others, norm, beta)
    mean = _energy(1 / patterns, 1 / patterns, others, norm, beta)
    distance = missing * np.sqrt(patterns / others)
    scale = norm**2
    return HopfieldTruth(
        float(weight), float(distance), float(depth), mean, minima, spinodal / scale, float(transition / scale)
    )


def energy(
    states: Float64[np.ndarray, "*batch dim"], patterns: Float64[np.ndarray, "patterns dim"], *, beta: float
) -> Float64[np.ndarray, "*batch"]:
    """E(y) of the module, M being the largest norm of the patterns."""
    attraction = logsumexp(beta * states @ patterns.T, axis=-1) / beta
    constant = np.log(len(patterns)) / beta + (patterns**2).sum(1).max() / 2
    return np.asarray((states**2).sum(-1) / 2 - attraction + constant)


def retrieve(
    states: Float64[np.ndarray, "*batch dim"],
    patterns: Float64[np.ndarray, "patterns dim"],
    *,
    beta: float,
    steps: int = 1,
) -> Float64[np.ndarray, "*batch dim"]:
    """`steps` updates y -> sum_k softmax(beta <x_k, y>)_k x_k, none of which raises the energy."""
    for _ in range(steps):
        states = softmax(beta * states @ patterns.T, axis=-1) @ patterns
    return states


def _coupling(u: float, others: int) -> float:
    """beta M^2 at which delta = 1 - e^u is stationary."""
    delta = -np.expm1(u)
    return float((np.log1p(others * delta) - u) / delta)


def _spinodal(others: int) -> tuple[float, float]:
    """ln(1 - delta) and beta M^2 where the patterns' minima appear; for N = 2 they branch off the mean continuously."""
    if others == 1:
        return -1e-6, 2.0
    found = minimize_scalar(
        lambda u: _coupling(u, others), bounds=(-30.0, -1e-6), method="bounded", options={"xatol": 1e-10}
    )
    return float(found.x), float(found.fun)


def _energy(weight: float, other: float, others: int, norm: float, beta: float) -> float:
    """E at y = weight x_1 + other (x_2 + ... + x_N)."""
    exponents = beta * norm**2 * np.array([weight, other])
    attraction = logsumexp(exponents, b=[1, others]) / beta
    size = norm**2 * (weight**2 + others * other**2)
    return float(size / 2 - attraction + np.log(others + 1) / beta + norm**2 / 2)


def _check(patterns: int, norm: float) -> None:
    require(patterns >= 2, "patterns", expected="an integer >= 2", received=patterns)
    require(0 < norm < np.inf, "norm", expected="a finite number > 0", received=norm)
