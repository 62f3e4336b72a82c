"""The temperature map: reduced temperature of every head, block by block, with the conventional words beside the scale."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from rgprobe.diagnostics.temperature import CONDENSED, EXPLORATION
from rgprobe.plots.arrays import node, policy_sink, select
from rgprobe.plots.paper.style import (
    DOUBLE,
    FINE,
    INK,
    RULE,
    SINGLE,
    diverging,
    finished,
    paper_figure,
    paper_style,
    spread,
)
from rgprobe.plots.paper.tokens import every
from rgprobe.plots.scales import log_ticks
from rgprobe.rg_flow import RGFlow

__all__ = ["temperature_map"]

PHASES = (("condensed", 0.0, CONDENSED), ("crossover", CONDENSED, EXPLORATION), ("exploration", EXPLORATION, np.inf))
NARROW = 14  # blocks up to which one column is enough, and numbers are printed in the cells


def temperature_map(flow: RGFlow) -> Figure:
    """Reduced temperature of each head against block, on a logarithmic scale whose neutral colour is 1.

    It is theta_entropy, which the words beside the scale are conventions of (`rgprobe.diagnostics.temperature.phase`); of a
    result that does not hold it, theta is drawn, without words. Where any head beats random initialisation, a ring marks those
    that do not.

    Raises:
        OptionError: the flow holds no temperatures.
    """
    by_entropy = "theta_entropy" in node(flow, "temperature")["quantity"].values
    arrays = select(flow, "temperature", "theta_entropy" if by_entropy else "theta")
    sink = policy_sink(arrays)
    chosen = (arrays if sink is None else arrays.sel(sink=sink)).transpose(..., "head", "block")
    theta = chosen["value"].values.astype(float)
    heads, blocks = theta.shape
    wide = blocks > NARROW
    with paper_style():
        height = min(max(0.75 + (0.15 if wide else 0.19) * heads, 1.9), 4.5)
        figure = paper_figure(DOUBLE if wide else SINGLE, height)
        axes = figure.subplots()
        low, high = _range(theta)
        colours = diverging(np.log10(low), np.log10(high), 0.0).with_extremes(bad="white")
        shown = np.ma.masked_invalid(theta)
        mesh = axes.pcolormesh(shown, cmap=colours, norm=LogNorm(low, high), edgecolors="white", linewidth=0.5)
        _mark(axes, theta, chosen)
        if not wide:
            _write(axes, theta, mesh.to_rgba(shown))
        _frame(axes, heads, blocks)
        bar = figure.colorbar(mesh, ax=axes, aspect=14, pad=0.02, fraction=0.05)
        _scale(bar, low, high, "θ by entropy (dimensionless)" if by_entropy else "θ (dimensionless)")
        if by_entropy:
            _name(bar, low, high)
        return finished(figure)


def _range(theta: np.ndarray) -> tuple[float, float]:
    """Ends of the colour scale, with 1 between them; a few of many heads do not flatten the rest."""
    finite = theta[np.isfinite(theta) & (theta > 0)]
    if len(finite) == 0:
        return 0.5, 2.0
    low, high = np.quantile(finite, [0.01, 0.99]) if len(finite) >= 100 else (finite.min(), finite.max())
    return float(min(low, 0.95)), float(max(high, 1.05))


def _frame(axes: Axes, heads: int, blocks: int) -> None:
    columns, rows = every(blocks, 16), every(heads, 16)
    axes.set_xticks(np.arange(0, blocks, columns) + 0.5, labels=[str(k) for k in range(0, blocks, columns)])
    axes.set_yticks(np.arange(0, heads, rows) + 0.5, labels=[str(k) for k in range(0, heads, rows)])
    axes.invert_yaxis()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("block (input → output)")
    axes.set_ylabel("head")
    axes.set_title("reduced temperature θ of attention heads")


def _mark(axes: Axes, theta: np.ndarray, chosen: xr.Dataset) -> None:
    verdict = chosen["verdict"].values.astype(str)
    if (verdict == "beats null").any():
        rows, columns = np.nonzero((verdict != "beats null") & np.isfinite(theta))
        axes.plot(columns + 0.86, rows + 0.2, "o", ms=2.2, mfc="white", mec=INK, mew=0.6)


def _write(axes: Axes, theta: np.ndarray, colours: np.ndarray) -> None:
    dark = colours[..., :3] @ np.array([0.299, 0.587, 0.114]) < 0.5
    for (row, column), value in np.ndenumerate(theta):
        if np.isfinite(value):
            words = f"{value:.2g}" if value < 100 else f"{value:.0f}"
            axes.text(column + 0.5, row + 0.5, words, ha="center", va="center", fontsize=FINE - 0.5,
                      color="white" if dark[row, column] else INK)  # fmt: skip


def _scale(bar: Colorbar, low: float, high: float, label: str) -> None:
    """Round numbers on the right of the bar, what they are on its left."""
    ticks, words = log_ticks(low, high)
    bar.ax.yaxis.set_ticks_position("right")
    bar.set_ticks([10**tick for tick in ticks], labels=words)
    bar.ax.minorticks_off()
    bar.outline.set_visible(False)
    bar.set_label(label)
    bar.ax.yaxis.set_label_position("left")


def _name(bar: Colorbar, low: float, high: float) -> None:
    """Right of the numbers the words, each at the middle of its range."""
    named = [(max(low, start), min(high, stop), name) for name, start, stop in PHASES if start < high and stop > low]
    span = np.log(high / low)
    middles = [np.log(np.sqrt(start * stop) / low) / span for start, stop, _ in named]
    for place, (_, stop, name) in zip(spread(middles, 0.09), named, strict=True):
        bar.ax.annotate(name, (1.0, place), xycoords="axes fraction", xytext=(17, 0), textcoords="offset points",
                        fontsize=FINE, color=RULE, va="center", annotation_clip=False)  # fmt: skip
        if stop < high:
            bar.ax.axhline(stop, color=INK, lw=0.6)
