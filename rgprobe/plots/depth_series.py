"""What a drawing of a quantity over depth shows, as plain arrays: interactive figures and those for papers share it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from rgprobe.plots.arrays import depth_dim, items, policy_sink, unit_label

__all__ = ["Band", "DepthSeries", "depth_series"]


@dataclass(frozen=True, eq=False)
class Band:
    """A null model over depth: its mean, and its band, 95% (`rgprobe.nulls.Comparison.null_low`).

    Attributes:
        mean, low, high: (depth,), in the units of the quantity; NaN where undefined.
    """

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True, eq=False)
class DepthSeries:
    """One quantity of one flow over depth, under the run's sink policy; heads enter as their mean.

    Attributes:
        dim: "state", "block" or "transition".
        depths: (depth,) labels along it.
        units: such as "nats"; "dimensionless" for a pure number.
        sink: the sink policy, None where the sink makes no difference.
        value, low, high: (depth,) mean over prompts, and its 95% interval.
        verdict: (depth,) words against random initialisation; None where there are heads.
        heads: (depth, head) value of each head; None where there are none.
        nulls: by name.
        other_sinks: (depth,) value under each policy that is not the run's and makes a difference.
    """

    dim: str
    depths: np.ndarray
    units: str
    sink: str | None
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    verdict: np.ndarray | None
    heads: np.ndarray | None
    nulls: Mapping[str, Band]
    other_sinks: Mapping[str, np.ndarray]


def depth_series(arrays: xr.Dataset) -> DepthSeries:
    """Read a quantity that `rgprobe.plots.arrays.select` chose.

    Example:
        >>> over = ("block",)
        >>> arrays = xr.Dataset({name: (over, [1.0, 2.0]) for name in ("value", "value_low", "value_high")})
        >>> depth_series(arrays.assign(verdict=(over, ["", "beats null"]))).verdict.tolist()
        ['', 'beats null']
    """
    sink, dim = policy_sink(arrays), depth_dim(arrays)
    chosen = arrays if sink is None else arrays.sel(sink=sink)
    headed = "head" in chosen["value"].dims
    value = _over_heads(chosen["value"])
    nulls = items(arrays, "null_model") if "null" in arrays else []
    others = {name: _over_heads(arrays["value"].sel(sink=name)) for name in items(arrays, "sink") if name != sink}
    return DepthSeries(
        dim=dim,
        depths=arrays[dim].values if dim in arrays.coords else np.arange(arrays.sizes[dim]),
        units=unit_label(arrays),
        sink=sink,
        value=value,
        low=_over_heads(chosen["value_low"]),
        high=_over_heads(chosen["value_high"]),
        verdict=None if headed else chosen["verdict"].values.astype(str),
        heads=chosen["value"].transpose(dim, "head").values.astype(float) if headed else None,
        nulls={name: _band(chosen.sel(null_model=name)) for name in nulls},
        other_sinks={name: y for name, y in others.items() if not np.array_equal(y, value, equal_nan=True)},
    )


def _over_heads(values: xr.DataArray) -> np.ndarray:
    """Mean over heads, where there are any."""
    return (values.mean("head") if "head" in values.dims else values).values.astype(float)


def _band(arrays: xr.Dataset) -> Band:
    return Band(_over_heads(arrays["null"]), _over_heads(arrays["null_low"]), _over_heads(arrays["null_high"]))
