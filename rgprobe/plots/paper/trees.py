"""Trees on paper: the consensus matrix in the order of the condensation tree, and the genealogy of clusters across layers."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from rgprobe.errors import OptionError
from rgprobe.plots.arrays import depth_dim, node
from rgprobe.plots.consensus_matrix import consensus_matrix
from rgprobe.plots.paper.style import DOUBLE, FINE, INK, finished, paper_figure, paper_style
from rgprobe.plots.paper.tokens import every, paper_texts
from rgprobe.plots.scales import log_ticks
from rgprobe.plots.style import MEASURED, SEQUENTIAL
from rgprobe.plots.tree_layout import TreeLayout, tree_layout
from rgprobe.rg_flow import RGFlow

__all__ = ["consensus_tree", "middle_depth"]

DECADES = 1e-6  # identical beliefs are drawn at this fraction of the largest divergence
LEGIBLE = 44  # tokens named beside a figure of full height


def consensus_tree(flow: RGFlow, *, prompt: int = 0, state: int | None = None) -> Figure:
    """Jeffreys divergences between the tokens of one prompt, nats, in the order of their condensation tree (two columns).

    Args:
        flow: holds the diagnostics consensus and condensation.
        prompt: index of the prompt.
        state: 0 (input end) to L; the middle one by default. A block, for beliefs that live on blocks.

    Raises:
        OptionError: no such prompt or state, a single token, or one of the diagnostics is missing.
    """
    here = middle_depth(flow) if state is None else state
    matrix, _ = consensus_matrix(flow, prompt, here)
    if len(matrix) < 2:
        raise OptionError("prompt", expected="two recorded tokens or more", received=str(len(matrix)),
                          remedy="choose another prompt")  # fmt: skip
    layout = tree_layout(flow.tree(prompt, here))
    tokens = paper_texts(flow.recorded_tokens(prompt)[leaf] for leaf in layout.order)
    ordered, (low, high) = _between_tokens(matrix[np.ix_(layout.order, layout.order)])
    with paper_style():
        figure = paper_figure(DOUBLE, min(max(1.2 + 0.108 * len(tokens), 2.2), 4.6))
        left, right = figure.subplots(1, 2, width_ratios=(0.4, 1.0), sharey=True)
        _dendrogram(left, layout)
        mesh = right.pcolormesh(
            ordered, cmap=SEQUENTIAL.lower(), norm=LogNorm(low, high), edgecolors="white", linewidth=0.25
        )  # fmt: skip
        _frame(left, right, tokens)
        bar = figure.colorbar(mesh, ax=right, aspect=26, fraction=0.03, pad=0.01)
        ticks, words = log_ticks(low, high)
        bar.set_ticks([10**tick for tick in ticks], labels=words)
        bar.ax.minorticks_off()
        bar.outline.set_visible(False)
        bar.set_label("Jeffreys divergence (nats)")
        return finished(figure)


def middle_depth(flow: RGFlow) -> int:
    """The state, or block, half way between the ends."""
    arrays = node(flow, "consensus")
    return arrays.sizes[depth_dim(arrays)] // 2


def _between_tokens(matrix: np.ndarray) -> tuple[np.ma.MaskedArray, tuple[float, float]]:
    """The matrix without its diagonal, which is 0, and the ends of its colour scale; equal beliefs get the lower end."""
    outside = ~np.eye(len(matrix), dtype=bool)
    positive = matrix[outside & np.isfinite(matrix) & (matrix > 0)]
    high = float(positive.max()) if len(positive) else 1.0
    low = max(float(np.quantile(positive, 0.005)) if len(positive) else 0.0, high * DECADES)
    return np.ma.masked_where(~outside | ~np.isfinite(matrix), np.maximum(matrix, low)), (min(low, high / 2), high)


def _dendrogram(axes: Axes, layout: TreeLayout) -> None:
    for rows, heights in layout.forks:
        axes.plot(heights, np.asarray(rows) + 0.5, color=MEASURED, lw=0.8, solid_joinstyle="miter")
    top = float(layout.heights.max())
    axes.set_xlim(top * 1.03 if top > 0 else 1.0, 0.0)
    axes.set_xlabel("information lost so far\n(nats per token)")
    axes.spines["left"].set_visible(False)


def _frame(left: Axes, right: Axes, tokens: list[str]) -> None:
    """Token names on the right of the matrix, the same rows for the tree."""
    count = len(tokens)
    step = every(count, LEGIBLE)
    right.set_ylim(count, 0)
    left.tick_params(axis="y", left=False, labelleft=False)
    right.yaxis.set_ticks_position("right")
    right.set_yticks(np.arange(0, count, step) + 0.5, labels=tokens[::step])
    right.tick_params(axis="y", length=0, labelleft=False, labelright=True, labelsize=FINE, labelcolor=INK, pad=1.5)
    right.set_xticks([])
    right.spines[:].set_visible(False)
    right.set_xlabel("token, in the order of the rows")
