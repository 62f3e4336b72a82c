"""D19: consensus between token beliefs: the Jeffreys matrix, and how much of it lies below a null quantile."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Float64

from rgprobe import categorical
from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity
from rgprobe.gaussian import Gaussian, pairwise_product_kl
from rgprobe.tracing import BeliefTrace

__all__ = ["DIAGNOSTIC", "QUANTILE", "belief_jeffreys", "calibrate", "consensus", "low_quantile"]

QUANTILE = 0.05


def consensus(trace: BeliefTrace) -> Measurement:
    """Mean Jeffreys divergence KL(a || b) + KL(b || a) between recorded tokens, nats, and the whole matrix."""
    size = trace.positions.shape[1]
    matrices = np.full((trace.n_prompts, trace.n_depths, size, size), np.nan)
    for prompt in range(trace.n_prompts):
        count = len(trace.recorded(prompt))
        for depth in range(trace.n_depths):
            matrices[prompt, depth, :count, :count] = belief_jeffreys(trace.beliefs(prompt, depth))
    jeffreys = xr.DataArray(matrices, dims=("prompt", trace.depth_dim, "position", "source"))
    mean = jeffreys.where(_pairs(size)).mean(("position", "source"))
    values = xr.Dataset({"jeffreys": mean, "fraction_below": xr.full_like(mean, np.nan)})
    return Measurement(values, xr.Dataset({"jeffreys_matrix": jeffreys.astype("float32")}))


def calibrate(measurement: Measurement, null: Sequence[Measurement]) -> Measurement:
    """Fraction of pairs closer than the 5% quantile of the pairs of the given null measurements, at the same depth."""
    if not null:
        return measurement
    matrix = measurement.details["jeffreys_matrix"]
    pairs = _pairs(matrix.sizes["source"])
    pooled = np.concatenate([other.details["jeffreys_matrix"].where(pairs).values for other in null])
    threshold = np.array([low_quantile(divergences) for divergences in pooled.swapaxes(0, 1)])
    depth = next(str(dim) for dim in matrix.dims if dim in ("state", "block"))
    kept = matrix.where(pairs)
    below = (kept < xr.DataArray(threshold, dims=depth)).where(kept.notnull()).mean(("position", "source"))
    values = measurement.values.assign(fraction_below=below)
    details = measurement.details.assign(threshold=(depth, threshold))
    return Measurement(values, details, measurement.internal_nulls, measurement.private)


def belief_jeffreys(beliefs: np.ndarray | Gaussian) -> Float64[np.ndarray, "n n"]:
    """Jeffreys divergences between the beliefs of one prompt at one depth, nats.

    Args:
        beliefs: log-probabilities (n, V), or a Gaussian of batch shape (n, heads), whose heads' divergences add.
    """
    if isinstance(beliefs, Gaussian):
        divergence = pairwise_product_kl(beliefs)
    else:
        divergence = categorical.pairwise_kl(torch.from_numpy(beliefs))
    return (divergence + divergence.T).numpy()


def low_quantile(divergences: Float[np.ndarray, "..."]) -> float:
    """5% quantile of what is defined; NaN where nothing is, as for prompts of one recorded token.

    What pairs of tokens of a random initialisation seldom fall below is near enough to count as agreement.
    """
    defined = divergences[~np.isnan(divergences)]
    return float(np.quantile(defined, QUANTILE)) if defined.size else np.nan


def _pairs(size: int) -> xr.DataArray:
    return xr.DataArray(~np.eye(size, dtype=bool), dims=("position", "source"))


DIAGNOSTIC = Diagnostic(
    name="consensus",
    catalogue="D19",
    title="Consensus between token beliefs",
    depth="state",
    quantities=(
        Quantity("jeffreys", "nats", "mean KL(a || b) + KL(b || a) between the beliefs of two tokens"),
        Quantity(
            "fraction_below", "1", f"share of pairs closer than the {QUANTILE:.0%} quantile of random initialisations"
        ),
    ),
    requires=frozenset({"beliefs"}),
    measure=consensus,
    calibrate=calibrate,
    assumption="lens beliefs are compared in the trace's reduced basis, where divergences are lower bounds; thermal and native "
    "ones are products over heads, whose divergences add",
    reading="Consensus is a small divergence; a random network agrees with itself too, so only the difference from it counts.",
    undefined="fewer than two recorded tokens; the fraction without a random-initialisation null",
)
