"""The traces of one view of the explorer: text, tree and matrix, all coloured by the same clusters."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from rgprobe.plots.explorer_view import LABEL, View
from rgprobe.plots.style import shade
from rgprobe.plots.tokens import figure_text, readable

__all__ = ["Panel", "lit_block", "loss_ticks", "matrix_trace", "text_places", "view_traces"]

# Okabe and Ito's hues and five more, as the report colours its clusters; a token that stands alone stays grey.
HUES = ("#2b7bba", "#d1662c", "#16907a", "#b0609a", "#8c7a1f", "#7467c4", "#c2465a", "#4f8f2f", "#7d7468", "#1c93a8")
ALONE, UNRECORDED, BRANCH, CUT = "#868b93", "#a9adb3", "#868b93", "#c2465a"
MONO = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"


@dataclass(frozen=True)
class Panel:
    """Axes of a view (``x2``, ``y2`` and so on), and the width of its text in characters."""

    text: tuple[str, str]
    tree: tuple[str, str]
    matrix: tuple[str, str]
    columns: int


def view_traces(view: View, panel: Panel, *, budget: float, collapse: bool) -> list[go.Scatter | go.Bar]:
    """Text, boxes of clusters, branches, leaves, merges, cut, outlines in the matrix: always these seven, in this order.

    Args:
        view: what is shown.
        panel: where.
        budget: share of the loss at the root that the cut may lose.
        collapse: leave out what lies below the cut.
    """
    clusters = view.clusters(budget)
    colours = _colours(view, clusters)
    text = {"xaxis": panel.text[0], "yaxis": panel.text[1]}
    tree = {"xaxis": panel.tree[0], "yaxis": panel.tree[1]}
    matrix = {"xaxis": panel.matrix[0], "yaxis": panel.matrix[1]}
    at = _along(view, budget * view.total)
    rows = [-0.5, view.tree.n_leaves - 0.5]
    return [
        _text(view, panel.columns, clusters, colours).update(text),
        _boxes(view, clusters).update(tree),
        _branches(view, clusters, collapse).update(tree),
        _leaves(view, colours).update(tree),
        _merges(view, clusters, collapse).update(tree),
        go.Scatter(x=[at, at], y=rows, mode="lines", line={"color": CUT, "width": 1.5, "dash": "dash"},
                   hovertemplate=f"cut at {budget * view.total:.3g} nats per token<extra></extra>").update(tree),
        go.Scatter(**_outlines(view, [int(k) for k in clusters if view.table.support[k] > 1]), mode="lines", hoverinfo="skip",
                   line={"color": "#ffffff", "width": 1.6}).update(matrix),
    ]  # fmt: skip


def text_places(tokens: Sequence[str], columns: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Column, line and shown text of each token of a text broken into lines of so many characters.

    Example:
        >>> column, line, shown = text_places(("To", " be", ",", " or"), columns=6)
        >>> column.tolist(), line.tolist(), shown
        ([0.0, 3.0, 5.0, 0.0], [0.0, 0.0, 0.0, 1.0], ['To', 'be', ',', 'or'])
    """
    column, line, at, row, shown = [], [], 0, 0, []
    for index, token in enumerate(tokens):
        spaced = index > 0 and token.startswith(" ") and bool(token.strip(" "))
        word = readable(token, longest=columns)
        width = sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in word)
        at += spaced
        if at and at + width > columns:
            at, row = 0, row + 1
        column.append(at)
        line.append(row)
        shown.append(word)
        at += width
    return np.array(column, dtype=float), np.array(line, dtype=float), shown


def loss_ticks(total: float) -> tuple[list[float], list[str]]:
    """Ticks of the square-root axis: on a linear one early merges, which lose little, would all sit on its edge."""
    shares = (0, 0.05, 0.25, 0.5, 1)
    return [float(np.sqrt(share)) for share in shares], [f"{share * total:.2g}" for share in shares]


def lit_block(view: View, chosen: int | None) -> dict[str, list[float | None]]:
    """Outline in the matrix of the tokens below one node, nothing for None."""
    return _outlines(view, [] if chosen is None else [chosen])


def _along(view: View, loss: float | np.ndarray) -> float | np.ndarray:
    return np.sqrt(loss / view.total) if view.total > 0 else 0.0 * loss


def _colours(view: View, clusters: np.ndarray) -> list[str]:
    """Colour of each token: its cluster's, by the place of the cluster's first token in the text."""
    shared = sorted((k for k in clusters if view.table.support[k] > 1), key=lambda k: view.table.leaves[k][0])
    colours = [ALONE] * view.tree.n_leaves
    for index, k in enumerate(shared):
        for leaf in view.table.leaves[k]:
            colours[leaf] = HUES[index % len(HUES)]
    return colours


def _text(view: View, columns: int, clusters: np.ndarray, colours: list[str]) -> go.Scatter:
    x, y, shown = text_places(view.tokens, columns)
    leaf_at = {row[0]: leaf for leaf, row in enumerate(view.table.positions[: view.tree.n_leaves])}
    owner = {leaf: int(k) for k in clusters for leaf in view.table.leaves[k]}
    texts = view.hover
    ink, said = [], []
    for position in range(len(shown)):
        leaf = leaf_at.get(position)
        ink.append(UNRECORDED if leaf is None else colours[leaf])
        said.append("not recorded" if leaf is None else f"position {position}, its cluster:<br>{texts[owner[leaf]]}")
    return go.Scatter(
        x=x, y=y, text=[figure_text(word, longest=columns) for word in shown], mode="text", textposition="middle right",
        textfont={"color": ink, "size": 14, "family": MONO}, customdata=said, hovertemplate="%{customdata}<extra></extra>",
        unselected={"textfont": {"color": shade(UNRECORDED, 0.35)}},
    )  # fmt: skip


def _boxes(view: View, clusters: np.ndarray) -> go.Bar:
    """A box over the rows of each cluster, as long as what it took to make it."""
    shared = [int(k) for k in clusters if view.table.support[k] > 1]
    tokens = _colours(view, clusters)
    row_of = {leaf: row for row, leaf in enumerate(view.layout.order)}
    rows = [[row_of[leaf] for leaf in view.table.leaves[k]] for k in shared]
    hues = [tokens[view.table.leaves[k][0]] for k in shared]
    texts = view.hover
    return go.Bar(
        x=[_along(view, view.table.height[k]) for k in shared], y=[(min(r) + max(r)) / 2 for r in rows],
        width=[max(r) - min(r) + 0.86 for r in rows], orientation="h", base=0,
        marker={"color": [shade(hue, 0.22) for hue in hues], "line": {"color": hues, "width": 1.4}},
        customdata=[texts[k] for k in shared], hovertemplate="%{customdata}<extra></extra>",
    )  # fmt: skip


def _branches(view: View, clusters: np.ndarray, collapse: bool) -> go.Scatter:
    within = _within(view, clusters)
    x: list[float | None] = []
    y: list[float | None] = []
    for k, (across, along) in enumerate(view.layout.forks):
        if not (collapse and view.tree.n_leaves + k in within):
            x += [*(float(_along(view, each)) for each in along), None]
            y += [*across, None]
    return go.Scatter(x=x, y=y, mode="lines", line={"color": BRANCH, "width": 1.4}, hoverinfo="skip")


def _leaves(view: View, colours: list[str]) -> go.Scatter:
    order, n = view.layout.order, view.tree.n_leaves
    labels = view.tree.labels or tuple(str(leaf) for leaf in range(n))
    return go.Scatter(
        x=[-0.015] * n, y=list(range(n)), text=[figure_text(labels[leaf], longest=LABEL) for leaf in order], mode="text",
        textposition="middle left", textfont={"color": [colours[leaf] for leaf in order], "size": 12}, hoverinfo="skip",
        cliponaxis=False,
    )  # fmt: skip


def _merges(view: View, clusters: np.ndarray, collapse: bool) -> go.Scatter:
    n, within = view.tree.n_leaves, _within(view, clusters)
    shown = [k for k in range(n, 2 * n - 1) if not (collapse and k in within) or k in clusters]
    texts = view.hover
    return go.Scatter(
        x=[float(_along(view, view.table.height[k])) for k in shown], y=[float(view.layout.rows[k]) for k in shown],
        mode="markers", marker={"color": BRANCH, "size": 7}, customdata=[[texts[k], k] for k in shown],
        hovertemplate="%{customdata[0]}<extra></extra>",
    )  # fmt: skip


def _within(view: View, clusters: np.ndarray) -> set[int]:
    """Merges at or below the cut."""
    n = view.tree.n_leaves
    return set(range(n, 2 * n - len(clusters)))


def matrix_trace(view: View, panel: Panel) -> go.Heatmap:
    """The matrix in the order of the tree's leaves, so that its rows are those of the tree; no cut changes it."""
    order, n = list(view.layout.order), view.tree.n_leaves
    names = [figure_text(view.table.text[leaf], longest=LABEL) for leaf in order]
    values = view.matrix[np.ix_(order, order)].astype(float)
    low, high = view.limits
    said = [[f"{a} / {b}<br>{value:.3g} nats" for b, value in zip(names, row, strict=True)]
            for a, row in zip(names, values, strict=True)]  # fmt: skip
    return go.Heatmap(
        x=list(range(n)), y=list(range(n)), z=np.round(np.log10(np.maximum(values, low)), 4), customdata=said,
        zmin=float(np.log10(low)), zmax=float(np.log10(high)), colorscale="Cividis", showscale=False,
        hovertemplate="%{customdata}<extra></extra>", xaxis=panel.matrix[0], yaxis=panel.matrix[1],
    )  # fmt: skip


def _outlines(view: View, nodes: Sequence[int]) -> dict[str, list[float | None]]:
    row_of = {leaf: row for row, leaf in enumerate(view.layout.order)}
    x: list[float | None] = []
    y: list[float | None] = []
    for k in nodes:
        rows = [row_of[leaf] for leaf in view.table.leaves[k]]
        low, high = min(rows) - 0.5, max(rows) + 0.5
        x += [low, high, high, low, low, None]
        y += [low, low, high, high, low, None]
    return {"x": x, "y": y}
