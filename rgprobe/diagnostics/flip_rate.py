"""D14: how deep is the basin that a prompt's prediction lies in? Share of noisy passes that change the most probable token.

Where a flow runs into few fixed points, states of one basin end in one prediction, and noise below the basin's size changes
nothing. Noise is put in at one depth and the pass goes on: in the states of all tokens, in units of the spread of states
there (so that equal radii are equally far on the way to another text), or in the scores of one block's attention, in nats.
"""

from __future__ import annotations

import xarray as xr

from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity, reduction
from rgprobe.probe.flips import ATTENTION_RADII, DRAWS, STATE_RADII
from rgprobe.tracing import BeliefTrace

__all__ = ["DIAGNOSTIC", "flip_rate"]


def flip_rate(trace: BeliefTrace) -> Measurement:
    """Flip rates by kind of noise, radius and state."""
    collected = reduction(trace, "flips")
    values = {
        f"{kind}_{radius:g}": collected[kind].isel(radius=index).transpose("prompt", "state")
        for kind, radii in (("residual", STATE_RADII), ("attention", ATTENTION_RADII))
        for index, radius in enumerate(radii)
    }
    return Measurement(xr.Dataset(values))


DIAGNOSTIC = Diagnostic(
    name="flip_rate",
    catalogue="D14",
    title="Basins: noise that changes the prediction",
    depth="state",
    quantities=(
        *(
            Quantity(f"residual_{r:g}", "1", f"flips when states are moved by {r:g} of the distance between texts")
            for r in STATE_RADII
        ),
        *(
            Quantity(f"attention_{r:g}", "1", f"flips under noise of {r:g} nats in the scores of the block before")
            for r in ATTENTION_RADII
        ),
    ),
    requires=frozenset({"flips"}),
    measure=flip_rate,
    assumption=f"{DRAWS} noise draws per prompt and radius, in all directions alike; only the last token's most probable "
    "next token is watched; the spread of states is that of a fixed set of prose",
    reading="Basins that deepen show as a rate that falls with depth at equal radius, faster than in random initialisations; "
    "at the output end nothing follows but the readout.",
    undefined="states that are not among 5 evenly spaced ones; bidirectional models; prompts of one token",
    default=False,
)
