"""A quantity of every head, as a map of head against block."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots

from rgprobe.checks import one_of
from rgprobe.errors import OptionError
from rgprobe.plots.arrays import Flows, items, named_flows, policy_sink, quantity_label, select, unit_label
from rgprobe.plots.scales import is_wide, log_ticks
from rgprobe.plots.style import DIVERGING, SEQUENTIAL, depth_axis, template
from rgprobe.plots.tokens import figure_text

__all__ = ["head_map"]

LEGIBLE_COLUMNS = 14  # numbers are printed in the cells of a single map of up to this many blocks


def head_map(
    flows: Flows, diagnostic: str, quantity: str, *, sink: str | None = None, midpoint: float | None = None
) -> go.Figure:
    """Draw the mean over prompts of one quantity, head against block; a dot marks those that beat random initialisation.

    Args:
        flows: an `RGFlow`, a list of them, or a dict by name; several stand side by side on one colour scale.
        diagnostic: such as ``"temperature"``.
        quantity: such as ``"theta"``.
        sink: ``"excluded"`` or ``"included"``; the run's policy by default.
        midpoint: value that gets the neutral colour of a diverging scale, 1 for a reduced temperature.

    Raises:
        OptionError: no such diagnostic or quantity, or one without heads.
    """
    arrays = {name: _chosen(select(flow, diagnostic, quantity), sink) for name, flow in named_flows(flows).items()}
    first = next(iter(arrays.values()))
    if "head" not in first["value"].dims:
        raise OptionError("quantity", expected="a quantity of heads", received=f"{diagnostic}/{quantity}",
                          remedy="draw it with flow_over_depth")  # fmt: skip
    titles = [figure_text(name) for name in arrays] if len(arrays) > 1 else None
    figure = make_subplots(rows=1, cols=len(arrays), subplot_titles=titles, horizontal_spacing=0.12)
    tallest = max(each.sizes["head"] for each in arrays.values())
    figure.update_layout(template=template(), height=max(240, min(560, 120 + 26 * tallest)), showlegend=False)
    for column, each in enumerate(arrays.values(), start=1):
        figure.add_traces(_traces(each), rows=1, cols=column)
        figure.update_xaxes(**depth_axis("block", _items_or_range(each, "block")), showgrid=False, row=1, col=column)
        heads = _items_or_range(each, "head")
        figure.update_yaxes(title="head" if column == 1 else None, tickvals=heads, autorange="reversed", showgrid=False,
                            row=1, col=column)  # fmt: skip
    values = np.concatenate([each["value"].values.ravel() for each in arrays.values()]).astype(float)
    title = f"{quantity_label(quantity)}<br>({unit_label(first)})"
    figure.update_layout(coloraxis=_scale(values, title, midpoint))
    if len(arrays) == 1 and first.sizes["block"] <= LEGIBLE_COLUMNS:
        figure.update_traces(texttemplate="%{text}", textfont={"size": 11}, selector={"type": "heatmap"})
    if is_wide(values):
        for cells in figure.select_traces({"type": "heatmap"}):
            cells.z = np.log10(cells.z)
    return figure


def _items_or_range(arrays: xr.Dataset, dim: str) -> np.ndarray:
    """Coordinate of a dimension, or its indices."""
    return arrays[dim].values if dim in arrays.coords else np.arange(arrays.sizes[dim])


def _chosen(arrays: xr.Dataset, sink: str | None) -> xr.Dataset:
    policy = policy_sink(arrays)
    if policy is None:
        return arrays
    if sink is not None:
        policy = one_of("sink", sink, items(arrays, "sink"), remedy="leave it out for the run's policy")
    return arrays.sel(sink=policy)


def _scale(values: np.ndarray, title: str, midpoint: float | None) -> dict[str, object]:
    """Colour axis; where a few of many heads would flatten the rest it covers the central 96%."""
    finite = values[np.isfinite(values)]
    bar: dict[str, object] = {"title": {"text": title, "side": "top"}}
    if len(finite) == 0:
        return {"colorscale": SEQUENTIAL, "colorbar": bar}
    low, high = np.quantile(finite, [0.02, 0.98]) if len(finite) >= 50 else (finite.min(), finite.max())
    if is_wide(values):
        bar["tickvals"], bar["ticktext"] = log_ticks(low, high)
        low, high, midpoint = np.log10(low), np.log10(high), None if midpoint is None else np.log10(midpoint)
    if midpoint is None:
        return {"colorscale": SEQUENTIAL, "cmin": float(low), "cmax": float(high), "colorbar": bar}
    reach = max(high - midpoint, midpoint - low, 1e-12)
    return {
        "colorscale": _centred(low, high, midpoint, reach),
        "cmin": float(low),
        "cmax": float(high),
        "colorbar": bar,
    }


def _centred(low: float, high: float, midpoint: float, reach: float) -> list[list[object]]:
    """The part of the diverging scale that the data use, the neutral colour at the midpoint."""
    start, stop = ((limit - midpoint) / (2 * reach) + 0.5 for limit in (low, high))
    steps = np.linspace(start, stop, 9)
    colours = sample_colorscale([list(stop) for stop in DIVERGING], steps.tolist())
    return [[float(at), colour] for at, colour in zip(np.linspace(0, 1, 9), colours, strict=True)]


def _traces(arrays: xr.Dataset) -> list[go.Heatmap | go.Scatter]:
    value = arrays["value"].transpose("head", "block")
    z = value.values.astype(float)
    blocks, heads = _items_or_range(arrays, "block"), _items_or_range(arrays, "head")
    verdict = arrays["verdict"].transpose("head", "block").values.astype(str)
    cells = go.Heatmap(
        x=blocks, y=heads, z=z, coloraxis="coloraxis", xgap=1, ygap=1, text=_written(z), customdata=_hover(arrays, verdict),
        hovertemplate=f"block %{{x}}, head %{{y}}: %{{text}} {unit_label(arrays)}<br>%{{customdata}}<extra></extra>",
    )  # fmt: skip
    above = np.argwhere(verdict == "beats null")
    marks = go.Scatter(
        x=blocks[above[:, 1]] + 0.36, y=heads[above[:, 0]] - 0.3, mode="markers", name="beats null", hoverinfo="skip",
        marker={"symbol": "circle", "size": 5, "color": "#fff", "line": {"width": 1.2, "color": "#222"}},
    )  # fmt: skip
    return [cells, marks]


def _written(z: np.ndarray) -> list[list[str]]:
    return [["" if np.isnan(value) else f"{value:.3g}" for value in row] for row in z]


def _hover(arrays: xr.Dataset, verdict: np.ndarray) -> list[list[str]]:
    """Interval, nulls and verdict of each cell, and any string detail that the diagnostic keeps per head."""
    lines = np.char.add("verdict: ", verdict).astype(object)
    for bounds in [("value_low", "value_high")]:
        low, high = (arrays[name].transpose("head", "block").values for name in bounds)
        lines = _joined(
            lines, np.isfinite(low), [f"95% {a:.3g} to {b:.3g}" for a, b in zip(low.ravel(), high.ravel(), strict=True)]
        )
    for null in items(arrays, "null_model") if "null" in arrays else []:
        mean = arrays["null"].sel(null_model=null).transpose("head", "block").values
        lines = _joined(lines, np.isfinite(mean), [f"{quantity_label(null)} {m:.3g}" for m in mean.ravel()])
    for name, detail in arrays.data_vars.items():
        if set(detail.dims) == {"head", "block"} and detail.dtype.kind in "UO" and name != "verdict":
            words = detail.transpose("head", "block").values.astype(str)
            lines = _joined(lines, words != "", [f"{name}: {word}" for word in words.ravel()])
    return lines.tolist()


def _joined(lines: np.ndarray, where: np.ndarray, more: list[str]) -> np.ndarray:
    added = np.array(more, dtype=object).reshape(lines.shape)
    return np.where(where, lines + "<br>" + added, lines)
