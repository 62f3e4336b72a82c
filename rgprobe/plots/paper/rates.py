"""Rate-distortion on paper: what a given number of meta-tokens loses, in beliefs and in predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rgprobe.errors import BadInput
from rgprobe.plots.arrays import depth_dim, node, select
from rgprobe.plots.depth_series import depth_series
from rgprobe.plots.paper.over_depth import defined, draw_panel, key
from rgprobe.plots.paper.series import label_ends, log_axis
from rgprobe.plots.paper.style import DOUBLE, GUIDE, SINGLE, finished, panel_letters, paper_figure, paper_style
from rgprobe.plots.paper.tokens import paper_text
from rgprobe.plots.scales import value_limits
from rgprobe.plots.style import MEASURED, NULL_COLOURS, SEQUENTIAL, SOURCES
from rgprobe.rate_distortion import RateDistortion
from rgprobe.rg_flow import RGFlow

__all__ = ["faithfulness_by_depth", "information_curves", "mean_information_curves", "rate_distortion"]

TOTALS = (
    ("condensation", "information", "information D(1)"),
    ("condensation", "quarter_loss", "D(N/4) / D(1)"),
)
SHARES = np.linspace(0.0, 1.0, 33)[1:]
DARK = 0.74  # end of the colour scale for lines and words: its yellow cannot be read on white
# groupings that see the states only, those that see the order only, and chance
LOOKS: Mapping[str, tuple[str, str]] = {
    "tree": ("tree", MEASURED),
    "ward": ("Ward", SOURCES[1]),
    "k_means": ("k-means", SOURCES[4]),
    "bipartite": ("bipartite", SOURCES[3]),
    "windows": ("windows", SOURCES[2]),
    "contiguous": ("contiguous", "#6b4a35"),
    "random": ("random", NULL_COLOURS[0]),
    "rolled": ("shifted tree", NULL_COLOURS[1]),
    "one_mean": ("one mean", NULL_COLOURS[0]),
}
FLOOR = 1e-9  # nats: as many meta-tokens as tokens lose nothing, up to rounding
BLIND = ("windows", "contiguous", "random", "rolled")  # dashed: they do not look at what the tokens hold


def information_curves(flow: RGFlow) -> Figure:
    """Share D(m) / D(1) of the information lost with m of N meta-tokens, by state, and the totals (two columns wide).

    Panel a: mean over prompts, a curve per state. Panel b: D(1), nats per token. Panel c: the loss at a quarter as many
    meta-tokens, against partitions that do not know the content. This is information in the beliefs, not in the
    predictions; those are what `rate_distortion` draws.

    Raises:
        OptionError: the flow holds no condensation trees.
    """
    curves, totals = mean_information_curves(flow), defined(flow, TOTALS)
    with paper_style():
        figure = paper_figure(DOUBLE, 2.2)
        left, *others = figure.subplots(1, 1 + len(totals), squeeze=False)[0]
        colours = matplotlib.colormaps[SEQUENTIAL.lower()](np.linspace(0.0, DARK, len(curves)))
        for curve, colour in zip(curves, colours, strict=True):
            left.plot(SHARES, curve, color=colour, lw=0.9)
        left.plot([0, 1], [1, 0], color=GUIDE, lw=0.6, zorder=0)
        left.set_xlabel("meta-tokens m/N (dimensionless)")
        left.set_ylabel("D(m) / D(1) (dimensionless)")
        left.set_ylim(0, 1.0)
        left.set_xlim(0, 1)
        dim = depth_dim(node(flow, "condensation"))
        for place, word, colour in ((0.9, f"{dim} 0", colours[0]), (0.8, f"{dim} {len(curves) - 1}", colours[-1])):
            left.text(0.97, place, word, transform=left.transAxes, ha="right", color=colour)
        drawn = [
            draw_panel(axes, depth_series(select(flow, "condensation", quantity)), label)
            for axes, (_, quantity, label) in zip(others, totals, strict=True)
        ]
        panel_letters([left, *others])
        key(figure, drawn)
        return finished(figure)


def mean_information_curves(flow: RGFlow) -> np.ndarray:
    """D(m) / D(1) by state at m/N = 1/32, ..., 1, mean over prompts; NaN where no prompt has anything to lose."""
    arrays = node(flow, "condensation")
    depths = arrays.sizes[depth_dim(arrays)]
    rows = np.full((depths, len(flow.prompts), len(SHARES)), np.nan)
    for depth in range(depths):
        for prompt in range(len(flow.prompts)):
            if len(flow.recorded_tokens(prompt)) < 2:
                continue
            lost = flow.tree(prompt, depth).information
            if lost[0] > 0:
                rows[depth, prompt] = np.interp(SHARES, np.arange(1, len(lost) + 1) / len(lost), lost / lost[0])
    known = np.isfinite(rows).all(-1)
    return np.stack([
        row[here].mean(0) if here.any() else np.full(len(SHARES), np.nan) for row, here in zip(rows, known, strict=True)
    ])  # fmt: skip


def rate_distortion(curve: RateDistortion) -> Figure:
    """Distortion of the predictions against the number of meta-tokens, for the tree and its baselines (one column)."""
    clusters = curve.data["clusters"].values.astype(float)
    with paper_style():
        figure = paper_figure(SINGLE, 2.4)
        axes = figure.subplots()
        ends, every = {}, []
        for name in curve.partitions:
            word, colour = LOOKS.get(name, (paper_text(name.replace("_", " ")), NULL_COLOURS[2]))
            y = curve.distortion(name).astype(float)
            known = np.isfinite(y) & (y > FLOOR)
            if not known.any():
                continue
            single = known.sum() == 1
            look = {"marker": "o", "ls": ""} if single else {"ls": (0, (4, 2)) if name in BLIND else "-"}
            axes.plot(clusters[known], y[known], color=colour, lw=1.6 if name == "tree" else 0.9, **look)
            ends[word] = (float(y[known][-1]), colour)
            every.append(y[known])
        log_axis(axes, clusters.min() / 1.1, clusters.max() * 1.1, which="x")
        _distortion_axis(axes, np.concatenate(every) if every else np.empty(0))
        axes.set_xlabel("meta-tokens m (number)")
        axes.set_ylabel("distortion (nats per scored token)")
        label_ends(axes, ends)
        return finished(figure)


def faithfulness_by_depth(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Relative distortion by layer, a column of panels per model and a row per share of tokens kept (two columns wide).

    Args:
        rows: as `analyses/faithfulness.py` writes them: model, layer, share (one token in so many is kept), and relative:
            by partition, a distortion per text in units of merging everything into one mean.

    Raises:
        BadInput: rows of another form.
    """
    try:
        models = list(dict.fromkeys(str(row["model"]) for row in rows))
        shares = sorted({int(row["share"]) for row in rows})
        cells = {
            (str(row["model"]), int(row["share"]), int(row["layer"])): {
                str(name): np.asarray(values, dtype=float) for name, values in row["relative"].items()
            }
            for row in rows
        }
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(
            "faithfulness record", expected="rows with model, layer, share and relative",
            received=f"{type(error).__name__} {error}", remedy="pass what analyses/faithfulness.py wrote",
        ) from error  # fmt: skip
    with paper_style():
        figure = paper_figure(DOUBLE if len(models) > 1 else SINGLE, 0.5 + 1.75 * len(shares))
        panels = figure.subplots(len(shares), len(models), squeeze=False, sharey=True, sharex="col")
        for (row, column), axes in np.ndenumerate(panels):
            layers = sorted(layer for model, share, layer in cells if (model, share) == (models[column], shares[row]))
            chosen = {layer: cells[models[column], shares[row], layer] for layer in layers}
            ends = _by_layer(axes, chosen)
            axes.set_title(f"{paper_text(models[column], longest=24)}, 1/{shares[row]} kept")
            if row == len(shares) - 1:
                axes.set_xlabel("layer (input → output)")
            if column == 0:
                axes.set_ylabel("relative distortion\n(dimensionless)")
            if axes is panels[0, 0]:
                _distortion_axis(axes, _span(cells))
            if column == len(models) - 1:
                label_ends(axes, ends)
        panel_letters(list(panels.ravel()))
        return finished(figure)


def _span(cells: Mapping[Any, Mapping[str, np.ndarray]]) -> np.ndarray:
    """Smallest and largest mean of any cell, with room for the interval."""
    means = np.array([values.mean() for cell in cells.values() for values in cell.values()])
    return np.array([0.6 * means[means > 0].min(), 1.2 * means.max()]) if (means > 0).any() else np.empty(0)


def _by_layer(axes: Axes, cells: Mapping[int, Mapping[str, np.ndarray]]) -> dict[str, tuple[float, str]]:
    """Mean over texts of every partition at each layer; the tree with its bootstrap interval."""
    layers = sorted(cells)
    ends = {}
    for name, (word, colour) in LOOKS.items():
        if not all(name in cells[layer] for layer in layers):
            continue
        texts = np.stack([cells[layer][name] for layer in layers])
        mean = texts.mean(1)
        if name == "tree":
            draws = np.random.default_rng(0).integers(0, texts.shape[1], (1000, texts.shape[1]))
            low, high = np.quantile(texts[:, draws].mean(-1), [0.025, 0.975], axis=1)
            axes.fill_between(layers, low, high, color=colour, alpha=0.28, lw=0)
        style = (0, (4, 2)) if name in BLIND else "-"
        axes.plot(layers, mean, color=colour, ls=style, lw=1.6 if name == "tree" else 0.9, marker="o", ms=2.2)
        ends[word] = (float(mean[-1]), colour)
    axes.set_xticks(layers)
    return ends


def _distortion_axis(axes: Axes, values: np.ndarray) -> None:
    limits = value_limits(values, np.empty(0))
    if limits is not None and limits[0]:
        log_axis(axes, limits[1], limits[2])
