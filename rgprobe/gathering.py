"""What was collected of single prompts becomes the arrays of a `BeliefTrace`, prompt by prompt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from rgprobe.probe.couplings import COUPLINGS
from rgprobe.probe.lens import LENS_QUANTITIES
from rgprobe.probe.prompt_trace import PromptTrace
from rgprobe.probe.ragged import Stack
from rgprobe.probe.row_statistics import BY_TOKEN, MEANS
from rgprobe.probe.states import GEOMETRY
from rgprobe.probe.units import UNITS

__all__ = ["gathered"]

STACKED = ("attention", "keys", "rows", "graph", "geometry", "states", "lens", "couplings", "sketches", "units")
LISTED = ("log_probabilities", "classes", "gaussians")
SINKS = ("excluded", "included")


def gathered(parts: Iterable[PromptTrace], count: int, *, sink: str) -> tuple[dict[str, Any], list[str]]:
    """Fields of a `BeliefTrace`, and how attention was read of each prompt.

    Each part is put in place before the next is asked for: beside the arrays of all prompts there is one prompt's own.

    Args:
        parts: of the prompts, in order; something that makes them one at a time will do.
        count: of the prompts.
        sink: "exclude" or "include": which policy comes first along `sink`.
    """
    stacks = {name: Stack(count, np.nan) for name in STACKED}
    lists: dict[str, list[Any]] = {name: [] for name in LISTED}

    def place(part: PromptTrace) -> tuple[dict[str, xr.Dataset], str]:
        for name, stack in stacks.items():
            if (array := getattr(part, name)) is not None:
                stack.add(array)
        for name, held in lists.items():
            if (item := getattr(part, name)) is not None:
                held.append(item)
        return part.reductions, part.attention_from

    # not a loop over parts, whose variable would hold the last one while the next is made
    reductions, ways = zip(*map(place, parts), strict=True)
    arrays = {name: stack.array for name, stack in stacks.items() if stack.filled}
    fields: dict[str, Any] = {**_labelled(arrays, sink), **{name: tuple(held) for name, held in lists.items()}}
    fields["reductions"] = {name: xr.concat([each[name] for each in reductions], "prompt") for name in reductions[0]}
    return fields, list(ways)


def _labelled(arrays: dict[str, np.ndarray], sink: str) -> dict[str, xr.Dataset | xr.DataArray]:
    """By field of the trace; what was not collected is empty."""

    def dataset(name: str, quantities: Sequence[str], dims: Sequence[str], axis: int) -> xr.Dataset:
        if name not in arrays:
            return xr.Dataset()
        # views, since a copy would be as much again
        views = np.moveaxis(arrays[name], axis, 0)
        found = xr.Dataset({q: (("prompt", *dims), view) for q, view in zip(quantities, views, strict=True)})
        return _ordered(found, sink) if "sink" in dims else found

    def array(name: str, dims: Sequence[str]) -> xr.DataArray:
        return xr.DataArray(arrays[name], dims=("prompt", *dims)) if name in arrays else xr.DataArray(np.empty(0))

    attention = dataset("attention", MEANS, ("sink", "block", "head"), 2)
    if "keys" in arrays:
        keys = xr.Dataset({"keys": array("keys", ("sink", "block", "token"))})
        rows = dataset("rows", [f"{name}_by_token" for name in BY_TOKEN], ("block", "head", "token"), 1)
        attention = xr.merge([attention, _ordered(keys, sink), rows])
    return {
        "attention": attention,
        "graph": array("graph", ("block", "position", "source")),
        "geometry": dataset("geometry", GEOMETRY, ("sink", "state"), 2),
        "states": array("states", ("state", "position", "width")),
        "lens": dataset("lens", LENS_QUANTITIES, ("state", "position"), 1),
        "couplings": dataset("couplings", COUPLINGS, ("block", "head", "token"), 1),
        "sketches": array("sketches", ("state", "site", "coordinate")),
        "units": dataset("units", UNITS, ("sink", "block"), 2),
    }


def _ordered(found: xr.Dataset, sink: str) -> xr.Dataset:
    """Both policies along `sink`, the one that is read first in front."""
    order = slice(None) if sink == "exclude" else slice(None, None, -1)
    return found.assign_coords(sink=list(SINKS)).isel(sink=order).transpose("sink", ...)
