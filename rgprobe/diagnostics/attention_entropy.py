"""D2: entropy, participation and heat capacity of attention rows."""

from __future__ import annotations

from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity, of_every_token
from rgprobe.tracing import BeliefTrace

__all__ = ["DIAGNOSTIC", "attention_entropy"]


def attention_entropy(trace: BeliefTrace) -> Measurement:
    """S / ln n, 1 / sum alpha^2 and Var_alpha(s) per head, averaged over rows; per token in the details.

    The heat capacity obeys C = Var_alpha(s) = s^T F s = -dS / d ln beta with F = diag(alpha) - alpha alpha^T, the Fisher
    information of the row in its scores: it is how much the row would sharpen if its temperature fell. Rows are reduced while
    the model runs, see `rgprobe.probe.row_statistics`.
    """
    names = ["normalised_entropy", "participation", "heat_capacity"]
    return Measurement(trace.attention[names], of_every_token(trace.attention, names))


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
