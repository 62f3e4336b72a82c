"""D1: free energy of attention, in forms that a key bias cannot move.

ln Z itself is not observable: adding a constant to every score of a row moves it and leaves the weights as they are. Its
invariant content is two divergences from the uniform distribution u on the same n keys:

    free energy      ln Z - mean(s) - ln n = KL(u || alpha),
    entropy deficit  ln n - S(alpha)       = KL(alpha || u).
"""

from __future__ import annotations

from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity, of_every_token
from rgprobe.tracing import BeliefTrace

__all__ = ["DIAGNOSTIC", "free_energy"]


def free_energy(trace: BeliefTrace) -> Measurement:
    """KL(u || alpha) and KL(alpha || u) per head, averaged over rows, nats; per token in the details.

    Rows are reduced while the model runs, see `rgprobe.probe.row_statistics`.

    Source: Gibbs-Bogoliubov; see any text on the variational free energy.
    """
    names = ["free_energy", "entropy_deficit"]
    return Measurement(trace.attention[names], of_every_token(trace.attention, names))


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
