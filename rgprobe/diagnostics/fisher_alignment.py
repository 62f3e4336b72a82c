"""D23: alignment of the Fisher information of attention between neighbouring blocks.

cos(G, G') = tr(G G') / (|G| |G'|) with G = mean over heads of diag(alpha) - alpha alpha^T, for the same token in blocks l - 1
and l: whether the two attend to, and can be moved along, the same tokens. Two rows that spread widely are alike whatever they
hold, so permutations of the keys that a row sees are the null.
"""

from __future__ import annotations

import xarray as xr

from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity, reduction
from rgprobe.tracing import BeliefTrace

__all__ = ["DIAGNOSTIC", "fisher_alignment"]


def fisher_alignment(trace: BeliefTrace) -> Measurement:
    """Alignment with the previous block, averaged over the recorded rows, and under permuted keys (`permuted_keys`)."""
    alignment = reduction(trace, "fisher")["alignment"]
    null = xr.Dataset({"alignment": alignment.isel(draw=slice(1, None)).transpose("draw", "prompt", "block")})
    values = xr.Dataset({"alignment": alignment.isel(draw=0).transpose("prompt", "block")})
    return Measurement(values, internal_nulls={"permuted_keys": null})


DIAGNOSTIC = Diagnostic(
    name="fisher_alignment",
    catalogue="D23",
    title="Alignment of Fisher information between blocks",
    depth="block",
    quantities=(
        Quantity("alignment", "1", "cosine between the Fisher information of this block and of the one before"),
    ),
    requires=frozenset({"fisher"}),
    measure=fisher_alignment,
    assumption="Fisher information is averaged over heads, which do not correspond between blocks; recorded rows under the "
    "trace's sink policy",
    reading="Only what exceeds permuted keys is agreement about tokens; the rest is two wide rows.",
    undefined="the first block; no recorded row sees at least 8 keys; blocks whose rows see different keys",
    default=False,
)
