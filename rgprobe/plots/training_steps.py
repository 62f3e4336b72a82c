"""A quantity against training step: its mean over depth as lines, and depth by depth as a map."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from rgprobe.checks import one_of
from rgprobe.plots.arrays import items, quantity_label, unit_label
from rgprobe.plots.depth import band, line
from rgprobe.plots.scales import fit_values, is_wide, log_ticks
from rgprobe.plots.style import SEQUENTIAL, SOURCES, new_figure, shade, template
from rgprobe.plots.tokens import figure_text
from rgprobe.sweeping.trajectory import trajectories

__all__ = ["over_steps", "step_map"]

DEPTHS = ("state", "block", "transition")
TICKS = 9


def over_steps(data: xr.DataTree, diagnostic: str, quantity: str) -> go.Figure:
    """Draw the mean over depth and heads against training step, a line per run, with the band of random initialisation.

    The band is the mean over depth and heads of their bands, which is wider than the band of the mean. Checkpoints stand at
    equal distances: they are kept at log-spaced steps, and step 0 has no logarithm.

    Args:
        data: what `Sweep.to_xarray` gave, of one prompt set.
        diagnostic: such as ``"temperature"``.
        quantity: such as ``"theta"``.

    Raises:
        OptionError: the sweep holds no such diagnostic or quantity.
    """
    node = _node(data, diagnostic, quantity)
    found = trajectories(node, quantity)
    figure = new_figure(height=320)
    axis = _item_axis(found)
    for index, (name, run) in enumerate(_runs(found)):
        figure.add_traces(
            list(
                _lines(
                    run,
                    axis,
                    figure_text(name) if name else "",
                    SOURCES[index % len(SOURCES)],
                    units=_units(node, quantity),
                )
            )
        )
    figure.update_xaxes(**_axis_layout(found, axis))
    figure.update_yaxes(title=f"{quantity_label(quantity)}<br>({_units(node, quantity)})")
    fit_values(figure)
    return figure


def step_map(data: xr.DataTree, diagnostic: str, quantity: str) -> go.Figure:
    """Draw the mean over heads, depth against training step, a panel per run; a dot marks what beats random initialisation.

    Args:
        data, diagnostic, quantity: as above.

    Raises:
        OptionError: as above.
    """
    node = _node(data, diagnostic, quantity)
    chosen = node.sel(quantity=quantity)
    chosen = chosen.isel(sink=0) if "sink" in chosen.dims else chosen
    value = chosen["value"].mean("head") if "head" in chosen["value"].dims else chosen["value"]
    axis, depth = _item_axis(value), next(dim for dim in DEPTHS if dim in value.dims)
    runs = list(_runs(value.to_dataset(name="value")))
    titles = [figure_text(name) for name, _ in runs] if len(runs) > 1 else None
    figure = make_subplots(rows=1, cols=len(runs), subplot_titles=titles, shared_yaxes=True, horizontal_spacing=0.03)
    wide = is_wide(value.values)
    for column, (name, run) in enumerate(runs, start=1):
        figure.add_traces(list(_cells(run["value"], _beating(chosen, name), axis, depth, wide, unit_label(chosen))),
                          rows=1, cols=column)  # fmt: skip
        figure.update_xaxes(**_axis_layout(value, axis, ticks=TICKS // len(runs)), row=1, col=column)
    depths = np.arange(value.sizes[depth])
    figure.update_yaxes(title=f"{depth}<br>(0: input end)", col=1)
    figure.update_yaxes(tickvals=depths[:: max(1, len(depths) // 8)], showgrid=False)
    figure.update_layout(template=template(), height=max(260, 150 + 22 * value.sizes[depth]), showlegend=False,
                         coloraxis=_scale(value.values, wide, quantity, unit_label(chosen)))  # fmt: skip
    return figure


def _node(data: xr.DataTree, diagnostic: str, quantity: str) -> xr.Dataset:
    one_of("diagnostic", diagnostic, data.children, remedy="run it, or correct the name")
    node = data[diagnostic].to_dataset()
    one_of("quantity", quantity, items(node, "quantity"), remedy=f"see {diagnostic}")
    return node


def _units(node: xr.Dataset, quantity: str) -> str:
    return unit_label(node.sel(quantity=quantity))


def _item_axis(arrays: xr.Dataset | xr.DataArray) -> str:
    return "step" if "step" in arrays.dims else "source"


def _runs(found: xr.Dataset) -> Iterator[tuple[str, xr.Dataset]]:
    if "run" not in found.dims:
        yield "", found
        return
    for name in found["run"].values:
        yield str(name), found.sel(run=name)


def _axis_layout(found: xr.Dataset | xr.DataArray, axis: str, *, ticks: int = TICKS) -> dict[str, object]:
    """Evenly spaced checkpoints, some of them labelled."""
    names = [f"{name:,}" if axis == "step" else figure_text(str(name)) for name in found[axis].values.tolist()]
    every = max(1, -(-len(names) // max(ticks, 2))) if axis == "step" else 1
    last = len(names) - 1
    places = sorted({*range(0, max(last - every // 2, 1), every), last})
    return {"title": {"text": "training step" if axis == "step" else ""}, "tickvals": places,
            "ticktext": [names[place] for place in places], "tickangle": 0 if axis == "step" else -30}  # fmt: skip


def _lines(run: xr.Dataset, axis: str, name: str, colour: str, *, units: str) -> Iterator[go.Scatter]:
    x = np.arange(run.sizes[axis])
    label = name or "measured"
    if "null" in run:
        null = f"{name}: random init" if name else "random init"
        yield from band(x, run["null_low"].values, run["null_high"].values, shade(colour, 0.15), null)
        yield line(
            x, run["null"].values, null, {"color": colour, "width": 1.5, "dash": "dash"}, f"{null}: %{{y:.4g}} {units}"
        )
    yield from band(x, run["value_low"].values, run["value_high"].values, shade(colour, 0.25), label)
    drawn = line(x, run["value"].values, label, {"color": colour, "width": 2.5}, f"{label}: %{{y:.4g}} {units}")
    yield drawn.update(mode="lines+markers", marker={"size": 6})


def _beating(chosen: xr.Dataset, run: str) -> xr.DataArray:
    """Whether random initialisation is beaten, by most heads where there are several."""
    beating = chosen["verdict"] == "beats null"
    beating = beating.sel(run=run) if "run" in beating.dims else beating
    return beating.mean("head") > 0.5 if "head" in beating.dims else beating


def _cells(
    value: xr.DataArray, beating: xr.DataArray, axis: str, depth: str, wide: bool, units: str
) -> Iterator[go.Heatmap | go.Scatter]:
    z = value.transpose(depth, axis).values.astype(float)
    x, y = np.arange(z.shape[1]), np.arange(z.shape[0])
    text = [["" if np.isnan(each) else f"{each:.3g}" for each in row] for row in z]
    yield go.Heatmap(
        x=x, y=y, z=np.log10(z) if wide else z, text=text, coloraxis="coloraxis", xgap=1, ygap=1,
        hovertemplate=f"{depth} %{{y}}, checkpoint %{{x}}: %{{text}} {units}<extra></extra>",
    )  # fmt: skip
    rows, columns = np.nonzero(beating.transpose(depth, axis).values)
    yield go.Scatter(
        x=columns, y=rows, mode="markers", hoverinfo="skip",
        marker={"symbol": "circle", "size": 5, "color": "#fff", "line": {"width": 1.2, "color": "#222"}},
    )  # fmt: skip


def _scale(values: np.ndarray, wide: bool, quantity: str, units: str) -> dict[str, object]:
    bar: dict[str, object] = {"title": {"text": f"{quantity_label(quantity)}<br>({units})", "side": "top"}}
    finite = values[np.isfinite(values)]
    if wide:
        bar["tickvals"], bar["ticktext"] = log_ticks(float(finite.min()), float(finite.max()))
    return {"colorscale": SEQUENTIAL, "colorbar": bar}
