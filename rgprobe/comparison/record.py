"""The result of a comparison: what `rgprobe.compare` gives, saves and opens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from rgprobe.comparison.contrasting import EQUAL, NO_DIFFERENCE, words_of
from rgprobe.comparison.matching import NotCompared
from rgprobe.errors import BadInput
from rgprobe.storage import StoredTree, read_tree

__all__ = ["FlowComparison", "open_comparison"]

FORMAT = "rgprobe comparison 1"
COLUMNS = ("verdict", "excess_verdict", "difference", "low", "high", "p_value", "significant", "excess_difference",
           "excess_low", "excess_high", "excess_p_value", "excess_significant", "prompts")  # fmt: skip


@dataclass(frozen=True)
class FlowComparison(StoredTree):
    """Where two runs on the same prompts differ, by how much, and by how much beyond each one's own null.

    Differences are second - first. With one run on each side they are paired over prompts and speak about these two
    checkpoints; with several training seeds on each side they are Welch's t over checkpoints and speak about the families.
    `statement` says which, in words.

    Attributes:
        data: one node per diagnostic; see `rgprobe.comparison.contrasting.contrasted` for the variables. Names without a
            prefix are by depth, with `level_` means over depth, with `trend_` slopes against relative depth.

    Example:
        >>> import rgprobe as rg
        >>> flow = rg.run("standard-small", ["Now is the winter of our discontent"], nulls=0, diagnostics="plateau")
        >>> comparison = rg.compare({"one": flow, "same": flow})
        >>> set(comparison.to_dataframe("plateau")["verdict"])
        {'equal'}
    """

    def __repr__(self) -> str:
        first, second = self.names
        return f"FlowComparison({second!r} - {first!r}, diagnostics={', '.join(self.diagnostics)})"

    @cached_property
    def _record(self) -> dict[str, Any]:
        return json.loads(self.data.attrs["comparison"])

    @property
    def names(self) -> tuple[str, str]:
        """What the two sides are called; differences are second - first."""
        first, second = self._record["names"]
        return first, second

    @property
    def statement(self) -> str:
        """What a difference in this comparison is a difference between, and what it is not."""
        return self._record["statement"]

    @cached_property
    def provenance(self) -> dict[str, list[dict[str, Any]]]:
        """Provenance of every run, by side."""
        return json.loads(self.data.attrs["provenance"])

    @property
    def not_compared(self) -> tuple[NotCompared, ...]:
        """What was left out, and why."""
        return tuple(NotCompared(**entry) for entry in self._record["not_compared"])

    @property
    def checkpoints(self) -> tuple[int, int]:
        """Number of runs on each side."""
        first, second = (len(self.provenance[name]) for name in self.names)
        return first, second

    @property
    def prompts(self) -> int:
        """Number of prompts, all of them common to all runs."""
        return self._record["prompts"]

    def to_dataframe(self, name: str) -> pd.DataFrame:
        """One diagnostic as a tidy table: a row per quantity, null model, sink policy and depth, values side by side."""
        node = self._node(name)
        values = {f"value of {run}": node["value"].sel(run=run, drop=True) for run in self.names}
        table = xr.Dataset({**values, **{column: node[column] for column in COLUMNS if column in node}})
        return table.to_dataframe().reset_index()

    def summary(self) -> pd.DataFrame:
        """A row per quantity and sink policy: its level and trend on both sides, their difference, and verdicts.

        Columns that start with `excess_` are against the random initialisations, where both runs have some.
        """
        return pd.DataFrame([row for name in self.diagnostics for row in self._rows(name)])

    def _rows(self, name: str) -> Iterator[dict[str, Any]]:
        node = self._node(name)
        sinks = [str(sink) for sink in node["sink"].values] if "sink" in node.dims else [""]
        for quantity in node["quantity"].values:
            for sink in sinks:
                entry = node.sel({"quantity": quantity, **({"sink": sink} if sink else {})})
                row: dict[str, Any] = {"diagnostic": name, "quantity": str(quantity), "sink": sink}
                row["units"] = str(entry["units"].item())
                row |= _counts(entry, self.names, "")
                for prefix in ("level_", "trend_"):
                    row |= _at(entry, self.names, prefix)
                if "random_init" in entry.get("null_model", ()):
                    row |= _counts(entry.sel(null_model="random_init"), self.names, "excess_")
                yield row


def _counts(entry: xr.Dataset, names: tuple[str, str], kind: str) -> dict[str, int]:
    """How many depths got each verdict."""
    words = entry[f"{kind}verdict"].values.ravel().tolist()
    first_above, second_above = words_of(names)
    counted = {
        "n_depths": sum(word not in ("", EQUAL) for word in words),
        "n_first_above": words.count(first_above),
        "n_second_above": words.count(second_above),
        "n_no_difference": words.count(NO_DIFFERENCE),
    }
    return {f"{kind}{key}": count for key, count in counted.items()}


def _at(entry: xr.Dataset, names: tuple[str, str], prefix: str) -> dict[str, Any]:
    row: dict[str, Any] = {
        f"{prefix}{which}": float(entry[f"{prefix}value"].sel(run=run))
        for which, run in zip(("first", "second"), names, strict=True)
    }
    row |= {f"{prefix}{key}": entry[f"{prefix}{key}"].item() for key in ("difference", "low", "high", "verdict")}
    if "random_init" in entry.get("null_model", ()):
        against = entry.sel(null_model="random_init")
        for key in ("difference", "low", "high", "verdict"):
            row[f"{prefix}excess_{key}"] = against[f"{prefix}excess_{key}"].item()
    return row


def open_comparison(path: str | Path) -> FlowComparison:
    """Read what `FlowComparison.save` wrote.

    Raises:
        BadInput: no such file, or not a comparison of rgprobe.
    """
    data = read_tree(Path(path))
    if data.attrs.get("format") != FORMAT:
        raise BadInput(str(path), expected="a comparison that rgprobe saved", received="another NetCDF file",
                       remedy="pass the comparison.nc of rgprobe compare")  # fmt: skip
    return FlowComparison(data)
