"""D29: sparsity of feed-forward units: which degrees of freedom take part, and which are out of the game in a prompt."""

from __future__ import annotations

from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity
from rgprobe.tracing import BeliefTrace

__all__ = ["DIAGNOSTIC", "sparsity"]


def sparsity(trace: BeliefTrace) -> Measurement:
    """Participation of units and shares of silent and decimated ones; see `rgprobe.probe.units.unit_sparsity`."""
    return Measurement(trace.units)


DIAGNOSTIC = Diagnostic(
    name="sparsity",
    catalogue="D29",
    title="Sparsity of feed-forward units",
    depth="block",
    quantities=(
        Quantity("participation", "1", "(sum a^2)^2 / (n sum a^4): effective share of the units that carry a token"),
        Quantity("silent", "1", "share of units with less than 1% of the token's mean power"),
        Quantity("decimated", "1", "share of units with less than 1% of the mean power over the whole prompt"),
    ),
    requires=frozenset({"units"}),
    measure=sparsity,
    assumption="a unit is what enters the last linear map of the feed-forward part, gate included; all tokens are covered",
    reading="Gaussian units give a participation of 1/3; a rectifier, which halves the units, 1/6. Fewer is selection.",
    undefined="blocks without such units (mixtures of experts, free-energy descent); without the sink, a prompt of one token",
    default=False,
)
