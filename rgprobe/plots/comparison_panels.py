"""A quantity of two runs on the same axes, with the difference between them below, and their difference beyond the nulls."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from rgprobe.checks import one_of
from rgprobe.comparison import FlowComparison
from rgprobe.comparison.contrasting import words_of
from rgprobe.plots.arrays import items, policy_sink, quantity_label, unit_label
from rgprobe.plots.depth import band, line
from rgprobe.plots.scales import fitted_axis
from rgprobe.plots.style import NULL_COLOURS, SOURCES, depth_axis, shade, template
from rgprobe.plots.tokens import figure_text

__all__ = ["DIFFERENCE", "compared_arrays", "side_by_side"]

DIFFERENCE = "#7467c4"  # neither run's colour
NULL = "random_init"
GAP = 0.05  # between rows, as a share of the height
ROW = 150  # pixels of a row of differences; the values get twice as much


def side_by_side(comparison: FlowComparison, diagnostic: str, quantity: str) -> go.Figure:
    """Draw both values with their 95% intervals and the bands of their random initialisations; below, second - first.

    The lowest row is the difference of the excesses, each value minus its own random initialisations, where both runs have
    some. Dots are filled where the verdict names one run. Heads enter as their mean; the run's sink policy is drawn.

    Raises:
        OptionError: the comparison holds no such diagnostic or quantity.
    """
    arrays = compared_arrays(comparison, diagnostic, quantity)
    depth = str(arrays.attrs["depth"])
    x = arrays[depth].values
    rows = [_values(arrays, x, comparison), _differences(arrays, x, comparison, "")]
    titles = [f"{quantity_label(quantity)}<br>({unit_label(arrays)})", "difference"]
    if NULL in arrays.get("null_model", ()) and np.isfinite(arrays["excess_difference"].sel(null_model=NULL)).any():
        rows.append(_differences(arrays.sel(null_model=NULL), x, comparison, "excess_"))
        titles.append("difference<br>beyond null")
    heights = np.array([2.0, *[1.0] * (len(rows) - 1)])
    data, layout = [], {"xaxis": {**_depth_axis(arrays, depth, x), "anchor": f"y{len(rows)}"}}
    for row, (traces, title, domain) in enumerate(zip(rows, titles, _domains(heights), strict=True), start=1):
        held = list(traces)
        # a difference has both signs, or a sign that matters: never a logarithmic axis
        axis = {**fitted_axis(held, title=title, logarithmic=row == 1), "domain": domain, "anchor": "x"}
        layout[f"yaxis{row}" if row > 1 else "yaxis"] = axis if row == 1 else _with_zero(axis)
        data += [trace.update(xaxis="x", yaxis=f"y{row}") for trace in held]
    return go.Figure(data, {**layout, "template": template(), "height": ROW * len(rows) + 200})


def _with_zero(axis: dict[str, object]) -> dict[str, object]:
    """Zero is what a difference is judged against: it is always in the frame, and drawn."""
    shown = {**axis, "zeroline": True, "zerolinecolor": NULL_COLOURS[0], "rangemode": "tozero"}
    if isinstance(limits := axis.get("range"), list):
        shown["range"] = [min(limits[0], 0.0), max(limits[1], 0.0)]
    return shown


def _domains(heights: np.ndarray) -> list[list[float]]:
    """From the top down, each row's share of the height."""
    shares = heights / heights.sum() * (1 - GAP * (len(heights) - 1))
    tops = 1 - np.concatenate([[0.0], np.cumsum(shares[:-1] + GAP)])
    return [[max(0.0, float(top - share)), float(top)] for top, share in zip(tops, shares, strict=True)]


def compared_arrays(comparison: FlowComparison, diagnostic: str, quantity: str) -> xr.Dataset:
    """Arrays of one quantity under the runs' sink policy.

    Raises:
        OptionError: the comparison holds no such diagnostic or quantity.
    """
    one_of("diagnostic", diagnostic, comparison.diagnostics, remedy="see comparison.not_compared")
    arrays = comparison.to_xarray()[diagnostic].to_dataset()
    one_of("quantity", quantity, items(arrays, "quantity"), remedy="see comparison.not_compared")
    sink = policy_sink(arrays)
    chosen = arrays.sel(quantity=quantity)
    return chosen if sink is None else chosen.sel(sink=sink)


def _depth_axis(arrays: xr.Dataset, depth: str, x: np.ndarray) -> dict[str, object]:
    if arrays.attrs["alignment"].startswith("relative"):
        ends = ["0<br>input end", "0.5", "1<br>output end"]
        return {"title": {"text": "relative depth"}, "tickvals": [0, 0.5, 1], "ticktext": ends}
    return depth_axis(depth, x)


def _values(arrays: xr.Dataset, x: np.ndarray, comparison: FlowComparison) -> Iterator[go.Scatter]:
    """Back to front: the bands of the nulls, the intervals, the lines."""
    units = unit_label(arrays)
    runs = [(figure_text(name), SOURCES[index], arrays.sel(run=name)) for index, name in enumerate(comparison.names)]
    for name, colour, here in runs:
        if NULL in arrays.get("null_model", ()):
            null = here.sel(null_model=NULL)
            label = f"{name}: {quantity_label(NULL)}"
            yield from band(x, null["null_low"].values, null["null_high"].values, shade(colour, 0.15), label)
            dashed = {"color": colour, "width": 1.5, "dash": "dash"}
            yield line(x, null["null"].values, label, dashed, f"{label}: %{{y:.4g}} {units}")
    for name, colour, here in runs:
        yield from band(x, here["value_low"].values, here["value_high"].values, shade(colour, 0.3), name)
        yield line(x, here["value"].values, name, {"color": colour, "width": 2.5}, f"{name}: %{{y:.4g}} {units}")


def _differences(arrays: xr.Dataset, x: np.ndarray, comparison: FlowComparison, kind: str) -> Iterator[go.Scatter]:
    first, second = (figure_text(name) for name in comparison.names)
    label = f"{second} − {first}" + (" beyond their nulls" if kind else "")
    low, high, difference = (arrays[f"{kind}{part}"].values for part in ("low", "high", "difference"))
    yield from band(x, low, high, shade(DIFFERENCE, 0.25), label)
    words = arrays[f"{kind}verdict"].values.astype(str)
    decided = np.isin(words, words_of(comparison.names))
    marker = {"size": 7, "symbol": np.where(decided, "circle", "circle-open").tolist()}
    trace = line(x, difference, label, {"color": DIFFERENCE, "width": 2}, "")
    hover = [
        f"{figure_text(word, longest=90)}<br>95% {a:.4g} to {b:.4g}"
        for word, a, b in zip(words, low, high, strict=True)
    ]
    trace.update(mode="lines+markers", marker=marker, customdata=hover, showlegend=False,
                 hovertemplate=f"{label}: %{{y:.4g}} {unit_label(arrays)}<br>%{{customdata}}<extra></extra>")  # fmt: skip
    yield trace
