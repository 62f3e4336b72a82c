"""D33: feature-space RG: how little of a state do the predictions need, and what becomes of its distribution on the way?

At a state, all tokens are projected on 1 / c of the dimensions and the pass goes on: on the leading principal directions of a
reference population, on clusters of correlated coordinates, or on a random subspace, which is the null of both. What that
costs at the output, KL(p_full || p_cut), is a rate-distortion curve in the cutoff c.

Meanwhile the field that is left, each coordinate over its standard deviation, has an excess kurtosis

    <phi^4> / <phi^2>^2 - 3

that stays 0 at every cutoff if states are Gaussian, goes to 0 if coarse-graining leads to a Gaussian fixed point, and stays
elsewhere if it leads to another. It belongs to all prompts together: pseudo-values over prompts are reported.

Source: Bradde & Bialek, J. Stat. Phys. 167, 462 (2017); Meshulam et al., Phys. Rev. Lett. 123, 178103 (2019).
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from jaxtyping import Float64

from rgprobe.diagnostics.pooling import MINIMUM_POOLED, Estimates
from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity, reduction
from rgprobe.probe.truncation import CUTOFFS, FACTORS, FITTED
from rgprobe.tracing import BeliefTrace

__all__ = ["DIAGNOSTIC", "excess_kurtosis", "feature_rg"]

WORDS = {"principal": "leading principal directions", "paired": "clusters of correlated coordinates"}
# the whole, cutoff 1, is the same by either scheme
KURTOSES = [("principal", cutoff) for cutoff in CUTOFFS] + [("paired", factor) for factor in FACTORS]


def feature_rg(trace: BeliefTrace) -> Measurement:
    """Divergence by scheme and factor, kurtosis by scheme and cutoff; the null draws are random subspaces."""
    collected = reduction(trace, "truncation")
    values, null = xr.Dataset(), xr.Dataset()
    for scheme in FITTED:
        for factor in FACTORS:
            values[f"{scheme}_{factor}"] = collected["kl"].sel(scheme=scheme, factor=factor, drop=True)
            blind = collected["kl"].sel(scheme="random", factor=factor, drop=True)
            null[f"{scheme}_{factor}"] = blind.expand_dims("draw")
    for scheme, cutoff in KURTOSES:
        second, fourth = (
            collected[f"{name}_moment"].sel(fitted_scheme=scheme, cutoff=cutoff).values for name in ("second", "fourth")
        )
        values[_kurtosis_name(scheme, cutoff)] = (("prompt", "state"), _pooled(second, fourth))
    details = collected[["variance_kept"]].mean("prompt")
    return Measurement(values, details, internal_nulls={"random_subspace": null})


def excess_kurtosis(
    second: Float64[np.ndarray, "*shape"], fourth: Float64[np.ndarray, "*shape"]
) -> Float64[np.ndarray, "*shape"]:
    """<phi^4> / <phi^2>^2 - 3.

    Example:
        >>> excess_kurtosis(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
        array([ 0., -2.])
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(second > 0, fourth / second**2 - 3, np.nan))


def _pooled(second: np.ndarray, fourth: np.ndarray) -> np.ndarray:
    """Pseudo-values over prompts of the kurtosis of all of them, (prompt, state)."""
    out = np.full(second.shape, np.nan)
    there = np.isfinite(second).any(1)  # states that are not visited stay NaN
    count = int(there.sum())
    if count >= MINIMUM_POOLED:
        sums = [moment[there].sum(0) for moment in (second, fourth)]
        full = excess_kurtosis(*(total / count for total in sums))
        rest = [(total - m[there]) / (count - 1) for total, m in zip(sums, (second, fourth), strict=True)]
        out[there] = Estimates(full, excess_kurtosis(*rest)).pseudo_values()
    return out


def _kurtosis_name(scheme: str, cutoff: int) -> str:
    return f"{'paired_' if scheme == 'paired' else ''}kurtosis_{cutoff}"


DIAGNOSTIC = Diagnostic(
    name="feature_rg",
    catalogue="D33",
    title="Coarse-graining in feature space",
    depth="state",
    quantities=(
        *(
            Quantity(
                f"{scheme}_{factor}", "nats", f"KL(p_full || p_cut), states projected on 1/{factor} as {WORDS[scheme]}"
            )
            for scheme in FITTED
            for factor in FACTORS
        ),
        *(
            Quantity(
                _kurtosis_name(scheme, cutoff),
                "1",
                f"excess kurtosis of the field left at cutoff {cutoff}, by {WORDS[scheme]}",
            )
            for scheme, cutoff in KURTOSES
        ),
    ),
    requires=frozenset({"truncation"}),
    measure=feature_rg,
    assumption="directions are those of a fixed set of prose, not of the prompts; all tokens of one state are cut at once, "
    "but the sink; coordinates of the residual stream are taken as units for pairs",
    reading="Fewer dimensions at equal divergence than a random subspace means that the flow has sorted features by "
    "importance; a kurtosis that does not go to 0 with the cutoff means a non-Gaussian flow.",
    undefined="states that are not among 7 evenly spaced ones; widths below 32; kurtosis for fewer than 5 prompts",
    default=False,
)
