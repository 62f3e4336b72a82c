r"""Two-level scores: one key equal to the query, n - 1 keys of equal lower score, the simplest crossover of a softmax.

Scores are beta for the query's own token and beta rho for the others (unit vectors of common cosine rho). With
x = lambda beta (1 - rho), lambda a factor on the inverse temperature, the own token has the weight

    p = 1 / (1 + (n - 1) e^(-x)),

which is 1/2 at x = ln(n - 1) for any n; the heat capacity is C = Var_alpha(s) = x^2 p (1 - p), and since
d ln C / dx = 2/x + 1 - 2p it has one maximum, at x (2p - 1) = 2: 1.205, 1.121 and 1.079 times ln(n - 1) for n = 64, 256
and 1,024. The maximum moves to the point of equal weights only as ln n grows: a crossover, not a transition.

Source: the two-level system (Schottky anomaly) with degeneracy n - 1; Derrida, Phys. Rev. B 24, 2613 (1981) for keys that
are drawn instead of equal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from scipy.optimize import brentq

from rgprobe.testbeds.options import require

__all__ = ["TwoLevelScores", "TwoLevelTruth", "exact", "sample"]


@dataclass(frozen=True, eq=False)
class TwoLevelScores:
    """Rows of scores, nats, and the place of the query's own token in each."""

    scores: Float64[np.ndarray, "rows keys"]
    own: Int64[np.ndarray, " rows"]


@dataclass(frozen=True)
class TwoLevelTruth:
    """What is known about a row.

    Attributes:
        own_weight: p, of the query's own token.
        entropy: of the attention weights, nats.
        heat_capacity: Var_alpha(s).
        half_weight_beta: ln(n - 1) / (1 - rho), where the own weight is 1/2.
        peak_beta: inverse temperature at which the heat capacity is largest.
        peak_ratio: peak_beta / half_weight_beta; infinite for two keys.
        peak_heat_capacity: the heat capacity there.
    """

    own_weight: float
    entropy: float
    heat_capacity: float
    half_weight_beta: float
    peak_beta: float
    peak_ratio: float
    peak_heat_capacity: float


def sample(*, keys: int, rho: float, beta: float, rows: int, seed: int = 0) -> TwoLevelScores:
    """Rows of two-level scores with the own token at a random place.

    Args:
        keys: n, at least 2.
        rho: cosine between different tokens, in [-1, 1).
        beta: inverse temperature, >= 0.
        rows: number of rows, at least 1.
        seed: of the places.

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> drawn = sample(keys=3, rho=0.5, beta=2.0, rows=2)
        >>> np.sort(drawn.scores, axis=1)
        array([[1., 1., 2.],
               [1., 1., 2.]])
    """
    _check(keys, rho, beta)
    require(rows >= 1, "rows", expected="an integer >= 1", received=rows)
    own = np.random.default_rng(seed).integers(keys, size=rows)
    scores = np.full((rows, keys), beta * rho)
    scores[np.arange(rows), own] = beta
    return TwoLevelScores(scores, own)


def exact(*, keys: int, rho: float, beta: float = 1.0) -> TwoLevelTruth:
    """Weight, entropy and heat capacity at beta, and where the heat capacity peaks.

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> [round(exact(keys=n, rho=0.1).peak_ratio, 3) for n in (64, 256, 1024)]
        [1.205, 1.121, 1.079]
        >>> exact(keys=64, rho=0.1, beta=np.log(63) / 0.9).own_weight
        0.5
    """
    _check(keys, rho, beta)
    gap, others = 1 - rho, float(np.log(keys - 1))
    x = beta * gap
    p, q = _own(x, others), _own(-x, -others)
    # the other tokens share 1 - p equally; the weights' logarithms from softplus, not from rounded weights
    entropy = p * np.logaddexp(0.0, others - x) + q * (others + np.logaddexp(0.0, x - others))
    # left of the half-weight point 2p - 1 < 0, and 6 past it x (2p - 1) > 2
    peak = float(brentq(lambda x: x * (2 * _own(x, others) - 1) - 2, others, others + 6, xtol=1e-14, rtol=1e-14))
    peak_p = _own(peak, others)
    return TwoLevelTruth(
        own_weight=p,
        entropy=float(entropy),
        heat_capacity=x**2 * p * q,
        half_weight_beta=others / gap,
        peak_beta=peak / gap,
        peak_ratio=peak / others if others else float("inf"),
        peak_heat_capacity=peak**2 * peak_p * (1 - peak_p),
    )


def _own(x: float, others: float) -> float:
    return float(np.exp(-np.logaddexp(0.0, others - x)))


def _check(keys: int, rho: float, beta: float) -> None:
    require(keys >= 2, "keys", expected="an integer >= 2", received=keys)
    require(-1 <= rho < 1, "rho", expected="a number in [-1, 1)", received=rho)
    require(bool(0 <= beta < np.inf), "beta", expected="a finite number >= 0", received=beta)
