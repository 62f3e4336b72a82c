"""Results of many checkpoints as one tree of arrays."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from rgprobe.sweeping.ledger import Entry

__all__ = ["combine"]

INTERNAL = "item"


def combine(results: Sequence[tuple[Entry, Mapping[str, xr.Dataset]]]) -> xr.DataTree:
    """One tree: the nodes of all results, stacked along training steps, runs and prompt sets, or sources."""
    entries = [entry for entry, _ in results]
    held = dict.fromkeys(name for _, nodes in results for name in nodes)
    arranged = {
        name: _arranged(entries, [_numbered(nodes[name]) if name in nodes else None for _, nodes in results])
        for name in held
    }
    about = [{"label": e.label, "run": e.run, "step": e.step, "prompt_set": e.prompts, "identity": e.identity}
             for e in entries]  # fmt: skip
    attrs = {
        "format": "rgprobe sweep 1", "items": json.dumps(about), "settings": json.dumps(entries[0].settings, sort_keys=True),
    }  # fmt: skip
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=attrs), **arranged})


def _numbered(node: xr.Dataset) -> xr.Dataset:
    """Places along depth and heads get numbers, by which results are aligned."""
    return node.assign_coords({dim: np.arange(size) for dim, size in node.sizes.items() if dim not in node.coords})


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
