r"""D26: an abrupt change in a series of checkpoints, told from autocorrelated noise at a controlled rate of false alarms.

Training curves wander: neighbouring checkpoints resemble each other, and a test that takes them for independent finds steps in
every one of them. Here the noise is an AR(1) process whose correlation phi is unknown, and the null hypothesis is that process
around a constant or a straight line.

For every split k the step function that is 0 before and 1 from k on, less its projection on the constant (and the line), is
d_k; z_k = d_k . y / |d_k|, and the candidate is the k of largest |z_k|. With the residuals r after that step and their
correlation phi^ = sum r_t r_(t-1) / sum r_t^2 the statistic is

    T = |z_k| / std(r) sqrt((1 - phi^) / (1 + phi^)),

the step in units of its standard error in AR(1) noise. Neither T nor phi^ depends on level or scale, so their joint null
distribution is a function of phi and the length alone; it is simulated on a grid of phi, the search over k included. In short
series phi^ is far too small (12 points of phi = 0.8 give 0.07 on average), and even a median-unbiased correction leaves false
alarms in up to a fifth of all series. The p value is therefore the largest over every phi under which a phi^ as small as this
one is not itself a surprise at 5% (Berger & Boos, J. Am. Stat. Assoc. 89, 1012, 1994, one-sided). They add that 5% to the p
value, which bounds false alarms exactly and would forbid any p below it; without, the bound is 10% at a nominal 5%. Measured
with `analyses/changepoint_level.py` on 20,000 series each of 8 to 154 points: 2.0 to 6.2% for phi from 0 to 0.95, up to 6.4% at
0.98, and 5.2 to 10.7% of random walks, which are not in the null hypothesis.

Sources: the maximum over splits of an AR(1) series, Robbins, Gallagher, Lund, Aue, J. Time Ser. Anal. 32, 498 (2011).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from rgprobe.checks import one_of
from rgprobe.errors import NumericalRefusal, OptionError
from rgprobe.testbeds import ar1

__all__ = ["MINIMUM", "TRENDS", "Changepoints", "find_changepoints", "naive_p_values"]

MINIMUM = 8  # points: fewer leave nothing to estimate noise from
MARGIN = 2  # points on either side of a split
SURPRISE = 0.05  # how unlikely phi^ may be under a phi that is still considered
LARGEST = 0.9  # of |phi^| in the standard error, which vanishes at 1
TRENDS = ("constant", "linear")
GRID = (-0.6, -0.4, -0.2, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98)


@dataclass(frozen=True, eq=False)
class Changepoints:
    """The most likely change of each series, and how surprising it is.

    Attributes:
        index: first point after the change.
        height: of the step, in the units of the series.
        statistic: T.
        p_value: probability of a T at least as large without any change, at the least favourable phi.
        phi: correlation of neighbouring residuals, as estimated; far too small in short series.
    """

    index: Int64[np.ndarray, " series"]
    height: Float64[np.ndarray, " series"]
    statistic: Float64[np.ndarray, " series"]
    p_value: Float64[np.ndarray, " series"]
    phi: Float64[np.ndarray, " series"]


class _Splits(NamedTuple):
    """Every split that is considered: first points after, and normalised steps without their part along the trend."""

    first: Int64[np.ndarray, " splits"]
    steps: Float64[np.ndarray, "splits n"]
    lengths: Float64[np.ndarray, " splits"]
    basis: Float64[np.ndarray, "n trend"]


def find_changepoints(
    series: Float64[np.ndarray, "series n"], *, trend: str = "constant", draws: int = 4000, seed: int = 0
) -> Changepoints:
    """Test each series for one step.

    Args:
        series: values at consecutive checkpoints, at least 8; order is all that enters, so log-spaced ones are fine.
        trend: what the series does without a step: "constant", or "linear" in the number of the checkpoint.
        draws: simulated series per phi of the grid.
        seed: of the simulation, shared by all series.

    Raises:
        OptionError: an unknown trend, or fewer than 100 draws.
        NumericalRefusal: fewer than 8 points, a value that is not finite, or a series without noise.

    Example:
        >>> series = np.random.default_rng(0).normal(size=(2, 20))
        >>> series[0, 12:] += 5
        >>> found = find_changepoints(series)
        >>> int(found.index[0]), found.p_value < 0.05
        (12, array([ True, False]))
    """
    _check(series, trend, draws)
    splits = _splits(series.shape[1], trend)
    index, score, statistic, phi = _statistics(series, splits)
    tables = _null(series.shape[1], trend, draws, seed)
    considered = np.stack([np.searchsorted(table.phi, phi, side="right") > SURPRISE * draws for table in tables])
    surprise = np.stack([_tail(table.statistic, statistic) for table in tables])
    # the smallest phi of the grid is always considered: a series may be more alternating than any of them
    considered[0] = True
    return Changepoints(
        splits.first[index], score / splits.lengths[index], statistic, np.where(considered, surprise, 0).max(0), phi
    )


def naive_p_values(
    series: Float64[np.ndarray, "series n"], *, draws: int = 4000, seed: int = 0
) -> Float64[np.ndarray, " series"]:
    """The same test for independent noise: what it would say if checkpoints did not resemble their neighbours.

    Example:
        >>> walk = np.random.default_rng(0).normal(size=(50, 40)).cumsum(1)
        >>> naive, honest = naive_p_values(walk), find_changepoints(walk).p_value
        >>> [round(float((p < 0.05).mean()), 2) for p in (naive, honest)]
        [1.0, 0.02]
    """
    _check(series, "constant", draws)
    splits = _splits(series.shape[1], "constant")
    noise = np.random.default_rng(seed).standard_normal((draws, series.shape[1]))
    plain = [_statistics(each, splits, correlated=False)[2] for each in (series, noise)]
    return _tail(np.sort(plain[1]), plain[0])


def _check(series: Float64[np.ndarray, "series n"], trend: str, draws: int) -> None:
    one_of("trend", trend, TRENDS)
    if draws < 100:
        raise OptionError("draws", expected="at least 100", received=str(draws), remedy="the default is 4000")
    if series.shape[1] < MINIMUM:
        raise NumericalRefusal("series", expected=f"at least {MINIMUM} checkpoints", received=str(series.shape[1]),
                               remedy="keep more of them")  # fmt: skip
    for number, each in enumerate(series):
        if not np.isfinite(each).all() or np.ptp(each) == 0:
            raise NumericalRefusal(f"series[{number}]", expected="finite numbers that are not all equal",
                                   received="a constant" if np.isfinite(each).all() else "NaN or infinity",
                                   remedy="leave it out")  # fmt: skip


@lru_cache
def _splits(n: int, trend: str) -> _Splits:
    line = np.linspace(-1.0, 1.0, n)
    basis = np.linalg.qr(np.stack([np.ones(n), line], 1)[:, : 1 + TRENDS.index(trend)])[0]
    first = np.arange(MARGIN, n - MARGIN + 1)
    steps = (np.arange(n) >= first[:, None]).astype(float)
    steps -= steps @ basis @ basis.T
    lengths = np.linalg.norm(steps, axis=1)
    return _Splits(first, steps / lengths[:, None], lengths, basis)


def _statistics(
    series: Float64[np.ndarray, "series n"], splits: _Splits, *, correlated: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """For each series: number of the best split, its z, T and phi^."""
    flat = series - series @ splits.basis @ splits.basis.T
    scores = flat @ splits.steps.T
    best = np.abs(scores).argmax(1)
    score = scores[np.arange(len(series)), best]
    residual = flat - score[:, None] * splits.steps[best]
    # a step without any noise leaves rounding errors: a number that says so, not a division by zero
    energy = np.maximum((residual**2).sum(1), 1e-30 * (flat**2).sum(1) + np.finfo(float).tiny)
    phi = (residual[:, 1:] * residual[:, :-1]).sum(1) / energy
    freedom = series.shape[1] - splits.basis.shape[1] - 1
    bounded = np.clip(phi, -LARGEST, LARGEST)
    correlation = np.sqrt((1 - bounded) / (1 + bounded)) if correlated else 1.0
    return best, score, np.abs(score) / np.sqrt(energy / freedom) * correlation, phi


class _Null(NamedTuple):
    """Draws at one phi, each sorted by itself."""

    statistic: Float64[np.ndarray, " draws"]
    phi: Float64[np.ndarray, " draws"]


@lru_cache(maxsize=64)
def _null(n: int, trend: str, draws: int, seed: int) -> tuple[_Null, ...]:
    rng, splits = np.random.default_rng(seed), _splits(n, trend)
    tables = []
    for phi in GRID:
        found = _statistics(ar1.correlated(rng.standard_normal((n, draws)), phi).T, splits)
        tables.append(_Null(np.sort(found[2]), np.sort(found[3])))
    return tuple(tables)


def _tail(
    sorted_draws: Float64[np.ndarray, " draws"], observed: Float64[np.ndarray, " series"]
) -> Float64[np.ndarray, " series"]:
    """Share of draws at least as large, the observed one counted among them."""
    above = len(sorted_draws) - np.searchsorted(sorted_draws, observed, side="left")
    return (above + 1) / (len(sorted_draws) + 1)
