"""D2: entropy, participation and heat capacity of attention rows."""

from __future__ import annotations

import numpy as np
import xarray as xr

from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity, rows_with_enough_keys, token_mean
from rgprobe.tracing import BeliefTrace

__all__ = ["DIAGNOSTIC", "attention_entropy"]


def attention_entropy(trace: BeliefTrace) -> Measurement:
    """S / ln n, 1 / sum alpha^2 and Var_alpha(s) per head, averaged over rows; per token in the details.

    The heat capacity obeys C = Var_alpha(s) = s^T F s = -dS / d ln beta with F = diag(alpha) - alpha alpha^T, the Fisher
    information of the row in its scores: it is how much the row would sharpen if its temperature fell.
    """
    attention = trace.attention
    entropy = attention["log_partition"] - attention["gibbs_mean"]
    log_keys = np.log(attention["keys"].where(attention["keys"] > 1))
    per_token = xr.Dataset(
        {
            "normalised_entropy": entropy / log_keys,
            "participation": 1 / attention["purity"],
            "heat_capacity": attention["gibbs_variance"],
        }
    )
    rows = rows_with_enough_keys(attention)
    first_sink = per_token.isel(sink=0).drop_vars("sink").where(rows.isel(sink=0).drop_vars("sink"))
    return Measurement(
        per_token.map(token_mean, rows=rows),
        first_sink.rename({name: f"{name}_by_token" for name in per_token}).astype("float32"),
    )


DIAGNOSTIC = Diagnostic(
    name="attention_entropy",
    catalogue="D2",
    title="Entropy, participation and heat capacity of attention",
    depth="block",
    quantities=(
        Quantity("normalised_entropy", "1", "S / ln n, between 0 (one key) and 1 (uniform)"),
        Quantity("participation", "keys", "1 / sum alpha^2: the number of keys that share the row"),
        Quantity("heat_capacity", "nats^2", "Var_alpha(s) = -dS / d ln beta"),
    ),
    requires=frozenset({"attention"}),
    measure=attention_entropy,
    assumption="an attention row is a Boltzmann distribution over its keys",
    reading="Low entropy and few participating keys: the head selects. Heat capacity is large between the phases.",
    undefined="no row of the prompt sees at least 8 keys",
)
