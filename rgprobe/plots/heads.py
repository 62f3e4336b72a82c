"""A quantity of every head, as a map of head against block."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from plotly.subplots import make_subplots

from rgprobe.errors import OptionError
from rgprobe.plots.arrays import Flows, items, named_flows, policy_sink, quantity_label, select, unit_label
from rgprobe.plots.style import DIVERGING, SEQUENTIAL, depth_axis, template
from rgprobe.plots.tokens import figure_text

__all__ = ["head_map"]

LEGIBLE_CELLS = 96  # numbers are printed in the cells up to this many


def head_map(
    flows: Flows, diagnostic: str, quantity: str, *, sink: str | None = None, midpoint: float | None = None
) -> go.Figure:
    """Draw the mean over prompts of one quantity, head against block; a ring marks heads that beat their null.

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
        figure.update_xaxes(**depth_axis("block", items_or_range(each, "block")), showgrid=False, row=1, col=column)
        heads = items_or_range(each, "head")
        figure.update_yaxes(title="head" if column == 1 else None, tickvals=heads, autorange="reversed", showgrid=False,
                            row=1, col=column)  # fmt: skip
    bar = {"title": {"text": f"{quantity_label(quantity)}<br>({unit_label(first)})", "side": "top"}}
    values = np.concatenate([each["value"].values.ravel() for each in arrays.values()]).astype(float)
    figure.update_layout(coloraxis={"colorbar": bar, **_scale(values, midpoint)})
    return figure


def items_or_range(arrays: xr.Dataset, dim: str) -> np.ndarray:
    """Coordinate of a dimension, or its indices."""
    return arrays[dim].values if dim in arrays.coords else np.arange(arrays.sizes[dim])


def _chosen(arrays: xr.Dataset, sink: str | None) -> xr.Dataset:
    policy = policy_sink(arrays)
    if policy is None:
        return arrays
    if sink is not None and sink not in items(arrays, "sink"):
        raise OptionError("sink", expected=" or ".join(items(arrays, "sink")), received=repr(sink),
                          remedy="leave it out for the run's policy")  # fmt: skip
    return arrays.sel(sink=sink or policy)


def _scale(values: np.ndarray, midpoint: float | None) -> dict[str, object]:
    """Colour limits: the central 96% where a few heads would otherwise flatten the rest."""
    finite = values[np.isfinite(values)]
    if len(finite) == 0:
        return {"colorscale": SEQUENTIAL}
    low, high = np.quantile(finite, [0.02, 0.98]) if len(finite) >= 50 else (finite.min(), finite.max())
    if midpoint is None:
        return {"colorscale": SEQUENTIAL, "cmin": float(low), "cmax": float(high)}
    reach = max(high - midpoint, midpoint - low, 1e-12)
    return {"colorscale": DIVERGING, "cmin": float(midpoint - reach), "cmax": float(midpoint + reach)}


def _traces(arrays: xr.Dataset) -> list[go.Heatmap | go.Scatter]:
    value = arrays["value"].transpose("head", "block")
    z = value.values.astype(float)
    blocks, heads = items_or_range(arrays, "block"), items_or_range(arrays, "head")
    verdict = arrays["verdict"].transpose("head", "block").values.astype(str)
    cells = go.Heatmap(
        x=blocks, y=heads, z=z, coloraxis="coloraxis", xgap=1, ygap=1, customdata=_hover(arrays, verdict),
        hovertemplate=f"block %{{x}}, head %{{y}}: %{{z:.4g}} {unit_label(arrays)}<br>%{{customdata}}<extra></extra>",
    )  # fmt: skip
    if z.size <= LEGIBLE_CELLS:
        cells.update(texttemplate="%{z:.2f}", textfont={"size": 11})
    above = np.argwhere(verdict == "beats null")
    rings = go.Scatter(
        x=blocks[above[:, 1]], y=heads[above[:, 0]], mode="markers", name="beats null", hoverinfo="skip",
        marker={"symbol": "circle-open", "size": 9 if z.size > LEGIBLE_CELLS else 26, "color": "#fff", "line": {"width": 2}},
    )  # fmt: skip
    return [cells, rings]


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
