"""The free-energy landscape of one prompt on paper: slices through the plane of the two leading components, block by block."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from rgprobe.checks import whole_number
from rgprobe.plots.arrays import node
from rgprobe.plots.energy_landscape import landscape_title, landscape_top, one_of_each, spaced_blocks
from rgprobe.plots.paper.style import DOUBLE, FINE, INK, finished, note, panel_letters, paper_figure, paper_style
from rgprobe.plots.style import SEQUENTIAL
from rgprobe.rg_flow import RGFlow

__all__ = ["energy_landscape", "first_measured", "landscape_levels"]

LEVELS = 9


def energy_landscape(flow: RGFlow, *, prompt: int | None = None) -> Figure:
    """Free energy beta E above its lowest point, nats, up to six blocks on one colour scale (two columns wide).

    Args:
        flow: holds the diagnostic energy_landscape.
        prompt: index of the prompt; by default the first that has a landscape.

    Raises:
        OptionError: no such prompt, or no landscape in it.
    """
    arrays = node(flow, "energy_landscape")
    chosen = first_measured(flow) if prompt is None else prompt
    whole_number("prompt", chosen, least=0, most=arrays.sizes["prompt"] - 1, remedy="see flow.prompts")
    here = arrays.isel(prompt=chosen)
    blocks = spaced_blocks(arrays.sizes["block"])
    top = landscape_top(here["slice_free_energy"].values[blocks].astype(float))
    columns = min(3, len(blocks))
    rows = -(-len(blocks) // columns)
    with paper_style():
        figure = paper_figure(DOUBLE, 0.35 + 2.05 * rows)
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        filled = None
        for axes, block in zip(panels, blocks, strict=False):
            axes.set_title(landscape_title(here, block), fontsize=FINE + 0.5)
            filled = _panel(axes, here.isel(block=block), len(flow.recorded_tokens(chosen)), top) or filled
        for axes in panels[len(blocks) :]:
            axes.set_visible(False)
        panel_letters(list(panels[: len(blocks)]))
        if filled is not None:
            bar = figure.colorbar(filled, ax=list(panels), aspect=30, fraction=0.025, pad=0.01, extend="max")
            bar.set_ticks(landscape_levels(top).tolist())
            bar.set_label("free energy βE above its minimum (nats)")
            bar.outline.set_visible(False)
        _key(figure)
        return finished(figure)


def first_measured(flow: RGFlow) -> int:
    """The first prompt with a landscape in any block; 0 where there is none."""
    measured = np.isfinite(node(flow, "energy_landscape")["beta"].values).any(-1)
    return int(measured.argmax())


def landscape_levels(top: float) -> np.ndarray:
    """Round heights from 0 to about the top, nats.

    Example:
        >>> landscape_levels(4.4).tolist()
        [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5]
    """
    return np.asarray(MaxNLocator(LEVELS).tick_values(0.0, top))


def _panel(axes: Axes, here: xr.Dataset, count: int, top: float) -> QuadContourSet | None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal")
    axes.set_xlabel("component 1", fontsize=FINE)
    axes.set_ylabel("component 2", fontsize=FINE)
    axis, height = (here[name].values.astype(float) for name in ("slice_axis", "slice_free_energy"))
    if not np.isfinite(height).any():
        note(axes, "undefined")
        return None
    levels = landscape_levels(top)
    filled = axes.contourf(axis, axis, height, levels=levels, cmap=SEQUENTIAL.lower(), extend="max")
    axes.contour(axis, axis, height, levels=levels, colors=INK, linewidths=0.25, alpha=0.6)
    basins = here["basin_of_token"].values[:count]
    places, minima = (here[name].values[:count] for name in ("token_on_plane", "minimum_on_plane"))
    axes.plot(*places.T, "o", ms=2.4, mfc="white", mec=INK, mew=0.5, zorder=4)
    axes.plot(*minima[one_of_each(basins)].T, "x", ms=3.6, color="#ff5d5d", mew=0.9, zorder=5)
    return filled


def _key(figure: Figure) -> None:
    handles = [
        Line2D([], [], ls="", marker="o", ms=2.4, mfc="white", mec=INK, mew=0.5),
        Line2D([], [], ls="", marker="x", ms=3.6, color="#ff5d5d", mew=0.9),
    ]
    figure.legend(handles, ["token", "minimum of all dimensions, projected"], loc="outside lower center", ncols=2,
                  frameon=False, fontsize=FINE, borderaxespad=0.1)  # fmt: skip
