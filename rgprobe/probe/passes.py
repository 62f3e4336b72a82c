"""What takes passes of its own: perturbed, projected or differentiated forward passes, made only when a diagnostic asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import xarray as xr
from jaxtyping import Int
from torch import Tensor

from rgprobe.probe.flips import flips, flips_cost
from rgprobe.probe.gains import gains, gains_cost
from rgprobe.probe.iterated_blocks import iterated_blocks, iteration_cost
from rgprobe.probe.jacobians import jacobian_cost, jacobians, stretching, stretching_cost
from rgprobe.probe.model import Probe
from rgprobe.probe.positions import positions, positions_cost
from rgprobe.probe.prompts import EncodedPrompt
from rgprobe.probe.truncation import truncation, truncation_cost
from rgprobe.probe.untransported import untransported, untransported_cost

__all__ = ["PASSES", "OwnPasses", "measured_by"]


@dataclass(frozen=True)
class OwnPasses:
    """A collection that runs the model again, besides the one pass that streams a prompt.

    Attributes:
        measure: called with (probe, prompt, recorded positions, sink policy); arrays of fixed size, whatever the length of
            the prompt, so that prompts can be stacked. Its random draws depend on the prompt alone, not on its company.
        forwards: what it costs for one prompt, in forward passes of that prompt.
    """

    measure: Callable[[Probe, EncodedPrompt, Int[Tensor, " positions"], str], xr.Dataset]
    forwards: Callable[[Probe], float]


PASSES: dict[str, OwnPasses] = {
    "flips": OwnPasses(flips, flips_cost),
    "iterations": OwnPasses(iterated_blocks, iteration_cost),
    "jacobians": OwnPasses(jacobians, jacobian_cost),
    "stretching": OwnPasses(stretching, stretching_cost),
    "gains": OwnPasses(gains, gains_cost),
    "positions": OwnPasses(positions, positions_cost),
    "truncation": OwnPasses(truncation, truncation_cost),
    "untransported": OwnPasses(untransported, untransported_cost),
}


def measured_by(
    probe: Probe, prompt: EncodedPrompt, recorded: Int[Tensor, " positions"], *, sink: str, collect: Sequence[str]
) -> dict[str, xr.Dataset]:
    """Those among `collect`."""
    return {name: own.measure(probe, prompt, recorded, sink) for name, own in PASSES.items() if name in collect}
