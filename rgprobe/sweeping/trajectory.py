"""Quantities against training step, and which of them change abruptly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from rgprobe.diagnostics.changepoint import MINIMUM, find_changepoints
from rgprobe.errors import BadInput
from rgprobe.nulls import benjamini_hochberg
from rgprobe.sweeping.record import Sweep

__all__ = ["COLUMNS", "changes", "trajectories"]

DEPTHS = ("state", "block", "transition")
COLUMNS = (
    "diagnostic", "quantity", "units", "run", "first", "last", "checkpoints", "before", "after", "height", "phi",
    "p_value", "significant",
)  # fmt: skip


def trajectories(node: xr.Dataset, quantity: str) -> xr.Dataset:
    """One quantity against run and step: mean over depth and heads, under the sink policy of the run.

    Args:
        node: one diagnostic of `Sweep.to_xarray`, of one prompt set.
        quantity: its name.

    Returns:
        `value` with the bounds of its interval and, where there are nulls, `null` of random initialisation with its band;
        dimensions run and step, or source. Bounds are means of bounds: wider than those of the mean.
    """
    chosen = node.sel(quantity=quantity, drop=True)
    if "sink" in chosen.dims:
        chosen = chosen.isel(sink=0)
    found = {name: _mean(chosen[name]) for name in ("value", "value_low", "value_high")}
    if "null" in chosen and "random_init" in chosen["null_model"]:
        null = chosen.sel(null_model="random_init")
        found |= {name: _mean(null[name]) for name in ("null", "null_low", "null_high")}
    return xr.Dataset(found).reset_coords(drop=True)


def changes(sweep: Sweep, *, trend: str = "linear") -> pd.DataFrame:
    """The most likely abrupt change of every quantity along each training run, tested against AR(1) noise.

    Quantities are means over depth and heads. Significance is Benjamini-Hochberg at 5% over all quantities and runs of the
    table. Series of fewer than 8 checkpoints, or that are constant, are listed and not tested.

    Args:
        sweep: of checkpoints with steps, on one prompt set.
        trend: what a series does without a change, "linear" in the number of the checkpoint (in log step, if log-spaced),
            or "constant".

    Raises:
        BadInput: items without a step, or several prompt sets.
    """
    if any(entry.step is None for entry in sweep.results) or len({entry.prompts for entry in sweep.results}) > 1:
        raise BadInput(str(sweep.directory), expected="checkpoints with steps, on one prompt set",
                       received="others among them", remedy="select with only(prompts=..., run=...)")  # fmt: skip
    rows = list(_rows(sweep, trend))
    table = pd.DataFrame(rows, columns=[name for name in COLUMNS if name != "significant"])
    table["significant"] = benjamini_hochberg(table["p_value"].to_numpy(dtype=float))
    return table


def _rows(sweep: Sweep, trend: str) -> Iterator[dict[str, Any]]:
    data = sweep.to_xarray()
    runs = list(dict.fromkeys(entry.run for entry in sweep.results))
    for diagnostic in data.children:
        node = data[diagnostic].to_dataset()
        for quantity in (str(name) for name in node["quantity"].values):
            units = str(node["units"].sel(quantity=quantity).values)
            values = trajectories(node, quantity)["value"]
            for run in runs:
                along = values.sel(run=run) if "run" in values.dims else values
                about = {"diagnostic": diagnostic, "quantity": quantity, "units": units, "run": run}
                yield about | _tested(along.dropna("step"), trend)


def _tested(along: xr.DataArray, trend: str) -> dict[str, Any]:
    steps, values = along["step"].values, along.values.astype(float)
    row: dict[str, Any] = {"checkpoints": len(values), "p_value": np.nan}
    if len(values):
        row |= {"first": values[0], "last": values[-1]}
    if len(values) < MINIMUM or np.ptp(values) == 0:
        return row
    found = find_changepoints(values[None], trend=trend)
    at = int(found.index[0])
    return row | {
        "before": int(steps[at - 1]), "after": int(steps[at]), "height": found.height[0], "phi": found.phi[0],
        "p_value": found.p_value[0],
    }  # fmt: skip


def _mean(array: xr.DataArray) -> xr.DataArray:
    return array.mean([dim for dim in (*DEPTHS, "head") if dim in array.dims])
