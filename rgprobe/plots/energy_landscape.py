"""The free-energy landscape of one prompt, block by block: do basins form, or not?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from rgprobe.checks import whole_number, whole_numbers
from rgprobe.flow import RGFlow
from rgprobe.plots.arrays import node
from rgprobe.plots.style import SEQUENTIAL, new_figure
from rgprobe.plots.tokens import figure_texts
from rgprobe.wording import counted

__all__ = ["energy_landscape", "landscape_title", "landscape_top", "one_of_each", "spaced_blocks"]

PANELS = 6
COLUMNS = 3
# white with a dark rim is seen on every colour of the scale and on either paper
TOKEN = {"size": 5, "color": "#ffffff", "line": {"color": "#14171c", "width": 1}}
MINIMUM = {"size": 9, "symbol": "x-thin", "line": {"color": "#ff5d5d", "width": 2}}


def energy_landscape(flow: RGFlow, prompt: int = 0, blocks: Sequence[int] | None = None) -> go.Figure:
    """Slices of the free energy beta E, nats above their lowest point, through the plane of the two leading components.

    One panel per block, on one colour scale; dots are the recorded tokens, crosses the minima that they fall into, both
    projected on the plane, so that a cross need not lie in a hollow of the slice: the minima are those of all dimensions. Each
    panel has the plane, and the unit of length, of its own block.

    Args:
        flow: an `RGFlow` that holds the diagnostic `energy_landscape`.
        prompt: index of the prompt.
        blocks: which ones; by default up to six, evenly spaced, the first and the last among them.

    Raises:
        OptionError: no such prompt or block, or the flow holds no landscapes.
    """
    arrays = node(flow, "energy_landscape")
    count = arrays.sizes["block"]
    whole_number("prompt", prompt, least=0, most=arrays.sizes["prompt"] - 1, remedy="see flow.to_xarray()")
    chosen = spaced_blocks(count) if blocks is None else blocks
    chosen = whole_numbers("blocks", chosen, least=0, most=count - 1, remedy="see flow.to_xarray()")
    here = arrays.isel(prompt=prompt)
    heights = here["slice_free_energy"].values[chosen].astype(float)
    rows = -(-len(chosen) // COLUMNS)
    figure = new_figure(height=60 + 290 * rows)
    figure.set_subplots(rows=rows, cols=COLUMNS, horizontal_spacing=0.05, vertical_spacing=0.16 if rows > 1 else 0.0,
                        subplot_titles=[landscape_title(here, block) for block in chosen])  # fmt: skip
    tokens = figure_texts(flow.recorded_tokens(prompt))
    for index, block in enumerate(chosen):
        row, column = divmod(index, COLUMNS)
        for drawn in _panel(here.isel(block=block), tokens):
            figure.add_trace(drawn, row=row + 1, col=column + 1)
        # a length is as long upwards as it is sideways
        figure.update_yaxes(
            scaleanchor=f"x{index + 1 if index else ''}", constrain="domain", row=row + 1, col=column + 1
        )
    _frame(figure, heights)
    return figure


def _panel(here: xr.Dataset, tokens: list[str]) -> list[go.Contour | go.Scatter]:
    axis, height = here["slice_axis"].values.astype(float), here["slice_free_energy"].values.astype(float)
    places, minima = here["token_on_plane"].values[: len(tokens)], here["minimum_on_plane"].values[: len(tokens)]
    label = here["basin_of_token"].values[: len(tokens)]
    if not np.isfinite(height).any():
        return []
    one_each = one_of_each(label)
    shared = [int((label == basin).sum()) for basin in range(label.max() + 1)]
    slices = go.Contour(
        x=axis, y=axis, z=height, coloraxis="coloraxis", contours={"coloring": "heatmap"}, ncontours=10,
        line={"width": 0.6, "color": "#14171c"}, hovertemplate="%{z:.3g} nats<extra></extra>",
    )  # fmt: skip
    dots = go.Scatter(
        x=places[:, 0], y=places[:, 1], mode="markers", marker=TOKEN, name="token",
        customdata=[list(pair) for pair in zip(tokens, label.tolist(), strict=True)],
        hovertemplate="%{customdata[0]}: basin %{customdata[1]}<extra></extra>", showlegend=False,
    )  # fmt: skip
    crosses = go.Scatter(
        x=minima[one_each, 0], y=minima[one_each, 1], mode="markers", marker=MINIMUM, name="minimum", customdata=shared,
        hovertemplate="minimum of %{customdata} tokens<extra></extra>", showlegend=False,
    )  # fmt: skip
    return [slices, crosses, dots]


def _frame(figure: go.Figure, heights: np.ndarray) -> None:
    figure.update_xaxes(showticklabels=False, showgrid=False, ticks="", constrain="domain")
    figure.update_yaxes(showticklabels=False, showgrid=False, ticks="")
    top = landscape_top(heights)
    bar = {"title": {"text": "free energy<br>(nats)", "side": "top"}, "len": 0.8}
    figure.update_layout(coloraxis={"colorscale": SEQUENTIAL, "cmin": 0.0, "cmax": top, "colorbar": bar})
    figure.update_annotations(font_size=12)


def landscape_top(heights: np.ndarray) -> float:
    """Upper end of the colour scale, nats: the rims rise without bound, so what is beyond most of the area is drawn alike."""
    finite = heights[np.isfinite(heights)]
    return max(float(np.quantile(finite, 0.9)) if len(finite) else 1.0, 1e-3)


def one_of_each(basins: np.ndarray) -> list[int]:
    """The first token of every basin, in the order of the basins' numbers; -1 is no basin.

    Example:
        >>> one_of_each(np.array([1, 0, 0, 1, -1]))
        [1, 0]
    """
    return [int(np.flatnonzero(basins == basin)[0]) for basin in range(int(basins.max()) + 1)]


def landscape_title(here: xr.Dataset, block: int) -> str:
    """Number of basins and of tokens of one block."""
    at = here.isel(block=block)
    label = at["basin_of_token"].values
    basins = int(label.max()) + 1
    if basins == 0:
        return f"block {block}: undefined"
    return f"block {block}: {counted(basins, 'basin')} of {int((label >= 0).sum())} tokens"


def spaced_blocks(count: int) -> list[int]:
    """Up to six blocks, evenly spaced, the first and the last among them."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, PANELS))})
