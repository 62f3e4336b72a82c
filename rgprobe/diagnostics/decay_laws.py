"""Laws of decay fitted to a curve over distance: exponential, power, truncated power, a floor; which one, by AIC.

    exponential a exp(-r / xi),    power a r^(-eta),    truncated power a r^(-eta) exp(-r / xi),
    floored exponential a exp(-r / xi) + b,    constant b,    a, b >= 0.

A curve that falls to a floor has a length that neither an exponential nor a power law without the floor can tell: both take the
floor for a slow decay.

Fits are least squares on the curve itself, not on its logarithm, weighted by the inverse variance of each point: noise about
zero then stays noise, where a logarithm would drop the negative half of it and bend the rest.

A long curve is first averaged over distances that grow by a quarter from one to the next. That keeps the errors of the
points from being copies of each other, and gives every decade the same say; the laws are averaged in the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

__all__ = ["Laws", "best_law", "distance_bins", "fit_exponential", "fit_laws", "fit_power"]

GROWTH = 1.25
LONGEST_OVER_RANGE = 30.0  # xi is searched up to this many times the largest distance
RATES, EXPONENTS = 160, np.linspace(0.0, 8.0, 161)
STEPS = 34  # of golden section: the bracket shrinks by 1e-7
SECTION = (5**0.5 - 1) / 2


@dataclass(frozen=True, eq=False)
class Laws:
    """The laws fitted to each of several curves.

    Attributes:
        correlation_length: xi of the exponential, in units of distance.
        exponent: eta of the power law.
        floor: b of the floored exponential, in units of the curve.
        length_above_floor: its xi.
        aic_none, aic_constant, aic_exponential, aic_power, aic_truncated, aic_floored: Akaike's criterion, smaller is better,
            of no correlation at all (zero everywhere), of one that does not decay, and of the laws of decay.
    """

    correlation_length: Float64[np.ndarray, "*curves"]
    exponent: Float64[np.ndarray, "*curves"]
    floor: Float64[np.ndarray, "*curves"]
    length_above_floor: Float64[np.ndarray, "*curves"]
    aic_none: Float64[np.ndarray, "*curves"]
    aic_constant: Float64[np.ndarray, "*curves"]
    aic_exponential: Float64[np.ndarray, "*curves"]
    aic_power: Float64[np.ndarray, "*curves"]
    aic_truncated: Float64[np.ndarray, "*curves"]
    aic_floored: Float64[np.ndarray, "*curves"]


def distance_bins(longest: int) -> Float64[np.ndarray, "points distance"]:
    """Averages over distances 1 ... R in groups that grow by a quarter; multiply a curve over 1 ... R with it.

    Example:
        >>> (distance_bins(12) > 0).sum(1)
        array([1, 1, 1, 1, 1, 2, 2, 2, 1])
    """
    edges = [1]
    while edges[-1] <= longest:
        edges.append(max(edges[-1] + 1, round(edges[-1] * GROWTH)))
    rows = np.zeros((len(edges) - 1, longest))
    for row, start, stop in zip(rows, edges[:-1], edges[1:], strict=True):
        row[start - 1 : stop - 1] = 1 / (min(stop - 1, longest) - start + 1)
    return rows


def fit_exponential(
    y: Float64[np.ndarray, "*curves points"],
    weight: Float64[np.ndarray, "*#curves points"],
    average: Float64[np.ndarray, "points distance"],
    distance: Float64[np.ndarray, "distance"],
) -> tuple[Float64[np.ndarray, "*curves"], Float64[np.ndarray, "*curves"]]:
    """xi and chi^2 of a exp(-r / xi), the amplitude free.

    Args:
        y: curves.
        weight: inverse variances of their points.
        average: makes points out of values at each distance; the identity where they are values.
        distance: r.
    """
    shortest, longest = 0.1 * float(distance[0]), LONGEST_OVER_RANGE * float(distance[-1])
    grid = np.linspace(-np.log(longest), -np.log(shortest), RATES)
    log_rate, chi2 = _profiled(lambda u: -np.exp(u)[..., None] * (distance - distance[0]), y, weight, average, grid)
    return np.asarray(np.exp(-log_rate)), chi2


def fit_power(
    y: Float64[np.ndarray, "*curves points"],
    weight: Float64[np.ndarray, "*#curves points"],
    average: Float64[np.ndarray, "points distance"],
    distance: Float64[np.ndarray, "distance"],
) -> tuple[Float64[np.ndarray, "*curves"], Float64[np.ndarray, "*curves"]]:
    """eta and chi^2 of a r^(-eta), the amplitude free; arguments as for `fit_exponential`."""
    logarithm = np.log(distance / distance[0])
    return _profiled(lambda u: -u[..., None] * logarithm, y, weight, average, EXPONENTS)


def fit_laws(
    y: Float64[np.ndarray, "*curves points"],
    weight: Float64[np.ndarray, "*curves points"],
    average: Float64[np.ndarray, "points distance"],
    distance: Float64[np.ndarray, "distance"],
) -> Laws:
    """All laws, a constant and nothing at all, compared.

    AIC = chi^2 / c + 2 (number of parameters), with c = chi^2 / (points - 3) of the better one of the laws of three parameters
    where that exceeds 1: where no law fits to within the errors, differences count in units of that misfit (QAIC).

    Source: Akaike (1974); Burnham and Anderson, Model Selection, section 2.5, for c.

    Example:
        >>> r = np.arange(1.0, 65.0)
        >>> y, error = np.exp(-r / 5), np.full(64, 0.01)
        >>> laws = fit_laws(y, error**-2, np.eye(64), r)
        >>> round(float(laws.correlation_length), 6), str(best_law(laws))
        (5.0, 'exponential')
    """
    length, chi2_exponential = fit_exponential(y, weight, average, distance)
    exponent, chi2_power = fit_power(y, weight, average, distance)
    chi2_truncated = _truncated(y, weight, average, distance, exponent, length)
    # the larger law contains both others, whatever the search made of it
    chi2_truncated = np.minimum(chi2_truncated, np.minimum(chi2_exponential, chi2_power))
    above, floor, chi2_floored = _floored(y, weight, average, distance)
    chi2_constant = _chi2(np.ones(y.shape[-1]), y, weight)
    chi2_floored = np.minimum(chi2_floored, np.minimum(chi2_exponential, chi2_constant))
    misfit = np.maximum(np.minimum(chi2_truncated, chi2_floored) / max(y.shape[-1] - 3, 1), 1.0)
    nothing = (weight * y**2).sum(-1)
    fits = (
        (nothing, 0),
        (chi2_constant, 1),
        (chi2_exponential, 2),
        (chi2_power, 2),
        (chi2_truncated, 3),
        (chi2_floored, 3),
    )
    return Laws(length, exponent, floor, above, *(np.asarray(chi2 / misfit + 2 * k) for chi2, k in fits))


def best_law(laws: Laws) -> np.ndarray:
    """The name of the law with the least AIC: "none", "constant", "exponential", "power", "truncated power" or
    "floored exponential"."""
    names = np.array(["none", "constant", "exponential", "power", "truncated power", "floored exponential"])
    every = (
        laws.aic_none, laws.aic_constant, laws.aic_exponential, laws.aic_power, laws.aic_truncated, laws.aic_floored
    )  # fmt: skip
    return np.asarray(names[np.stack(every).argmin(0)])


def _amplitude(law: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The amplitude of least weighted squares, not below zero."""
    return np.asarray(np.maximum((weight * y * law).sum(-1), 0.0) / (weight * law**2).sum(-1))


def _chi2(law: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Least weighted squares over the amplitude, in closed form."""
    overlap = np.maximum((weight * y * law).sum(-1), 0.0)
    return np.asarray((weight * y**2).sum(-1) - overlap**2 / (weight * law**2).sum(-1))


def _over_floor(law: np.ndarray, y: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least weighted squares of a law + b over both amplitudes, neither below zero, and that b."""
    mean_law, mean_y = ((weight * each).sum(-1, keepdims=True) / weight.sum(-1, keepdims=True) for each in (law, y))
    bends = law - mean_law
    amplitude = _amplitude(bends, y - mean_y, weight)
    floor = mean_y[..., 0] - amplitude * mean_law[..., 0]
    free = (weight * (y - mean_y - amplitude[..., None] * bends) ** 2).sum(-1)
    return np.where(floor >= 0, free, _chi2(law, y, weight)), np.asarray(np.maximum(floor, 0.0))


def _profiled(
    log_law: Callable[[np.ndarray], np.ndarray],
    y: np.ndarray,
    weight: np.ndarray,
    average: np.ndarray,
    grid: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The parameter of least chi^2: the best of a grid, then golden section about it, for all curves at once."""
    laws = np.exp(log_law(grid)) @ average.T  # (grid, points)
    overlap = np.maximum((weight * y) @ laws.T, 0.0)
    gain = overlap**2 / (weight @ (laws**2).T)
    return _golden_section(
        lambda u: _chi2(np.exp(log_law(u)) @ average.T, y, weight), grid, np.asarray(gain.argmax(-1))
    )


def _golden_section(
    chi2: Callable[[np.ndarray], np.ndarray], grid: np.ndarray, best: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The minimum between the neighbours of the best point of a grid, and where it is."""
    best = np.clip(best, 1, len(grid) - 2)
    low, high = grid[best - 1], grid[best + 1]
    a, b = high - SECTION * (high - low), low + SECTION * (high - low)
    at_a, at_b = (chi2(np.asarray(u)) for u in (a, b))
    for _ in range(STEPS):
        left = at_a < at_b
        low, high = np.where(left, low, a), np.where(left, b, high)
        a, b = high - SECTION * (high - low), low + SECTION * (high - low)
        fresh = chi2(np.where(left, a, b))
        at_a, at_b = np.where(left, fresh, at_b), np.where(left, at_a, fresh)
    middle = np.asarray((low + high) / 2)
    return middle, chi2(middle)


def _truncated(
    y: np.ndarray,
    weight: np.ndarray,
    average: np.ndarray,
    distance: np.ndarray,
    exponent: np.ndarray,
    length: np.ndarray,
) -> np.ndarray:
    """Least chi^2 of the truncated power law: a grid over both parameters, made finer about its best point."""
    logarithm, step = np.log(distance / distance[0]), distance - distance[0]
    etas = np.concatenate([[0.0], np.geomspace(0.02, 6.0, 24)])
    rates = np.concatenate([[0.0], np.geomspace(1 / (4 * distance[-1]), 4.0, 32)])
    eta, rate = (axis.ravel() for axis in np.meshgrid(etas, rates))
    laws = np.exp(-eta[:, None] * logarithm - rate[:, None] * step) @ average.T
    overlap = np.maximum((weight * y) @ laws.T, 0.0)
    best = (overlap**2 / (weight @ (laws**2).T)).argmax(-1)
    eta, rate = eta[best], rate[best]
    offsets = np.array([(i, j) for i in (-1.0, -0.5, 0.0, 0.5, 1.0) for j in (-1.0, -0.5, 0.0, 0.5, 1.0)])
    for scale in 0.3 * 0.5 ** np.arange(8):
        etas = np.maximum(eta[..., None] + scale * offsets[:, 0] * np.maximum(eta[..., None], 0.05), 0)
        rates = np.maximum(rate[..., None] + scale * offsets[:, 1] * np.maximum(rate[..., None], 0.5 / distance[-1]), 0)
        law = np.exp(-etas[..., None] * logarithm - rates[..., None] * step) @ average.T
        chi2 = _chi2(law, y[..., None, :], weight[..., None, :])
        index = chi2.argmin(-1)[..., None]
        eta, rate = (np.take_along_axis(axis, index, -1)[..., 0] for axis in (etas, rates))
    return np.asarray(chi2.min(-1))


def _floored(
    y: np.ndarray, weight: np.ndarray, average: np.ndarray, distance: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """xi, b and least chi^2 of a exp(-r / xi) + b.

    xi is searched up to the largest distance: where the exponential does not bend within it, the floor would be extrapolated.
    """

    def law(log_rate: np.ndarray) -> np.ndarray:
        return np.asarray(np.exp(-np.exp(log_rate)[..., None] * (distance - distance[0])) @ average.T)

    grid = np.linspace(-np.log(float(distance[-1])), -np.log(0.1 * float(distance[0])), RATES)
    best = np.asarray(_over_floor(law(grid), y[..., None, :], weight[..., None, :])[0].argmin(-1))
    log_rate, chi2 = _golden_section(lambda u: _over_floor(law(u), y, weight)[0], grid, best)
    return np.asarray(np.exp(-log_rate)), _over_floor(law(log_rate), y, weight)[1], chi2
