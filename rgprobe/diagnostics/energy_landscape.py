"""D28: energy landscape of a layer: do the states that enter a block lie in one basin, or in several, at its temperature?

Attention over stored patterns is one step down the energy of a modern Hopfield network (`rgprobe.diagnostics.hopfield`). The
patterns are the normalised states of the recorded tokens that enter a block; how sharply the block tells them apart is taken
from its heads: beta is the spread of their scores over the spread of the states' own scalar products. Basins are the minima of
the energy in all dimensions that descents from the tokens reach. The slice through the plane of the two leading principal
components is for the eye: a minimum of the slice need not be one of the landscape, nor the other way round.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float, Float64

from rgprobe.diagnostics.hopfield import Basins, barriers, basins, descend, energy, grid_minima
from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity
from rgprobe.diagnostics.row_permutations import generator_of
from rgprobe.tracing import BeliefTrace

__all__ = [
    "DIAGNOSTIC",
    "SPLIT",
    "Slice",
    "energy_landscape",
    "matched_beta",
    "permuted_coordinates",
    "plane_slice",
    "principal_coordinates",
    "splitting",
]

SPLIT = 1.5  # beta over the one at which the mean of the patterns splits, for basins of the geometry alone
SWEPT = (0.5, 2.0)  # times the matched beta
DRAWS = 2
GRID = 21
SMALLEST = 8  # tokens
NAMES = ("basins", "basin_participation", "barrier", "splitting", "basins_of_geometry")


@dataclass(frozen=True, eq=False)
class Slice:
    """The landscape on the plane of the two leading principal components.

    Attributes:
        axis: coordinates of the grid along either component.
        free_energy: beta E above the lowest point of the slice, nats, (second component, first component).
    """

    axis: Float64[np.ndarray, "g"]
    free_energy: Float64[np.ndarray, "g g"]


def energy_landscape(trace: BeliefTrace) -> Measurement:
    """Basins, barriers and the splitting by block; slices, tokens and minima on their plane in the details."""
    blocks = trace.attention.sizes["block"]
    spread = _score_spread(trace)
    measured = np.full((len(NAMES), 1 + DRAWS, trace.n_prompts, blocks), np.nan)
    details = _empty_details(trace, blocks)
    for prompt in range(trace.n_prompts):
        count = len(trace.recorded(prompt))
        if count < SMALLEST:
            continue
        states = trace.states.values[prompt, :blocks, :count].astype(np.float64)
        generator = generator_of(trace, prompt)
        for block in range(blocks):
            unit = states[block] / np.linalg.norm(states[block], axis=-1, keepdims=True)
            beta = matched_beta(float(spread[prompt, block]), unit)
            patterns = principal_coordinates(unit)
            if not np.isfinite(beta) or patterns.shape[1] < 2:
                continue
            found = _measured(patterns, beta, generator)
            measured[:, :, prompt, block] = found[0]
            _keep(details, (prompt, block), patterns, beta, *found[1:])
    dims = ("prompt", "block")
    values = xr.Dataset({name: (dims, measured[i, 0]) for i, name in enumerate(NAMES)})
    null = xr.Dataset({name: (("draw", *dims), measured[i, 1:]) for i, name in enumerate(NAMES)})
    return Measurement(values, details, internal_nulls={"permuted_coordinates": null})


def matched_beta(score_spread: float, unit: Float[np.ndarray, "token width"]) -> float:
    """beta at which beta <xi_i, xi_j> varies over the other tokens j as much as attention scores do over keys.

    Args:
        score_spread: standard deviation of the scores of a row, nats.
        unit: states of length 1.

    Example:
        >>> x = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
        >>> round(float(matched_beta(3.0, x) * np.std([0.0, 0.0, -1.0], ddof=1)), 6)
        3.0
    """
    products = (unit @ unit.T)[~np.eye(len(unit), dtype=bool)].reshape(len(unit), -1)
    spread = np.sqrt(products.var(1, ddof=1).mean())
    return float(score_spread / spread) if spread > 1e-9 and score_spread > 0 else float("nan")


def principal_coordinates(points: Float[np.ndarray, "token width"]) -> Float64[np.ndarray, "token component"]:
    """Points about their mean, in all principal components that they have, the widest first: distances are kept.

    Example:
        >>> principal_coordinates(np.array([[1.0, 1, 1], [3, 1, 1], [2, 1, 1], [2, 2, 1]])).shape
        (4, 2)
    """
    centred = points - points.mean(0)
    left, scale, _ = np.linalg.svd(centred, full_matrices=False)
    kept = scale > 1e-9 * max(scale[0], 1e-300)
    return left[:, kept] * scale[kept]


def splitting(patterns: Float[np.ndarray, "token component"], beta: float) -> float:
    """beta times the largest variance of the patterns: above 1 the mean of the patterns is no minimum any more.

    Where p is uniform the Hessian of E is 1 - beta Cov(xi). Exact for patterns at one distance from their mean; otherwise p is
    not uniform at the stationary point in the middle, and this is a first guess.

    Example:
        >>> round(splitting(np.array([[-1.0, 0.0], [1.0, 0.0]]), 2.0), 6)
        2.0
    """
    return float(beta * np.linalg.eigvalsh(np.atleast_2d(np.cov(patterns.T, bias=True)))[-1])


def permuted_coordinates(
    patterns: Float[np.ndarray, "token component"], generator: np.random.Generator
) -> Float64[np.ndarray, "token component"]:
    """Each principal coordinate in a random order of its own over the tokens: the same variances, no clusters in common."""
    return generator.permuted(patterns, axis=0)


def plane_slice(patterns: Float[np.ndarray, "token component"], beta: float) -> Slice:
    """beta E in nats where all components but the two leading ones are at their mean."""
    reach = 1.25 * float(np.abs(patterns[:, :2]).max())
    axis = np.linspace(-reach, reach, GRID)
    points = np.zeros((GRID * GRID, patterns.shape[1]))
    points[:, 0], points[:, 1] = np.tile(axis, GRID), np.repeat(axis, GRID)
    height = beta * energy(points, patterns, np.asarray(beta)).reshape(GRID, GRID)
    return Slice(axis, height - height.min())


def _score_spread(trace: BeliefTrace) -> Float64[np.ndarray, "prompt block"]:
    """Standard deviation of the scores of a row, mean over rows and heads, under the sink policy of the trace."""
    variance = trace.attention["score_variance"].isel(sink=0)
    return np.sqrt(variance.transpose("prompt", "block", "head").values).mean(-1)


def _measured(
    patterns: np.ndarray, beta: float, generator: np.random.Generator
) -> tuple[np.ndarray, Basins, tuple[int, ...]]:
    """All quantities, of the patterns and of each null draw; the basins at beta; the number of basins at the swept betas."""
    sets = [patterns, *(permuted_coordinates(patterns, generator) for _ in range(DRAWS))]
    split = [splitting(each, beta) for each in sets]
    clouds = np.stack([*sets, *sets, *[patterns] * len(SWEPT)])
    count = len(sets)
    cold = np.array([*[beta] * count, *(beta * SPLIT / s for s in split), *(beta * factor for factor in SWEPT)])
    found = [basins(ends, cloud) for ends, cloud in zip(descend(clouds, clouds, cold), clouds, strict=True)]
    warm, geometry, swept = found[:count], found[count : 2 * count], found[2 * count :]
    rows = [
        [len(w.minima), w.participation, float(w.population @ barriers(w.minima, cloud, beta)), s, len(g.minima)]
        for w, cloud, s, g in zip(warm, sets, split, geometry, strict=True)
    ]
    return np.array(rows).T, warm[0], tuple(len(each.minima) for each in swept)


def _empty_details(trace: BeliefTrace, blocks: int) -> xr.Dataset:
    shape, places = (trace.n_prompts, blocks), trace.positions.shape[1]
    dims = ("prompt", "block")
    empty = {
        "beta": (dims, np.full(shape, np.nan)),
        "basins_swept": ((*dims, "beta_factor"), np.full((*shape, len(SWEPT)), np.nan)),
        "slice_minima": (dims, np.full(shape, np.nan)),
        "slice_free_energy": ((*dims, "second", "first"), np.full((*shape, GRID, GRID), np.nan, dtype=np.float32)),
        "slice_axis": ((*dims, "first"), np.full((*shape, GRID), np.nan, dtype=np.float32)),
        "token_on_plane": ((*dims, "position", "component"), np.full((*shape, places, 2), np.nan, dtype=np.float32)),
        "minimum_on_plane": ((*dims, "position", "component"), np.full((*shape, places, 2), np.nan, dtype=np.float32)),
        "basin_of_token": ((*dims, "position"), np.full((*shape, places), -1, dtype=np.int16)),
    }
    return xr.Dataset(empty, {"beta_factor": list(SWEPT)})


def _keep(
    details: xr.Dataset, at: tuple[int, int], patterns: np.ndarray, beta: float, found: Basins, swept: tuple[int, ...]
) -> None:
    shown, tokens = plane_slice(patterns, beta), slice(0, len(patterns))
    entries = {
        "beta": beta, "basins_swept": swept, "slice_minima": grid_minima(shown.free_energy),
        "slice_free_energy": shown.free_energy, "slice_axis": shown.axis,
    }  # fmt: skip
    for name, value in entries.items():
        details[name].values[at] = value
    details["token_on_plane"].values[at][tokens] = patterns[:, :2]
    details["minimum_on_plane"].values[at][tokens] = found.minima[found.label, :2]
    details["basin_of_token"].values[at][tokens] = found.label


DIAGNOSTIC = Diagnostic(
    name="energy_landscape",
    catalogue="D28",
    title="Energy landscape of a layer",
    depth="block",
    quantities=(
        Quantity(
            "basins", "1", "minima of the energy, in all dimensions, that descents from the recorded tokens reach"
        ),
        Quantity("basin_participation", "1", "effective number of basins: 1 / sum of the squared shares of tokens"),
        Quantity(
            "barrier", "nats", "lowest barrier from a token's basin to another, along straight lines, mean over tokens"
        ),
        Quantity("splitting", "1", "beta times the largest variance of the states: above 1 their mean is no minimum"),
        Quantity("basins_of_geometry", "1", f"basins where beta puts the splitting at {SPLIT:g}: the geometry alone"),
    ),
    requires=frozenset({"attention", "states"}),
    measure=energy_landscape,
    assumption="a layer stores the normalised states of its recorded tokens, all visible to all; one beta per block, from the "
    "spread of its heads' scores (mean over heads) over that of the states' scalar products; the heads' own key and query "
    "subspaces are left out, and barriers are upper bounds",
    reading="One basin: attention at this temperature cannot tell the tokens apart. Basins as many as tokens: each is its own "
    "memory. Few basins of many tokens are clusters, if more merge than in a cloud with permuted coordinates; a network at "
    "initialisation is hot. Half and twice the temperature stand in the details.",
    undefined=f"fewer than {SMALLEST} recorded tokens, no row with 8 keys, states that are all alike, constant scores; the "
    "barrier where there is one basin",
    default=False,
)
