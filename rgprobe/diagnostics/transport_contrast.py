r"""D19: consensus of gauge beliefs with and without transport: what is lost if frames are ignored.

Tokens of a gauge model believe in frames of their own: q_i = N(mu_i, Sigma_i) in the frame U_i. To be compared, q_j is carried
to i by Omega_ij = U_i U_j^-1, and KL(q_i || Omega_ij q_j) = KL(U_i^-1 q_i || U_j^-1 q_j): in the common frame, where native
beliefs are kept, the plain divergence *is* the transported one. Here the divergence of the local beliefs as they stand is set
against it. Its own value means nothing (another choice of frames, which changes no prediction, changes it); the contrast says
how wrong a consensus without transport would be.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity, reduction
from rgprobe.probe.untransported import TOKENS
from rgprobe.tracing import BeliefTrace

__all__ = ["DIAGNOSTIC", "transport_contrast"]


def transport_contrast(trace: BeliefTrace) -> Measurement:
    """Mean Jeffreys divergence between recorded tokens, transported and not, nats, and the logarithm of their ratio."""
    found = reduction(trace, "untransported").transpose("prompt", "block")
    transported, plain = found["transported"].values, found["untransported"].values
    both = (transported > 0) & (plain > 0)
    ratio = np.where(both, np.log(np.where(both, plain, 1.0)) - np.log(np.where(both, transported, 1.0)), np.nan)
    arrays = {"transported": transported, "untransported": plain, "log_ratio": ratio}
    return Measurement(xr.Dataset({name: (("prompt", "block"), array) for name, array in arrays.items()}))


DIAGNOSTIC = Diagnostic(
    name="transport_contrast",
    catalogue="D19",
    title="Consensus with and without transport",
    depth="block",
    quantities=(
        Quantity(
            "transported", "nats", "mean KL(q_i || Omega_ij q_j) + KL(q_j || Omega_ji q_i) between two recorded tokens"
        ),
        Quantity("untransported", "nats", "the same with Omega left out: local beliefs as they stand"),
        Quantity("log_ratio", "nats", "ln of untransported over transported"),
    ),
    requires=frozenset({"beliefs", "untransported"}),
    measure=transport_contrast,
    assumption=f"frames are those that attention transports with, of token and position; {TOKENS} of the recorded tokens",
    reading="Above 0: frames bring beliefs together, and consensus without transport would miss it. Below 0: they set apart "
    "what looks alike in frames of its own. 0: frames that are all equal.",
    undefined="fewer than two recorded tokens",
    beliefs=("native",),
    families=("gauge",),
    default=False,
)
