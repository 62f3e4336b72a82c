"""A condensation tree with its tokens as leaves."""

from __future__ import annotations

import plotly.graph_objects as go

from rgprobe.condensation import CondensationTree
from rgprobe.plots.style import MEASURED, new_figure
from rgprobe.plots.tokens import figure_text
from rgprobe.plots.tree_layout import leaf_order, tree_layout

__all__ = ["leaf_order", "tree"]

NAMED_TOKENS = 8  # tokens listed in a hover box


def tree(tree: CondensationTree) -> go.Figure:
    """Draw a condensation tree: tokens on the left, cumulative loss in nats to the right, a dot for each merge.

    Hovering a dot shows the tokens below it, the loss of that merge, the loss so far, and the support (tokens, weight).

    Args:
        tree: what `rgprobe.condense` or `RGFlow.tree` gave.

    Example:
        >>> import numpy as np
        >>> from rgprobe.condensation import condense
        >>> figure = globals()["tree"](condense(np.array([[0.8, 0.2], [0.7, 0.3], [0.1, 0.9]])))
        >>> figure.layout.xaxis.title.text
        'information lost so far (nats per token)'
    """
    n = tree.n_leaves
    labels = [figure_text(label) for label in tree.labels or [str(leaf) for leaf in range(n)]]
    layout = tree_layout(tree)
    rows, heights, order = layout.rows, layout.heights, layout.order
    x: list[float | None] = []
    y: list[float | None] = []
    for across, along in layout.forks:
        x += [*along, None]
        y += [*across, None]
    figure = new_figure(height=max(240, 90 + 20 * n))
    figure.add_trace(
        go.Scatter(x=x, y=y, mode="lines", line={"color": MEASURED, "width": 1.5}, hoverinfo="skip", name="merges")
    )
    figure.add_trace(
        go.Scatter(x=heights[n:], y=rows[n:], mode="markers", marker={"color": MEASURED, "size": 7}, name="clusters",
                   customdata=_hover(tree, labels), hovertemplate="%{customdata}<extra></extra>")
    )  # fmt: skip
    figure.update_xaxes(title="information lost so far (nats per token)", rangemode="tozero", showgrid=True)
    figure.update_yaxes(title="token", tickvals=list(range(n)), ticktext=[labels[leaf] for leaf in order], showgrid=False,
                        range=[n - 0.5, -0.5])  # fmt: skip
    figure.update_layout(showlegend=False)
    return figure


def _hover(tree: CondensationTree, labels: list[str]) -> list[str]:
    lines = []
    for k, cost in enumerate(tree.merge_costs):
        leaves = tree.leaves(tree.n_leaves + k)
        shown = ", ".join(labels[leaf] for leaf in leaves[:NAMED_TOKENS]) + (
            ", …" if len(leaves) > NAMED_TOKENS else ""
        )
        support = f"support {len(leaves)} of {tree.n_leaves} tokens, weight {tree.weights[leaves].sum():.3g}"
        lines.append(f"{shown}<br>this merge loses {cost:.3g} nats<br>so far {tree.heights[k]:.3g} nats<br>{support}")
    return lines
