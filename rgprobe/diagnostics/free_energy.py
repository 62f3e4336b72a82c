"""D1: free energy of attention, in forms that a key bias cannot move.

ln Z itself is not observable: adding a constant to every score of a row moves it and leaves the weights as they are. Its
invariant content is two divergences from the uniform distribution u on the same n keys:

    free energy      ln Z - mean(s) - ln n = KL(u || alpha),
    entropy deficit  ln n - S(alpha)       = KL(alpha || u).
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity, rows_with_enough_keys, token_mean
from rgprobe.tracing import BeliefTrace

__all__ = ["DIAGNOSTIC", "free_energy"]


def free_energy(trace: BeliefTrace) -> Measurement:
    """KL(u || alpha) and KL(alpha || u) per head, averaged over rows, nats; per token in the details.

    Source: Gibbs-Bogoliubov; see any text on the variational free energy.
    """
    attention = trace.attention
    log_keys = np.log(attention["keys"].where(attention["keys"] > 0))
    per_token = xr.Dataset(
        {
            "free_energy": attention["log_partition"] - attention["uniform_mean"] - log_keys,
            "entropy_deficit": log_keys - (attention["log_partition"] - attention["gibbs_mean"]),
        }
    )
    rows = rows_with_enough_keys(attention)
    values = per_token.map(token_mean, rows=rows)
    first_sink = per_token.isel(sink=0).drop_vars("sink").where(rows.isel(sink=0).drop_vars("sink"))
    return Measurement(values, first_sink.rename({name: f"{name}_by_token" for name in per_token}).astype("float32"))


DIAGNOSTIC = Diagnostic(
    name="free_energy",
    catalogue="D1",
    title="Free energy of attention",
    depth="block",
    quantities=(
        Quantity(
            "free_energy", "nats", "KL(uniform || attention): how far the row's mean score lies below its free energy"
        ),
        Quantity("entropy_deficit", "nats", "KL(attention || uniform): nats by which the row is narrower than uniform"),
    ),
    requires=frozenset({"attention"}),
    measure=free_energy,
    assumption="an attention row is a Boltzmann distribution over its keys",
    reading="0 is uniform attention; ln n is attention to one key. Both are unmoved by a bias on the row's scores.",
    undefined="no row of the prompt sees at least 8 keys",
)
