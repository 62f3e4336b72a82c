"""D25: intrinsic dimension of the states of tokens, by scale: TwoNN and GRIDE.

On a manifold of dimension d the ratio mu of the distances to the 2k-th and to the k-th neighbour has a law that knows d and not
the density. k = 1 is TwoNN; larger k look at larger scales, where noise no longer counts and curvature does.

The nearest neighbour of a token's state is most often the same token in another place, at a distance that contexts make and
that says nothing of the manifold on which tokens lie. So every token of the vocabulary takes part once.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from jaxtyping import Float, Float64, Int

from rgprobe.diagnostics.pooling import MINIMUM_POOLED, Estimates, recorded_points, sums_by_prompt, undefined
from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity
from rgprobe.tracing import BeliefTrace

__all__ = ["DIAGNOSTIC", "SCALES", "distinct", "gride", "intrinsic_dimension", "neighbour_ratios", "one_of_each"]

SCALES = (1, 2, 4, 8, 16, 32)
REPORTED = {"two_nn": 1, "gride_4": 4, "gride_16": 16}
NAMES = (*REPORTED, "log_ratio")
MINIMUM_POINTS = 64
CHOICE_SEED = 0  # of the occurrence by which a token takes part
ROUNDING = 1e-5  # of the length of a state: what float32 passes of the same tokens differ by, and no more
LARGEST = 10.0  # above it no sample of this size has the points to tell, and estimates only grow with its size
HALVINGS = 60


def intrinsic_dimension(trace: BeliefTrace) -> Measurement:
    """Dimension at scales 1, 4 and 16, and the mean log-ratio at scale 1 whatever the dimension; all scales, and the number of
    points, in the details.

    Tokens of all prompts are neighbours of each other. Of each token of the vocabulary one recorded occurrence takes part,
    drawn by `CHOICE_SEED`: the same one at every depth, and in every null model that reads the same tokens. States that are
    equal up to rounding count once.
    """
    states, prompts = trace.states.sizes["state"], trace.n_prompts
    values = undefined(trace, NAMES, "state", states)
    chosen = one_of_each(_recorded_ids(trace), seed=CHOICE_SEED)
    table, counts = np.full((states, len(SCALES)), np.nan), np.full(states, len(chosen))
    for state in range(states if len(chosen) >= MINIMUM_POINTS else 0):
        points, owner = (each[chosen] for each in recorded_points(trace, state))
        kept = distinct(points)
        points, owner = points[kept], owner[kept]
        counts[state] = len(points)
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
    details = {"dimension": (("state", "scale"), table), "points": ("state", counts)}
    return Measurement(values, xr.Dataset(details, {"scale": list(SCALES)}))


def one_of_each(ids: Int[np.ndarray, "point"], *, seed: int) -> Int[np.ndarray, "chosen"]:
    """Places, in order, at which every id occurs once, each occurrence as likely as the others; never those of negative ids,
    which are tokens that are not known.

    Args:
        ids: vocabulary ids.
        seed: of the draw, which depends on the number of points and on nothing else.

    Example:
        >>> one_of_each(np.array([7, 7, 3, -1, 7]), seed=0)
        array([2, 4])
    """
    shuffled = np.random.default_rng(seed).permutation(len(ids))
    first = shuffled[np.unique(ids[shuffled], return_index=True)[1]]
    return np.sort(first[ids[first] >= 0])


def distinct(points: Float[np.ndarray, "point width"]) -> Int[np.ndarray, "kept"]:
    """Places of the points that no earlier one equals up to rounding.

    Recurrences that are not known as such give a ratio r_2 / r_1 of a distance to rounding, and a dimension near 0.

    Args:
        points: of length 1.

    Example:
        >>> distinct(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1e-7]]))
        array([0, 1])
    """
    return np.flatnonzero(~np.tril(_squared_distances(points) < ROUNDING**2, -1).any(1))


def neighbour_ratios(points: Float[np.ndarray, "point width"]) -> Float64[np.ndarray, "point scale"]:
    """ln(r_2k / r_k) of each point for the k of `SCALES`; NaN without 2k neighbours, or where the k-th is at no distance.

    Points that recur, exactly or nearly, are to be left out before: see `distinct`.

    Example:
        >>> line = np.array([[0.0], [1.0], [3.0], [7.0]])
        >>> neighbour_ratios(line)[:, 0].round(4)
        array([1.0986, 0.6931, 0.4055, 0.4055])
    """
    squared = _squared_distances(points)
    np.fill_diagonal(squared, -1.0)  # first in every row
    wanted = [k for k in SCALES if 2 * k < len(points)]
    places = sorted({place for k in wanted for place in (k, 2 * k)})
    ordered = np.partition(squared, places, axis=1)
    out = np.full((len(points), len(SCALES)), np.nan)
    for column, k in enumerate(wanted):
        near = np.where(ordered[:, k] > 0, ordered[:, k], np.nan)
        out[:, column] = np.log(ordered[:, 2 * k] / near) / 2
    return out


def _squared_distances(points: np.ndarray) -> np.ndarray:
    points = points.astype(np.float64)
    points = points - points.mean(0)
    norms = (points**2).sum(-1)
    return np.maximum(norms[:, None] + norms - 2 * points @ points.T, 0.0)


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


def _recorded_ids(trace: BeliefTrace) -> np.ndarray:
    """Ids of the recorded tokens, in the order of `recorded_points`."""
    return np.concatenate([trace.token_ids[prompt][trace.recorded(prompt)] for prompt in range(trace.n_prompts)])


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
    assumption="tokens of the vocabulary, one recorded occurrence of each, are drawn from one manifold, with a density that is "
    "constant up to the neighbours used; states are normalised",
    reading="A dimension that changes with scale is no dimension; compare layers, and the null, at one scale.",
    undefined="fewer than 64 distinct tokens among those recorded, or 5 prompts that hold them; tokens whose ids are not "
    "known; dimensions above 10, where only the inverse is reported",
    default=False,
)
