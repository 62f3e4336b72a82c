"""Results of many checkpoints as one tree of arrays."""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from rgprobe.sweeping.ledger import Entry

__all__ = ["combine"]

PER_PROMPT = ("prompt", "seed", "draw", "token", "position")  # what has such a dimension stays in the single files
INTERNAL = "item"


def combine(results: Sequence[tuple[Entry, xr.DataTree]]) -> xr.DataTree:
    """One tree: the nodes of all results, stacked along training steps, runs and prompt sets, or sources."""
    entries = [entry for entry, _ in results]
    held = dict.fromkeys(name for _, tree in results for name in tree.children if name != "prompts")
    nodes = {
        name: _arranged(
            entries, [_statistics(tree[name].to_dataset()) if name in tree.children else None for _, tree in results]
        )
        for name in held
    }
    about = [{"label": e.label, "run": e.run, "step": e.step, "prompt_set": e.prompts, "identity": e.identity}
             for e in entries]  # fmt: skip
    attrs = {
        "format": "rgprobe sweep 1", "items": json.dumps(about), "settings": json.dumps(entries[0].settings, sort_keys=True),
    }  # fmt: skip
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=attrs), **nodes})


def _statistics(node: xr.Dataset) -> xr.Dataset:
    """What speaks about all prompts together; places along depth and heads get numbers, by which results are aligned."""
    kept = [
        name
        for name, array in node.data_vars.items()
        if "quantity" in array.dims and not set(array.dims) & set(PER_PROMPT)
    ]
    data = node[kept]
    return data.assign_coords({dim: np.arange(size) for dim, size in data.sizes.items() if dim not in data.coords})


def _arranged(entries: Sequence[Entry], nodes: Sequence[xr.Dataset | None]) -> xr.Dataset:
    present = [(entry, node) for entry, node in zip(entries, nodes, strict=True) if node is not None]
    stacked = xr.concat(
        [node for _, node in present], INTERNAL, join="outer", data_vars="all", coords="minimal", compat="override",
        combine_attrs="override",
    )  # fmt: skip
    stacked = stacked.map(_words_without_holes, keep_attrs=True)
    kept = [entry for entry, _ in present]
    labels, dims = _axes(entries, kept)
    if not dims:
        return stacked.isel({INTERNAL: 0}, drop=True)
    places: dict[Hashable, Any] = {dim: (INTERNAL, values) for dim, values in labels.items()}
    stacked = stacked.assign_coords(places)
    if len(dims) == 1:
        (dim,) = dims
        stacked = stacked.swap_dims({INTERNAL: dim})
        return stacked.sortby(dim) if dim == "step" else stacked
    filled = stacked.set_index(item=list(dims)).unstack(INTERNAL).map(_words_without_holes, keep_attrs=True)
    return filled.transpose(*dims, ...)


def _axes(everything: Sequence[Entry], entries: Sequence[Entry]) -> tuple[dict[str, list[Any]], tuple[str, ...]]:
    """The leading dimensions, and where each result stands along them."""
    several_sets = len({entry.prompts for entry in everything}) > 1
    labels: dict[str, list[Any]] = {}
    if several_sets:
        labels["prompt_set"] = [entry.prompts for entry in entries]
    if all(entry.step is not None for entry in everything):
        if len({entry.run for entry in everything}) > 1:
            labels["run"] = [entry.run for entry in entries]
        labels["step"] = [entry.step for entry in entries]
    else:
        labels["source"] = [entry.label for entry in entries]
    return labels, tuple(labels)


def _words_without_holes(array: xr.DataArray) -> xr.DataArray:
    """A word that one result lacks is empty, as everywhere in results, not NaN."""
    return array.fillna("") if array.dtype.kind == "O" else array
