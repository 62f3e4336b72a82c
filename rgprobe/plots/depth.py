"""A quantity over depth, with its interval over prompts and a band for each null model."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from rgprobe.plots.arrays import (
    Flows,
    depth_dim,
    items,
    named_flows,
    policy_sink,
    quantity_label,
    select,
    unit_label,
)
from rgprobe.plots.scales import fit_values
from rgprobe.plots.style import DASHES, MEASURED, NULL_COLOURS, SOURCES, depth_axis, new_figure, shade
from rgprobe.plots.tokens import figure_text

__all__ = ["band", "flow_over_depth", "line"]


def flow_over_depth(flows: Flows, diagnostic: str, quantity: str) -> go.Figure:
    """Draw value, 95% interval over prompts, and null mean with 95% prediction band, from input end to output end.

    Where a quantity has heads, the line is the mean over heads, the dots are the heads, and a band is the mean of the
    heads' bands (wider than the band of the mean). The other sink policy is a thin dotted line without a band. Several
    flows share the axes; if their depths differ, the axis is relative depth.

    Args:
        flows: an `RGFlow`, a list of them, or a dict by name.
        diagnostic: such as ``"temperature"``.
        quantity: such as ``"theta"``.

    Raises:
        OptionError: a flow holds no such diagnostic or quantity.
    """
    arrays = {name: select(flow, diagnostic, quantity) for name, flow in named_flows(flows).items()}
    first = next(iter(arrays.values()))
    dim = depth_dim(first)
    depths = {name: _depths(each) for name, each in arrays.items()}
    relative = len({len(each) for each in depths.values()}) > 1
    figure = new_figure(height=280 + 40 * len(arrays))
    for index, (name, each) in enumerate(arrays.items()):
        x = np.linspace(0, 1, len(depths[name])) if relative else depths[name]
        colour = MEASURED if len(arrays) == 1 else SOURCES[index % len(SOURCES)]
        figure.add_traces(list(_traces(each, x, name=figure_text(name), colour=colour, alone=len(arrays) == 1)))
    if relative:
        figure.update_xaxes(
            title="relative depth", tickvals=[0, 0.5, 1], ticktext=["0<br>input end", "0.5", "1<br>output end"]
        )
    else:
        figure.update_xaxes(**depth_axis(dim, next(iter(depths.values()))))
    figure.update_yaxes(title=f"{quantity_label(quantity)}<br>({unit_label(first)})")
    fit_values(figure)
    return figure


def _depths(arrays: xr.Dataset) -> np.ndarray:
    dim = depth_dim(arrays)
    return arrays[dim].values if dim in arrays.coords else np.arange(arrays.sizes[dim])


def _traces(arrays: xr.Dataset, x: np.ndarray, *, name: str, colour: str, alone: bool) -> Iterator[go.Scatter]:
    """Back to front: null bands, interval, heads, the other sink, the line itself."""
    sink = policy_sink(arrays)
    chosen = arrays if sink is None else arrays.sel(sink=sink)
    units = unit_label(arrays)
    for index, null in enumerate(items(arrays, "null_model") if "null" in arrays else []):
        here = chosen.sel(null_model=null)
        label = quantity_label(null) if alone else f"{name}: {quantity_label(null)}"
        tint = NULL_COLOURS[index % len(NULL_COLOURS)] if alone else colour
        yield from band(x, _over_heads(here["null_low"]), _over_heads(here["null_high"]), shade(tint, 0.2), label)
        style = {"color": tint, "width": 1.5, "dash": DASHES[index % len(DASHES)]}
        yield line(x, _over_heads(here["null"]), label, style, f"{label}: %{{y:.4g}} {units}")
    yield from band(x, _over_heads(chosen["value_low"]), _over_heads(chosen["value_high"]), shade(colour, 0.25), name)
    if "head" in chosen["value"].dims:
        yield _heads(chosen["value"], x, name, colour)
    for other in [label for label in items(arrays, "sink") if label != sink]:
        style = {"color": colour, "width": 1.2, "dash": "dot"}
        label = f"{name}, sink {other}"
        y = _over_heads(arrays["value"].sel(sink=other))
        if not np.array_equal(y, _over_heads(chosen["value"]), equal_nan=True):
            yield line(x, y, label, style, f"sink {other}: %{{y:.4g}} {units}")
    mean = line(x, _over_heads(chosen["value"]), name, {"color": colour, "width": 2.5}, f"{name}: %{{y:.4g}} {units}")
    if "head" not in chosen["value"].dims:
        mean.update(customdata=chosen["verdict"].values.astype(str).tolist(), mode="lines+markers")
        mean.update(marker={"size": 6}, hovertemplate=f"{name}: %{{y:.4g}} {units}<br>%{{customdata}}<extra></extra>")
    yield mean


def _over_heads(values: xr.DataArray) -> np.ndarray:
    return (values.mean("head") if "head" in values.dims else values).values.astype(float)


def line(x: np.ndarray, y: np.ndarray, name: str, style: dict[str, object], hover: str) -> go.Scatter:
    """A line whose hover text is a plotly template."""
    return go.Scatter(
        x=x, y=y, name=name, legendgroup=name, mode="lines", line=style, hovertemplate=hover + "<extra></extra>"
    )


def band(x: np.ndarray, low: np.ndarray, high: np.ndarray, fill: str, name: str) -> Iterator[go.Scatter]:
    """An interval as an area without a line; nothing where it is undefined, as with one prompt or one null seed."""
    defined = np.isfinite(low) & np.isfinite(high)
    if not defined.any():
        return
    edge = {"legendgroup": name, "showlegend": False, "hoverinfo": "skip", "mode": "lines", "line": {"width": 0}}
    yield go.Scatter(x=x[defined], y=low[defined], name=f"{name} low", **edge)
    yield go.Scatter(x=x[defined], y=high[defined], name=f"{name} high", fill="tonexty", fillcolor=fill, **edge)


def _heads(values: xr.DataArray, x: np.ndarray, name: str, colour: str) -> go.Scatter:
    grid = values.transpose(..., "head").values.astype(float)
    n_heads = grid.shape[1]
    heads = np.tile(np.arange(n_heads), len(x))
    return go.Scatter(
        x=np.repeat(x, n_heads), y=grid.ravel(), name=f"{name}, heads", legendgroup=name, showlegend=False, mode="markers",
        marker={"color": colour, "size": 4, "opacity": 0.4}, customdata=heads,
        hovertemplate="head %{customdata}: %{y:.4g}<extra></extra>",
    )  # fmt: skip
