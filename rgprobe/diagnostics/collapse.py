"""D19: geometric collapse of the tokens of a prompt onto each other (rank collapse, over-smoothing)."""

from __future__ import annotations

from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity
from rgprobe.tracing import BeliefTrace

__all__ = ["DIAGNOSTIC", "collapse"]


def collapse(trace: BeliefTrace) -> Measurement:
    """Mean pairwise cosine, Dong residual and participation ratio over all tokens, with the sink and without.

    See `rgprobe.probe.states.state_geometry` for the formulas.
    """
    return Measurement(trace.geometry[["cosine", "dong_residual", "participation_ratio"]])


DIAGNOSTIC = Diagnostic(
    name="collapse",
    catalogue="D19",
    title="Geometric collapse of token states",
    depth="state",
    quantities=(
        Quantity("cosine", "1", "mean cosine between the states of two tokens"),
        Quantity("dong_residual", "1", "||X - 1 x^T|| / ||X||: what is left after taking out the mean token"),
        Quantity("participation_ratio", "1", "(tr C)^2 / tr C^2: effective number of directions that the tokens use"),
    ),
    requires=frozenset({"states"}),
    measure=collapse,
    assumption="states are read as they stand in the residual stream; n tokens in d dimensions cap the participation "
    "ratio at d / (1 + d / n) even for isotropic noise",
    reading="Rising cosine and falling rank are also what random networks do; the sink alone can make either.",
    undefined="fewer than three tokens",
)
