"""`Sweep`: the results of many checkpoints, one by one or as arrays over training steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from rgprobe.errors import BadInput, OptionError
from rgprobe.rg_flow import RGFlow, open_flow
from rgprobe.sweeping.combining import combine
from rgprobe.sweeping.ledger import Entry, read_entries
from rgprobe.sweeping.reading import read_statistics

__all__ = ["Sweep", "open_entries", "open_sweep"]


@dataclass(frozen=True)
class Sweep:
    """What a sweep left in its folder.

    Attributes:
        directory: the folder.
        entries: what became of each item, by prompt set, run and step.

    Example:
        >>> import tempfile
        >>> import rgprobe as rg
        >>> found = rg.sweep(["standard-small", "gauge-small"], ["Now is the winter"], out=tempfile.mkdtemp(), nulls=0,
        ...                  diagnostics="plateau")
        >>> found.to_xarray()["plateau"]["value"].dims
        ('source', 'quantity', 'transition')
        >>> found.failures
        ()
    """

    directory: Path
    entries: tuple[Entry, ...]

    def __repr__(self) -> str:
        return f"Sweep({str(self.directory)!r}, results={len(self.results)}, failures={len(self.failures)})"

    @property
    def results(self) -> tuple[Entry, ...]:
        """Items that have a result."""
        return tuple(entry for entry in self.entries if entry.failure is None)

    @property
    def failures(self) -> tuple[Entry, ...]:
        """Items that have none, each with the reason."""
        return tuple(entry for entry in self.entries if entry.failure is not None)

    def only(self, *, prompts: str | None = None, run: str | None = None) -> Sweep:
        """The part of one prompt set, or of one training run."""
        kept = (each for each in self.entries if prompts in (None, each.prompts) and run in (None, each.run))
        return Sweep(self.directory, tuple(kept))

    def path(self, entry: Entry) -> Path:
        """The result file of an item."""
        return self.directory / entry.result

    def flow(self, label: str, *, prompts: str | None = None) -> RGFlow:
        """The result of one checkpoint.

        Raises:
            OptionError: there is none of that label, or there are several prompt sets and none is named.
        """
        found = [each for each in self.results if each.label == label and prompts in (None, each.prompts)]
        if len(found) != 1:
            held = sorted({each.label if not found else each.prompts for each in found or self.results})
            raise OptionError("prompts" if found else "label", expected=f"one of {', '.join(held)}",
                              received=repr(prompts if found else label), remedy="correct the name")  # fmt: skip
        return open_flow(self.path(found[0]))

    def flows(self) -> Iterator[tuple[Entry, RGFlow]]:
        """Every result, opened one at a time."""
        for entry in self.results:
            yield entry, open_flow(self.path(entry))

    def to_xarray(self) -> xr.DataTree:
        """Labelled arrays of all results, one node per diagnostic, as in `RGFlow.to_xarray` but for numbers of single prompts.

        The leading dimension is `step` where all are checkpoints of one training run, `run` and `step` where of several, and
        otherwise `source`; before it stands `prompt_set` where there are several. What one result lacks is NaN.

        Raises:
            BadInput: no result, or results of different options, which cannot stand in one array.
        """
        return self._combined

    @cached_property
    def _combined(self) -> xr.DataTree:
        if not self.results:
            raise BadInput(str(self.directory), expected="results of a sweep", received="none",
                           remedy="run rgprobe sweep with this --out first")  # fmt: skip
        _require_equal_settings(self.directory, self.results)
        return combine([(entry, read_statistics(self.path(entry))) for entry in self.results])

    def to_dataframe(self, name: str) -> pd.DataFrame:
        """One diagnostic as a tidy table: a row per checkpoint, quantity, null model, sink policy, depth and head."""
        tables = []
        for entry, flow in self.flows():
            if name in flow.diagnostics:
                columns = {"run": entry.run, "step": entry.step, "label": entry.label, "prompt_set": entry.prompts}
                table = flow.to_dataframe(name)
                for place, (column, value) in enumerate(columns.items()):
                    table.insert(place, column, value)
                tables.append(table)
        if not tables:
            raise OptionError("diagnostic", expected="one that the sweep measured", received=repr(name),
                              remedy="run it, or correct the name")  # fmt: skip
        return pd.concat(tables, ignore_index=True)


def open_sweep(directory: str | Path) -> Sweep:
    """Read what `rgprobe.sweep`, or several shards of one, left in a folder.

    Raises:
        BadInput: no such folder, or nothing of a sweep in it.

    Example:
        >>> open_sweep("no/such/folder")
        Traceback (most recent call last):
            ...
        rgprobe.errors.BadInput: no/such/folder: expected the folder of a sweep, received nothing of one; ...
    """
    path = Path(directory)
    entries = read_entries(path) if path.is_dir() else []
    if not entries:
        raise BadInput(str(directory), expected="the folder of a sweep", received="nothing of one",
                       remedy="run rgprobe sweep with this --out first")  # fmt: skip
    return Sweep(path, tuple(entries))


def open_entries(directory: Path, stems: Sequence[str]) -> Sweep:
    """Those items of a folder whose files start with these names."""
    return Sweep(directory, tuple(read_entries(directory, stems)))


def _require_equal_settings(directory: Path, entries: Sequence[Entry]) -> None:
    first: Mapping[str, Any] = entries[0].settings
    for entry in entries:
        different = sorted(name for name in {*first, *entry.settings} if first.get(name) != entry.settings.get(name))
        if different:
            raise BadInput(
                str(directory), expected="results of one set of options",
                received=f"{entry.label} with another {', '.join(different)} than {entries[0].label}",
                remedy="finish the sweep, or keep sweeps of different options in different folders",
            )  # fmt: skip
