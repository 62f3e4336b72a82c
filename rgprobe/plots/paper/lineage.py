"""Genealogy of clusters on paper: which meta-tokens persist, split, merge or mix from layer to layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path

from rgprobe.condensation.chance_agreement import AGREEMENTS, agreements, chance_agreement
from rgprobe.condensation.genealogy import KINDS, Genealogy, genealogy
from rgprobe.errors import OptionError
from rgprobe.plots.arrays import depth_dim, node
from rgprobe.plots.paper.series import LINE, depth_axis, label_ends, null_style
from rgprobe.plots.paper.style import (
    DOUBLE,
    FINE,
    GUIDE,
    INK,
    finished,
    panel_letters,
    paper_figure,
    paper_style,
    spread,
)
from rgprobe.plots.paper.tokens import paper_texts
from rgprobe.plots.style import MEASURED, SOURCES
from rgprobe.plots.tree_layout import leaf_order
from rgprobe.rg_flow import RGFlow

__all__ = ["BUDGET", "cluster_places", "cross_layer_genealogy", "shown_layers"]

BUDGET = 0.25  # share of the loss at the root
GAP = 0.35  # between bars, in units of a token's height
WIDTH = 0.011  # of a bar, as a share of the figure's layers
COLOURS = dict(zip(KINDS, ("#9aa3ad", SOURCES[1], SOURCES[0], "#d6c3d6"), strict=True))
MOST = 9  # layers in one figure
LONGEST = 30  # characters of a cluster's name
DRAWS = 40  # of each null; also said in the caption
NULLS = {"permuted": "tokens permuted", "shifted": "moved along the text"}


def cross_layer_genealogy(flow: RGFlow, *, prompt: int = 0, fraction: float = BUDGET) -> Figure:
    """Clusters of one prompt's tokens at every layer, as bars joined by the tokens that they share (two columns wide).

    Every tree is cut at the same share of its own loss at the root; bars are as high as the clusters have tokens. At most nine
    layers are drawn. Below, the adjusted Rand index of all adjacent layers, 1 for equal partitions, and 95% bands of what it
    is once the later layer's tokens were permuted, or moved along the text (`chance_agreement`).

    Args:
        flow: holds condensation trees.
        prompt: index of the prompt.
        fraction: of each tree's loss at its root, in [0, 1].

    Raises:
        OptionError: no such prompt, fewer than two tokens or two layers, or no trees.
    """
    arrays = node(flow, "condensation")
    dim = depth_dim(arrays)
    if not 0 <= prompt < len(flow.prompts) or len(flow.recorded_tokens(prompt)) < 2 or arrays.sizes[dim] < 2:
        raise OptionError("prompt", expected="a prompt of two recorded tokens or more, over two layers or more",
                          received=str(prompt), remedy="see flow.prompts")  # fmt: skip
    depths = np.arange(arrays.sizes[dim])
    trees = [flow.tree(prompt, depth) for depth in range(len(depths))]
    every_layer = genealogy(trees, fraction=fraction)
    shown = shown_layers(len(trees))
    found = genealogy([trees[layer] for layer in shown], fraction=fraction)
    with paper_style():
        figure = paper_figure(DOUBLE, min(max(1.6 + 0.1 * len(found.partitions[0]), 2.8), 4.8))
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(1.0, 0.3))
        _alluvium(top, found, shown)
        depth_axis(bottom, dim, depths, ticks=12)
        _agreement(bottom, every_layer, depths[:-1] + 0.5)
        _key(figure)
        panel_letters([top, bottom])
        return finished(figure)


def shown_layers(count: int) -> list[int]:
    """Up to nine layers, evenly spaced, the first and the last among them.

    Example:
        >>> shown_layers(4), len(shown_layers(31))
        ([0, 1, 2, 3], 9)
    """
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, MOST))})


def cluster_places(found: Genealogy) -> list[list[tuple[float, float]]]:
    """(top, bottom) of every cluster's bar at every layer, in tokens from the top.

    Clusters stand in the order of their tokens' mean place in the last tree, which keeps related ones close together.

    Example:
        >>> from rgprobe.condensation import condense
        >>> tree = condense(np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9]]))
        >>> cluster_places(genealogy([tree, tree], n_clusters=2))[0]
        [(0.0, 2.0), (2.35, 3.35)]
    """
    rank = np.empty(len(found.partitions[0]))
    rank[leaf_order(found.trees[-1])] = np.arange(len(rank))
    widest = max(int(labels.max()) for labels in found.partitions)
    places = []
    for labels in found.partitions:
        count = int(labels.max()) + 1
        order = sorted(range(count), key=lambda cluster: rank[labels == cluster].mean())
        at = 0.5 * GAP * (widest + 1 - count)
        bars = [(0.0, 0.0)] * count
        for cluster in order:
            size = float((labels == cluster).sum())
            bars[cluster] = (at, at + size)
            at += size + GAP
        places.append(bars)
    return places


def _agreement(axes: Axes, found: Genealogy, places: np.ndarray) -> None:
    """Adjusted Rand index of adjacent layers, over the bands of both nulls."""
    rand = AGREEMENTS.index("adjusted_rand")
    measured = agreements(found)[:, rand]
    axes.set_ylim(-0.3, 1.05)
    axes.set_yticks([0, 0.5, 1])
    axes.set_ylabel("adjusted Rand index\n(dimensionless)")
    axes.axhline(0, color=GUIDE, lw=0.6, zorder=0)
    ends = {"measured": (float(measured[-1]), MEASURED)}
    for index, (null, words) in enumerate(NULLS.items()):
        drawn = chance_agreement(found, null=null, draws=DRAWS)[..., rand]
        tint, dashes = null_style(index)
        axes.fill_between(places, *np.quantile(drawn, (0.025, 0.975), axis=0), color=tint, alpha=0.2, lw=0, zorder=1)
        axes.plot(places, drawn.mean(0), color=tint, ls=dashes, lw=0.9, zorder=2)
        ends[words] = (float(drawn[:, -1].mean()), tint)
    axes.plot(places, measured, color=MEASURED, marker="o")
    label_ends(axes, ends)


def _alluvium(axes: Axes, found: Genealogy, shown: Sequence[int]) -> None:
    places = cluster_places(found)
    width = WIDTH * shown[-1]
    for passage in range(len(found.passages)):
        ends = (shown[passage] + width / 2, shown[passage + 1] - width / 2)
        _links(axes, found, passage, places[passage], places[passage + 1], ends)
    for layer, bars in zip(shown, places, strict=True):
        for top, bottom in bars:
            axes.add_patch(Rectangle((layer - width / 2, top), width, bottom - top, fc=INK, lw=0, zorder=3))
    deepest = max(bottom for bars in places for _, bottom in bars)
    axes.set_ylim(deepest + GAP, -GAP)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="x", length=0, labelbottom=False)
    axes.set_ylabel(f"{len(found.partitions[0])} tokens, in clusters")
    _name(axes, found, places[-1], deepest)


def _links(
    axes: Axes,
    found: Genealogy,
    passage: int,
    before: Sequence[tuple[float, float]],
    after: Sequence[tuple[float, float]],
    ends: tuple[float, float],
) -> None:
    """Ribbons, coloured by what happens to the group of tokens that they belong to."""
    earlier, later = found.partitions[passage], found.partitions[passage + 1]
    left, right = [top for top, _ in before], [top for top, _ in after]
    kind = {token: event.kind for event in found.passages[passage].events for token in event.tokens}
    pairs = sorted({(int(a), int(b)) for a, b in zip(earlier, later, strict=True)},
                   key=lambda pair: (before[pair[0]][0], after[pair[1]][0]))  # fmt: skip
    starts = {}
    for a, b in pairs:
        starts[a, b] = left[a]
        left[a] += float(((earlier == a) & (later == b)).sum())
    for a, b in sorted(pairs, key=lambda pair: (after[pair[1]][0], before[pair[0]][0])):
        shared = (earlier == a) & (later == b)
        size = float(shared.sum())
        colour = COLOURS[kind[int(np.flatnonzero(shared)[0])]]
        axes.add_patch(_ribbon(*ends, starts[a, b], right[b], size, colour))
        right[b] += size


def _ribbon(x0: float, x1: float, y0: float, y1: float, size: float, colour: str) -> PathPatch:
    middle = (x0 + x1) / 2
    corners = [(x0, y0), (middle, y0), (middle, y1), (x1, y1), (x1, y1 + size), (middle, y1 + size), (middle, y0 + size),
               (x0, y0 + size), (x0, y0)]  # fmt: skip
    codes = [Path.MOVETO, *[Path.CURVE4] * 3, Path.LINETO, *[Path.CURVE4] * 3, Path.CLOSEPOLY]
    return PathPatch(Path(corners, codes), fc=colour, alpha=0.75, lw=0, zorder=2)


def _name(axes: Axes, found: Genealogy, bars: Sequence[tuple[float, float]], deepest: float) -> None:
    """The tokens of the last layer's clusters, beside their bars; the largest where there is no room for all."""
    labels = found.labels or tuple(str(token) for token in range(len(found.partitions[0])))
    tall = axes.get_window_extent().height / axes.figure.dpi * 72 * 0.8
    room = int(tall / LINE)
    largest = sorted(range(len(bars)), key=lambda cluster: bars[cluster][0] - bars[cluster][1])[:room]
    chosen = sorted(largest, key=lambda cluster: bars[cluster][0])
    span = deepest + 2 * GAP
    wanted = [(sum(bars[cluster]) / 2 + GAP) / span for cluster in chosen]
    places = spread(wanted, LINE / max(tall, 1.0))
    shift = min(0.0, 1.02 - places[-1])
    for cluster, place in zip(chosen, places, strict=True):
        words = " ".join(paper_texts(labels[token] for token in np.flatnonzero(found.partitions[-1] == cluster)))
        words = words if len(words) <= LONGEST else words[: LONGEST - 1] + "…"
        axes.annotate(words, (1.0, 1.0 - place - shift), xycoords="axes fraction", xytext=(2, 0), color=INK,
                      textcoords="offset points", fontsize=FINE, va="center", ha="left", annotation_clip=False)  # fmt: skip


def _key(figure: Figure) -> None:
    handles = [Rectangle((0, 0), 1, 1, fc=COLOURS[kind], alpha=0.75, lw=0) for kind in KINDS]
    figure.legend(handles, KINDS, loc="outside lower center", ncols=4, frameon=False, fontsize=FINE, borderaxespad=0.1,
                  handlelength=1.6)  # fmt: skip
