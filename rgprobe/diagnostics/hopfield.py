r"""Free-energy landscape of stored patterns: energy, descent into its minima, basins, the barriers between them.

    E(x) = -(1/beta) ln (1/N) sum_j exp(-beta |x - xi_j|^2 / 2)

is stationary where x = sum_j p_j xi_j with p = softmax(-beta |x - xi_j|^2 / 2). For patterns of one norm M this is the energy
of a modern Hopfield network, |x|^2 / 2 - ln sum_j exp(beta xi_j . x) / beta + ln(N) / beta + M^2 / 2, whose update is one
step of attention over the patterns; it is also -1/beta times the log-density of equal Gaussians around the patterns, so that
beta E is a free energy in nats.

All functions are batched over leading dimensions: one set of patterns and one beta for each.

Source: Ramsauer et al., ICLR 2021 (arXiv:2008.02217); Fukunaga and Hostetler, IEEE Trans. Inf. Theory 21, 32 (1975) for the
same iteration as a gradient ascent on density (mean shift).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int

__all__ = ["Basins", "barriers", "basins", "descend", "energy", "grid_minima"]

STEPS = 400
CHECK = 20  # steps between looks at who has arrived
NEWTON = 12
ARRIVED = 1e-8  # largest step, over the spread of the patterns
SAME = 1e-3  # distance below which two ends are one minimum, over that spread
_NEAR = np.array([0.01, 0.03])
# places on the segment between two minima, closer to its ends: next to a shallow minimum the barrier stands there
ALONG = np.concatenate([_NEAR, np.linspace(0.0, 1.0, 11)[1:-1], 1 - _NEAR[::-1]])


def energy(
    points: Float[np.ndarray, "*batch point dim"],
    patterns: Float[np.ndarray, "*batch pattern dim"],
    beta: Float[np.ndarray, "*batch"],
) -> Float64[np.ndarray, "*batch point"]:
    """E at the points, in units of squared length; beta E is in nats.

    Example:
        >>> two = np.array([[-1.0], [1.0]])
        >>> at = energy(np.array([[0.0], [1.0]]), two, np.asarray(9.0))
        >>> bool(at[0] > at[1] > 0)
        True
    """
    inverse = np.asarray(beta)[..., None]
    exponents = -inverse[..., None] * _half_squares(points, patterns)
    return np.asarray((np.log(patterns.shape[-2]) - _log_sum_exp(exponents)) / inverse)


def descend(
    starts: Float[np.ndarray, "*batch point dim"],
    patterns: Float[np.ndarray, "*batch pattern dim"],
    beta: Float[np.ndarray, "*batch"],
) -> Float64[np.ndarray, "*batch point dim"]:
    """Where x <- sum_j p_j(x) xi_j ends: no step raises E, so each start falls into a minimum (or rests on a saddle).

    After 400 steps, Newton steps take those home that creep, because their minimum is about to split.

    Example:
        >>> two = np.array([[-1.0], [1.0]])
        >>> ends = [descend(two, two, np.asarray(b)) for b in (0.5, 9.0)]
        >>> [bool(np.ptp(end) > 1.9) for end in ends]
        [False, True]
    """
    shape = np.broadcast_shapes(starts.shape[:-2], patterns.shape[:-2])
    x = np.broadcast_to(starts, (*shape, *starts.shape[-2:])).reshape(-1, *starts.shape[-2:]).astype(np.float64)
    xi = np.broadcast_to(patterns, (*shape, *patterns.shape[-2:])).reshape(-1, *patterns.shape[-2:])
    inverse = np.broadcast_to(beta, shape).reshape(-1)
    spread = _spread(xi)
    moving = np.arange(len(x))
    for _ in range(STEPS // CHECK):
        here, there, cold = x[moving], xi[moving], inverse[moving, None, None]
        for _ in range(CHECK):
            before = here
            here = _weights(-cold * _half_squares(here, there)) @ there
        x[moving] = here
        moving = moving[np.abs(here - before).max((1, 2)) > ARRIVED * spread[moving]]
        if len(moving) == 0:
            break
    for index in moving:
        x[index] = _newton(x[index], xi[index], float(inverse[index]))
    return x.reshape(*shape, *starts.shape[-2:])


@dataclass(frozen=True, eq=False)
class Basins:
    """Basins of attraction that a set of starts falls into.

    Attributes:
        label: of each start, 0, 1, ... in order of falling population.
        minima: of each basin.
        population: share of the starts in each.
    """

    label: Int[np.ndarray, " start"]
    minima: Float64[np.ndarray, "basin dim"]
    population: Float64[np.ndarray, " basin"]

    @property
    def participation(self) -> float:
        """1 / sum of squared populations: the effective number of basins."""
        return float(1 / (self.population**2).sum())


def basins(ends: Float[np.ndarray, "start dim"], patterns: Float[np.ndarray, "pattern dim"]) -> Basins:
    """Distinct minima among the ends of descents: two are one where they lie within 0.1% of the spread of the patterns.

    Example:
        >>> three = np.array([[-1.0], [0.9], [1.0]])
        >>> found = basins(descend(three, three, np.asarray(9.0)), three)
        >>> found.label, found.population.round(2)
        (array([1, 0, 0]), array([0.67, 0.33]))
    """
    near = np.linalg.norm(ends[:, None] - ends, axis=-1) <= SAME * _spread(patterns)
    # the first end at the same place stands for it
    kept, place = np.unique(near.argmax(1), return_inverse=True)
    population = np.bincount(place) / len(ends)
    order = np.argsort(-population, kind="stable")
    return Basins(np.argsort(order)[place], ends[kept][order], population[order])


def barriers(
    minima: Float[np.ndarray, "basin dim"], patterns: Float[np.ndarray, "pattern dim"], beta: float
) -> Float64[np.ndarray, " basin"]:
    """Lowest rise of beta E on the straight lines from each minimum to the others, nats; NaN where there is one.

    The pass between two basins need not lie on the line, so this is an upper bound of what it takes to leave, up to the
    spacing of 13 places on each line.

    Example:
        >>> two = np.array([[-1.0], [1.0]])
        >>> barriers(two, two, 9.0).round(2)
        array([3.81, 3.81])
    """
    count = len(minima)
    if count == 1:
        return np.full(1, np.nan)
    i, j = np.triu_indices(count, 1)
    # on a line, products with the patterns are linear and the square of the length is quadratic in the place
    products, gram = minima @ patterns.T, minima @ minima.T
    t = ALONG[:, None]
    squares = (1 - t) ** 2 * gram[i, i] + t**2 * gram[j, j] + 2 * t * (1 - t) * gram[i, j]
    along = (1 - t)[..., None] * products[i] + t[..., None] * products[j]
    half = squares[..., None] / 2 - along + (patterns**2).sum(1) / 2
    height = (np.log(len(patterns)) - _log_sum_exp(-beta * half)).max(0)
    top = np.full((count, count), np.inf)
    top[i, j] = top[j, i] = height
    return np.maximum(top.min(1) - beta * energy(minima, patterns, np.asarray(beta)), 0.0)


def grid_minima(heights: Float[np.ndarray, "*batch g g"]) -> Int[np.ndarray, "*batch"]:
    """How many inner points of a grid lie lower than their eight neighbours: minima of a slice, not of the landscape.

    Example:
        >>> x = np.linspace(-2, 2, 21)
        >>> int(grid_minima((x[:, None] ** 2 - 1) ** 2 + x**2))
        2
    """
    inner = heights[..., 1:-1, 1:-1]
    size = heights.shape[-1] - 2
    around = [(i, j) for i in range(3) for j in range(3) if (i, j) != (1, 1)]
    lower = [inner < heights[..., i : i + size, j : j + size] for i, j in around]
    return np.asarray(np.logical_and.reduce(lower).sum((-1, -2)))


def _half_squares(points: np.ndarray, patterns: np.ndarray) -> np.ndarray:
    """|x - xi|^2 / 2 of each point and pattern; whoever needs the digits centres the patterns first."""
    squares = (points**2).sum(-1)[..., :, None] + (patterns**2).sum(-1)[..., None, :]
    return squares / 2 - points @ np.swapaxes(patterns, -1, -2)


def _spread(patterns: np.ndarray) -> Float64[np.ndarray, "*batch"]:
    return np.asarray(np.sqrt(((patterns - patterns.mean(-2, keepdims=True)) ** 2).sum(-1).mean(-1)))


def _log_sum_exp(exponents: np.ndarray) -> Float64[np.ndarray, "*rows"]:
    top = exponents.max(-1, keepdims=True)
    return np.asarray(np.log(np.exp(exponents - top).sum(-1)) + top[..., 0])


def _weights(exponents: np.ndarray) -> Float64[np.ndarray, "*rows pattern"]:
    weights = np.exp(exponents - exponents.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def _newton(x: np.ndarray, patterns: np.ndarray, beta: float) -> Float64[np.ndarray, "point dim"]:
    """Newton steps to where the gradient vanishes, for points in a convex place, as long as they shrink it."""

    def gradient(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        p = _weights(-beta * _half_squares(x, patterns))
        return x - p @ patterns, p

    slope, p = gradient(x)
    for _ in range(NEWTON):
        centred = patterns - (p @ patterns)[:, None]
        curvature = np.eye(x.shape[1]) - beta * np.einsum("sk,ska,skb->sab", p, centred, centred, optimize=True)
        convex = np.linalg.eigvalsh(curvature)[:, 0] > 0
        step = np.linalg.solve(np.where(convex[:, None, None], curvature, np.eye(x.shape[1])), slope[..., None])[..., 0]
        trial = x - step
        new_slope, new_p = gradient(trial)
        better = convex & (np.linalg.norm(new_slope, axis=-1) < np.linalg.norm(slope, axis=-1))
        if not better.any():
            break
        x, slope, p = (np.where(better[:, None], new, old) for new, old in ((trial, x), (new_slope, slope), (new_p, p)))
    return x
