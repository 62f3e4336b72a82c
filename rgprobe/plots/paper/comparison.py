"""Two runs compared on paper: each quantity of both with their nulls, and below it their difference beyond the nulls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from rgprobe.comparison import FlowComparison
from rgprobe.comparison.contrasting import words_of
from rgprobe.errors import OptionError
from rgprobe.plots.arrays import unit_label
from rgprobe.plots.comparison_panels import DIFFERENCE, compared_arrays
from rgprobe.plots.paper.over_depth import KL_TO_OUTPUT, ROUNDING, SUMMARY
from rgprobe.plots.paper.series import depth_axis, log_axis
from rgprobe.plots.paper.style import DOUBLE, FINE, GUIDE, finished, panel_letters, paper_figure, paper_style
from rgprobe.plots.paper.tokens import paper_text
from rgprobe.plots.scales import value_limits
from rgprobe.plots.style import SOURCES

__all__ = ["families_compared"]

NULL = "random_init"
COLUMNS = 4


def families_compared(comparison: FlowComparison) -> Figure:
    """Up to four quantities of two runs over depth, with their difference, second - first, below each (two columns wide).

    Above: values with 95% intervals, and the bands of each run's random initialisations. Below: the difference of the
    excesses over those, where both runs have some, else of the values; dots are filled where the verdict names one run.

    Raises:
        OptionError: the comparison holds none of the quantities.
    """
    chosen = _held(comparison)[:COLUMNS]
    if not chosen:
        raise OptionError("comparison", expected=" or ".join(name for name, *_ in SUMMARY), received="none of them",
                          remedy="run both with the default diagnostics")  # fmt: skip
    with paper_style():
        figure = paper_figure(DOUBLE * max(len(chosen), 2) / COLUMNS, 3.3)
        panels = figure.subplots(2, len(chosen), sharex="col", squeeze=False, height_ratios=(1.25, 1.0))
        for column, (diagnostic, quantity, label) in enumerate(chosen):
            arrays = compared_arrays(comparison, diagnostic, quantity)
            _values(panels[0, column], arrays, comparison.names, label)
            _difference(panels[1, column], arrays, comparison.names, first=column == 0)
            _depth(panels[1, column], arrays)
        panel_letters([*panels[0], *panels[1]])
        _key(figure, comparison.names)
        return finished(figure)


def _held(comparison: FlowComparison) -> list[tuple[str, str, str]]:
    """Quantities that both runs hold and that are defined somewhere, in the order of the summary."""
    tree = comparison.to_xarray()
    return [
        (diagnostic, quantity, label) for diagnostic, quantity, label in SUMMARY
        if diagnostic in comparison.diagnostics and quantity in tree[diagnostic].to_dataset()["quantity"].values
        and np.isfinite(compared_arrays(comparison, diagnostic, quantity)["difference"].values).any()
    ]  # fmt: skip


def _values(axes: Axes, arrays: xr.Dataset, names: Sequence[str], label: str) -> None:
    x = _places(arrays)
    lines, bounds = [], []
    for name, colour in zip(names, SOURCES, strict=False):
        here = arrays.sel(run=name)
        if NULL in arrays.get("null_model", ()):
            null = here.sel(null_model=NULL)
            axes.fill_between(x, null["null_low"].values, null["null_high"].values, color=colour, alpha=0.12, lw=0)
            mean = _positive(null["null"].values, label)
            axes.plot(x, mean, color=colour, ls=(0, (4, 2)), lw=0.8)
            lines.append(mean)
            bounds += [null["null_low"].values, null["null_high"].values]
        low, high, value = (here[part].values.astype(float) for part in ("value_low", "value_high", "value"))
        zero = ~np.isfinite(_positive(value, label))
        low, high, value = (np.where(zero, np.nan, y) for y in (low, high, value))
        axes.fill_between(x, low, high, color=colour, alpha=0.28, lw=0)
        axes.plot(x, value, color=colour, marker="o", ms=2.4 if len(x) < 20 else 0)
        lines.append(value)
        bounds += [low, high]
    shown = np.concatenate(lines)
    limits = value_limits(shown, np.concatenate(bounds))
    if limits is not None and limits[0]:
        log_axis(axes, limits[1], limits[2])
    elif limits is not None:
        axes.set_ylim(limits[1], limits[2])
    axes.set_ylabel(f"{label}\n({unit_label(arrays)})")


def _positive(values: np.ndarray, label: str) -> np.ndarray:
    """What is 0 by construction left out of a divergence, whose axis is logarithmic."""
    return np.where(np.abs(values) > ROUNDING, values, np.nan) if label == KL_TO_OUTPUT else values


def _difference(axes: Axes, arrays: xr.Dataset, names: Sequence[str], *, first: bool) -> None:
    x, kind = _places(arrays), ""
    if NULL in arrays.get("null_model", ()):
        against = arrays.sel(null_model=NULL)
        if np.isfinite(against["excess_difference"].values).any():
            arrays, kind = against, "excess_"
    low, high, difference = (arrays[f"{kind}{part}"].values.astype(float) for part in ("low", "high", "difference"))
    axes.axhline(0, color=GUIDE, lw=0.6, zorder=0)
    axes.fill_between(x, low, high, color=DIFFERENCE, alpha=0.25, lw=0)
    axes.plot(x, difference, color=DIFFERENCE)
    decided = np.isin(arrays[f"{kind}verdict"].values.astype(str), words_of(names))
    for chosen, fill in ((decided, DIFFERENCE), (~decided, "white")):
        axes.plot(x[chosen], difference[chosen], "o", ms=2.6, mfc=fill, mec=DIFFERENCE, mew=0.7)
    limits = value_limits(difference, np.concatenate([low, high]), logarithmic=False)
    if limits is not None:
        axes.set_ylim(min(limits[1], 0.0), max(limits[2], 0.0))
    beyond = "difference beyond null" if kind else "difference"
    axes.set_ylabel(f"{beyond if first else beyond.removeprefix('difference ')}\n({unit_label(arrays)})")


def _places(arrays: xr.Dataset) -> np.ndarray:
    return arrays[str(arrays.attrs["depth"])].values.astype(float)


def _depth(axes: Axes, arrays: xr.Dataset) -> None:
    depth = str(arrays.attrs["depth"])
    if arrays.attrs["alignment"].startswith("relative"):
        axes.set_xticks([0, 0.5, 1], labels=["0", "0.5", "1"])
        axes.set_xlabel("relative depth")
    else:
        depth_axis(axes, depth, arrays[depth].values, ticks=5)
        axes.set_xlabel(depth)


def _key(figure: Figure, names: Sequence[str]) -> None:
    handles: list[Any] = []  # matplotlib draws the members of a tuple over one another; its types know single artists
    words = []
    for name, colour in zip(names, SOURCES, strict=False):
        shown = paper_text(name, longest=28)
        handles.append((Patch(fc=colour, alpha=0.28, lw=0), Line2D([], [], color=colour, marker="o", ms=2.4)))
        handles.append((Patch(fc=colour, alpha=0.14, lw=0), Line2D([], [], color=colour, ls=(0, (4, 2)), lw=0.8)))
        words += [shown, f"{shown}, random init"]
    handles.append((Patch(fc=DIFFERENCE, alpha=0.25, lw=0), Line2D([], [], color=DIFFERENCE, marker="o", ms=2.6)))
    first, second = (paper_text(name, longest=28) for name in names)
    words.append(f"{second} − {first}")
    figure.legend(handles, words, loc="outside lower center", ncols=5 if len("".join(words)) < 110 else 3, frameon=False,
                  fontsize=FINE, handlelength=2.2, columnspacing=1.4, borderaxespad=0.1)  # fmt: skip
