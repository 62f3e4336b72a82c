"""A quantity over depth, with its interval over prompts and a band for each null model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import plotly.graph_objects as go

from rgprobe.plots.arrays import Flows, named_flows, quantity_label, select
from rgprobe.plots.depth_series import DepthSeries, depth_series
from rgprobe.plots.scales import fit_values
from rgprobe.plots.style import DASHES, MEASURED, NULL_COLOURS, SOURCES, depth_axis, new_figure, shade
from rgprobe.plots.tokens import figure_text

__all__ = ["band", "flow_over_depth", "line"]

# Zero is a value among others here: a logarithmic axis would tell of decades between values that are all small.
SIGNED = ("modularity",)


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
    named = {name: depth_series(select(flow, diagnostic, quantity)) for name, flow in named_flows(flows).items()}
    first = next(iter(named.values()))
    relative = len({len(series.depths) for series in named.values()}) > 1
    figure = new_figure(height=280 + 40 * len(named))
    for index, (name, series) in enumerate(named.items()):
        x = np.linspace(0, 1, len(series.depths)) if relative else series.depths
        colour = MEASURED if len(named) == 1 else SOURCES[index % len(SOURCES)]
        figure.add_traces(list(_traces(series, x, name=figure_text(name), colour=colour, alone=len(named) == 1)))
    if len(named) > 1:
        figure.add_traces(list(_shared_key(list(named.values()))))
    if relative:
        figure.update_xaxes(
            title="relative depth", tickvals=[0, 0.5, 1], ticktext=["0<br>input end", "0.5", "1<br>output end"]
        )
    else:
        figure.update_xaxes(**depth_axis(first.dim, first.depths))
    figure.update_yaxes(title=f"{quantity_label(quantity)}<br>({first.units})")
    fit_values(figure, logarithmic=quantity not in SIGNED)
    return figure


def _traces(series: DepthSeries, x: np.ndarray, *, name: str, colour: str, alone: bool) -> Iterator[go.Scatter]:
    """Back to front: null bands, interval, heads, the other sink, the line itself.

    Of several flows the lines alone stand in the legend; what is drawn in the same way for all has one entry for all.
    """
    units = series.units
    for index, (null, drawn) in enumerate(series.nulls.items()):
        kind = quantity_label(null)
        label = kind if alone else f"{name}: {kind}"
        tint = NULL_COLOURS[index % len(NULL_COLOURS)] if alone else colour
        style = {"color": tint, "width": 1.5, "dash": DASHES[index % len(DASHES)]}
        mean = line(x, drawn.mean, label, style, f"{label}: %{{y:.4g}} {units}")
        for trace in (*band(x, drawn.low, drawn.high, shade(tint, 0.2), label), mean):
            yield trace if alone else trace.update(legendgroup=kind, showlegend=False)
    yield from band(x, series.low, series.high, shade(colour, 0.25), name)
    if series.heads is not None:
        yield _heads(series.heads, x, name, colour)
    for other, y in series.other_sinks.items():
        drawn = line(x, y, f"{name}, sink {other}", _sink_style(colour), f"sink {other}: %{{y:.4g}} {units}")
        yield drawn if alone else drawn.update(legendgroup=f"sink {other}", showlegend=False)
    mean = line(x, series.value, name, {"color": colour, "width": 2.5}, f"{name}: %{{y:.4g}} {units}")
    if series.verdict is not None:
        mean.update(customdata=series.verdict.tolist(), mode="lines+markers")
        mean.update(marker={"size": 6}, hovertemplate=f"{name}: %{{y:.4g}} {units}<br>%{{customdata}}<extra></extra>")
    yield mean


def _sink_style(colour: str) -> dict[str, object]:
    return {"color": colour, "width": 1.2, "dash": "dot"}


def _shared_key(drawn: Sequence[DepthSeries]) -> Iterator[go.Scatter]:
    """Legend entries for nulls and the other sink policy, which have a dash of their own and the colour of their flow."""
    styles = {
        quantity_label(null): {"color": NULL_COLOURS[0], "width": 1.5, "dash": DASHES[index % len(DASHES)]}
        for series in drawn for index, null in enumerate(series.nulls)
    }  # fmt: skip
    styles |= {f"sink {other}": _sink_style(NULL_COLOURS[0]) for series in drawn for other in series.other_sinks}
    for kind, style in styles.items():
        yield line(np.array([np.nan]), np.array([np.nan]), kind, style, kind)


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


def _heads(grid: np.ndarray, x: np.ndarray, name: str, colour: str) -> go.Scatter:
    n_heads = grid.shape[1]
    heads = np.tile(np.arange(n_heads), len(x))
    return go.Scatter(
        x=np.repeat(x, n_heads), y=grid.ravel(), name=f"{name}, heads", legendgroup=name, showlegend=False, mode="markers",
        marker={"color": colour, "size": 4, "opacity": 0.4}, customdata=heads,
        hovertemplate="head %{customdata}: %{y:.4g}<extra></extra>",
    )  # fmt: skip
