"""D25: intrinsic dimension of the states of tokens, by scale: TwoNN and GRIDE.

On a manifold of dimension d the ratio mu of the distances to the 2k-th and to the k-th neighbour has a law that knows d and not
the density. k = 1 is TwoNN; larger k look at larger scales, where noise no longer counts and curvature does.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from jaxtyping import Float, Float64, Int

from rgprobe.diagnostics.pooling import MINIMUM_POOLED, Estimates, recorded_points, sums_by_prompt, undefined
from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity
from rgprobe.tracing import BeliefTrace

__all__ = ["DIAGNOSTIC", "SCALES", "gride", "intrinsic_dimension", "neighbour_ratios"]

SCALES = (1, 2, 4, 8, 16, 32)
REPORTED = {"two_nn": 1, "gride_4": 4, "gride_16": 16}
NAMES = (*REPORTED, "log_ratio")
MINIMUM_POINTS = 64
LARGEST = 10.0  # above it no sample of this size has the points to tell, and estimates only grow with its size
HALVINGS = 60


def intrinsic_dimension(trace: BeliefTrace) -> Measurement:
    """Dimension at scales 1, 4 and 16, and the mean log-ratio at scale 1 whatever the dimension; all scales in the details.

    Tokens of all prompts are neighbours of each other; equal states count once.
    """
    states, prompts = trace.states.sizes["state"], trace.n_prompts
    values = undefined(trace, NAMES, "state", states)
    table = np.full((states, len(SCALES)), np.nan)
    for state in range(states):
        points, owner = _distinct(*recorded_points(trace, state))
        took_part = np.unique(owner)
        if len(points) < MINIMUM_POINTS or len(took_part) < MINIMUM_POOLED:
            continue
        ratios = neighbour_ratios(points)
        found = gride(ratios, owner, prompts)
        ratio = _mean_ratio(ratios[:, 0], owner, prompts)
        believed = np.where(found.full <= LARGEST, 1.0, np.nan)
        table[state] = found.full * believed
        pseudo = Estimates(found.full, found.deleted[took_part]).pseudo_values() * believed
        for name, scale in REPORTED.items():
            values[name][took_part, state] = pseudo[:, SCALES.index(scale)]
        values["log_ratio"][took_part, state] = Estimates(ratio.full, ratio.deleted[took_part]).pseudo_values()
    details = xr.Dataset({"dimension": (("state", "scale"), table)}, {"scale": list(SCALES)})
    return Measurement(values, details)


def neighbour_ratios(points: Float[np.ndarray, "point width"]) -> Float64[np.ndarray, "point scale"]:
    """ln(r_2k / r_k) of each point for the k of `SCALES`; NaN without 2k neighbours, or where the k-th is at no distance.

    Example:
        >>> line = np.array([[0.0], [1.0], [3.0], [7.0]])
        >>> neighbour_ratios(line)[:, 0].round(4)
        array([1.0986, 0.6931, 0.4055, 0.4055])
    """
    points = points.astype(np.float64)
    points = points - points.mean(0)
    norms = (points**2).sum(-1)
    squared = np.maximum(norms[:, None] + norms - 2 * points @ points.T, 0.0)
    np.fill_diagonal(squared, -1.0)  # first in every row
    wanted = [k for k in SCALES if 2 * k < len(points)]
    places = sorted({place for k in wanted for place in (k, 2 * k)})
    ordered = np.partition(squared, places, axis=1)
    out = np.full((len(points), len(SCALES)), np.nan)
    for column, k in enumerate(wanted):
        near = np.where(ordered[:, k] > 0, ordered[:, k], np.nan)
        out[:, column] = np.log(ordered[:, 2 * k] / near) / 2
    return out


def gride(log_ratios: Float64[np.ndarray, "point scale"], owner: Int[np.ndarray, "point"], prompts: int) -> Estimates:
    """Maximum-likelihood dimension by scale, with delete-one copies over prompts.

    With x = ln mu the log-likelihood of d is ln d + (k - 1) ln(e^(d x) - 1) - (2k - 1) d x, so that d solves

        n / d + (k - 1) sum x / (1 - e^(-d x)) = (2k - 1) sum x,      d = n / sum x for k = 1.

    A delete-one copy is one Newton step away from the estimate, neighbours kept. Points in the same prompt need not be
    independent, and boundaries bias d downwards: a 5-dimensional cube gives 4.7.

    Args:
        log_ratios: as `neighbour_ratios` returns them.
        owner: prompt of each point.
        prompts: P.

    Source: Facco, d'Errico, Rodriguez and Laio, Sci. Rep. 7, 12140 (2017), TwoNN; Denti, Doimo, Laio and Mira, Sci. Rep. 12,
    20005 (2022), GRIDE.

    Example:
        >>> plane = np.random.default_rng(0).random((1500, 2))
        >>> found = gride(neighbour_ratios(plane), np.arange(1500) % 30, 30)
        >>> found.full[:3].round(1), bool(abs(found.full[0] - 2) < 3 * found.standard_error[0])
        (array([2., 2., 2.]), True)
    """
    usable = np.isfinite(log_ratios)
    x = np.where(usable, log_ratios, 1.0)
    low, high = np.full(x.shape[1], 1e-3), np.full(x.shape[1], 1e4)
    for _ in range(HALVINGS):
        middle = np.sqrt(low * high)
        grows = np.where(usable, _score(x, middle), 0.0).sum(0) > 0
        low, high = np.where(grows, middle, low), np.where(grows, high, middle)
    found = np.where(usable.any(0), np.sqrt(low * high), np.nan)
    score = sums_by_prompt(np.where(usable, _score(x, found), 0.0), owner, prompts)
    curvature = sums_by_prompt(np.where(usable, _curvature(x, found), 0.0), owner, prompts)
    # S(d) = 0 in all; without prompt p it is -S_p, and the slope is that of the others
    return Estimates(found, found + score / (curvature.sum(0) - curvature))


def _score(x: np.ndarray, d: np.ndarray) -> np.ndarray:
    k = np.array(SCALES[: x.shape[1]], dtype=float)
    return 1 / d + (k - 1) * x / np.maximum(-np.expm1(-d * x), 1e-300) - (2 * k - 1) * x


def _curvature(x: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Derivative of the score."""
    k = np.array(SCALES[: x.shape[1]], dtype=float)
    away = np.maximum(-np.expm1(-d * x), 1e-150)
    return -1 / d**2 - (k - 1) * x**2 * np.exp(-d * x) / away**2


def _mean_ratio(x: np.ndarray, owner: np.ndarray, prompts: int) -> Estimates:
    usable = np.isfinite(x)
    sums = sums_by_prompt(np.where(usable, x, 0.0), owner, prompts)
    counts = sums_by_prompt(usable.astype(float), owner, prompts)
    return Estimates(np.asarray(sums.sum() / counts.sum()), (sums.sum() - sums) / (counts.sum() - counts))


def _distinct(points: np.ndarray, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One of each: the same token without position is the same state wherever it stands."""
    first = np.sort(np.unique(points, axis=0, return_index=True)[1])
    return points[first], owner[first]


DIAGNOSTIC = Diagnostic(
    name="intrinsic_dimension",
    catalogue="D25",
    title="Intrinsic dimension of token states",
    depth="state",
    quantities=(
        Quantity("two_nn", "1", "dimension at the scale of the first two neighbours (TwoNN)"),
        Quantity("gride_4", "1", "dimension at the scale of the 4th to 8th neighbour (GRIDE)"),
        Quantity("gride_16", "1", "dimension at the scale of the 16th to 32nd neighbour (GRIDE)"),
        Quantity("log_ratio", "1", "mean ln(r_2 / r_1): the inverse of the TwoNN dimension, whatever that is"),
    ),
    requires=frozenset({"states"}),
    measure=intrinsic_dimension,
    assumption="recorded tokens of all prompts are drawn from one manifold, with a density that is constant up to "
    "the neighbours used; states are normalised",
    reading="A dimension that changes with scale is no dimension; compare layers, and the null, at one scale.",
    undefined="fewer than 64 distinct recorded states, or 5 prompts; dimensions above 10, where only the inverse is reported",
    default=False,
)
