"""D19: connected components of token beliefs at a threshold from a null, beside the condensation tree at the same threshold.

Two tokens are linked where both KL(a || b) and KL(b || a) are below epsilon. Epsilon is no choice: it is the 5% quantile of
the pairs of random initialisations at the same depth. A chain of beliefs, each near the next, is one component; the clusters of
the tree, all of whose pairs are linked, keep it in pieces. Where both numbers are equal there are groups.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float64

from rgprobe import categorical
from rgprobe.condensation.components import component_deaths, divergences, number_of_components, tree_diameters
from rgprobe.diagnostics.condensation import tree_of
from rgprobe.diagnostics.consensus import QUANTILE, low_quantile
from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity
from rgprobe.gaussian import Gaussian
from rgprobe.tracing import BeliefTrace

__all__ = ["DIAGNOSTIC", "calibrate", "components"]

QUANTITIES = ("components", "tree_clusters")


def components(trace: BeliefTrace) -> Measurement:
    """Barcodes and diameters of trees, by prompt and depth; the numbers wait for a threshold, see `calibrate`."""
    size = trace.positions.shape[1]
    shape = (trace.n_prompts, trace.n_depths)
    deaths, diameters = np.full((*shape, size - 1), np.nan), np.full((*shape, size - 1), np.nan)
    pairs = np.full((*shape, size * (size - 1) // 2), np.nan)
    for prompt in range(trace.n_prompts):
        upper = np.triu_indices(len(trace.recorded(prompt)), 1)
        for depth in range(trace.n_depths):
            matrix = _larger_direction(trace.beliefs(prompt, depth))
            pairs[prompt, depth, : len(upper[0])] = matrix[upper]
            deaths[prompt, depth, : len(matrix) - 1] = component_deaths(matrix=matrix)
            diameters[prompt, depth, : len(matrix) - 1] = tree_diameters(tree_of(trace, prompt, depth), matrix=matrix)
    dims = ("prompt", trace.depth_dim)
    nothing = xr.DataArray(np.full(shape, np.nan), dims=dims)
    values = xr.Dataset(dict.fromkeys(QUANTITIES, nothing))
    details = xr.Dataset({"death": ((*dims, "merge"), deaths), "diameter": ((*dims, "merge"), diameters)})
    return Measurement(values, details, private=xr.Dataset({"pair": ((*dims, "pairs"), pairs)}))


def calibrate(measurement: Measurement, null: Sequence[Measurement]) -> Measurement:
    """Epsilon is the 5% quantile of the pairs of the given null measurements, by depth; both counts are taken there."""
    if not null:
        return measurement
    pooled = np.concatenate([other.private["pair"].values for other in null]).swapaxes(0, 1)
    epsilon = np.array([low_quantile(of_depth) for of_depth in pooled])
    held = measurement.details
    dims = held["death"].dims[:2]
    # a token by itself is one component by construction
    defined = np.isfinite(held["death"].values).any(-1) & np.isfinite(epsilon)
    counted = {
        name: np.where(defined, number_of_components(held[of].values, epsilon), np.nan)
        for name, of in zip(QUANTITIES, ("death", "diameter"), strict=True)
    }
    values = measurement.values.assign({name: (dims, count) for name, count in counted.items()})
    details = held.assign(epsilon=(dims[1], epsilon))
    return Measurement(values, details, measurement.internal_nulls, measurement.private)


def _larger_direction(beliefs: np.ndarray | Gaussian) -> Float64[np.ndarray, "n n"]:
    """max(KL(a || b), KL(b || a)), nats; from logarithms where there are some, which do not underflow."""
    if isinstance(beliefs, Gaussian):
        return divergences(beliefs)
    both = categorical.pairwise_kl(torch.from_numpy(beliefs))
    return torch.maximum(both, both.T).numpy()


DIAGNOSTIC = Diagnostic(
    name="components",
    catalogue="D19",
    title="Connected components of token beliefs",
    depth="state",
    quantities=(
        Quantity(
            "components", "1",
            f"components of tokens linked within the {QUANTILE:.0%} quantile epsilon of random initialisations, both ways",
        ),
        Quantity("tree_clusters", "1", "largest clusters of the condensation tree all of whose pairs are linked"),
    ),
    requires=frozenset({"beliefs"}),
    measure=components,
    calibrate=calibrate,
    assumption="one epsilon for all tokens of a depth, from its random initialisations; lens beliefs in the trace's reduced "
    "basis, where divergences are lower bounds",
    reading="Few of both: the tokens are in groups. Few components and many clusters: they are in chains. There are never more "
    "components than clusters.",
    undefined="fewer than two recorded tokens; everything without a random-initialisation null",
    default=False,
)  # fmt: skip
