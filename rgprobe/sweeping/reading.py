"""What a sweep combines of a result file, read directly: opening the whole tree costs fifteen times as much."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from rgprobe.errors import BadInput

__all__ = ["read_statistics"]

PER_PROMPT = {"prompt", "seed", "draw", "token", "position"}  # what has such a dimension stays in the single files


def read_statistics(path: Path) -> dict[str, xr.Dataset]:
    """By diagnostic, the arrays that speak about all prompts together; equal to those of `open_flow`.

    Raises:
        BadInput: no such file, or not a result.
    """
    try:
        with h5py.File(path, "r") as file:
            return {name: _node(file[name]) for name in file if name != "prompts" and "quantity" in file[name]}
    except (OSError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(str(path), expected="a result file", received=str(error).splitlines()[0],
                       remedy="sweep again: a damaged result is made anew")  from error  # fmt: skip


def _node(group: Any) -> xr.Dataset:
    dims = {name: _dims(array) for name, array in group.items() if not _is_scale(array)}
    kept = [name for name, names in dims.items() if "quantity" in names and not PER_PROMPT & set(names)]
    coords = set(_text(group["value"].attrs.get("coordinates", "")).split())
    used = {name for variable in kept for name in dims[variable]}
    labels = {name: (name, _values(group[name])) for name in used if _is_label(group[name])}
    named = {name: (dims[name], _values(group[name])) for name in kept if name in coords}
    data = {name: (dims[name], _values(group[name])) for name in kept if name not in coords}
    return xr.Dataset(data, {**labels, **named}, {name: _text(value) for name, value in group.attrs.items()})


def _dims(array: Any) -> tuple[str, ...]:
    return tuple(scale[0].name.rsplit("/", 1)[-1] for scale in array.dims)


def _is_scale(array: Any) -> bool:
    return array.attrs.get("CLASS") == b"DIMENSION_SCALE"


def _is_label(scale: Any) -> bool:
    """Whether a dimension has values, rather than a size alone."""
    return not _text(scale.attrs["NAME"]).startswith("This is a netCDF dimension but not")


def _values(array: Any) -> np.ndarray:
    return array.asstr()[()].astype(str) if array.dtype.kind == "O" else array[()]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
