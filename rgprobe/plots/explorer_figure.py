"""Views of the explorer in one figure: text on top, tree and matrix under it row by row, several views side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from rgprobe.plots.explorer_traces import Panel, loss_ticks, matrix_trace, text_places, view_traces
from rgprobe.plots.explorer_view import View
from rgprobe.plots.scales import log_ticks
from rgprobe.plots.style import MEASURED, new_figure
from rgprobe.plots.tokens import figure_text

__all__ = ["PER_BUDGET", "explorer_figure", "figure_layout", "panels", "sliding_figure"]

CHARACTER, LINE, ROW = 8.6, 24, 20  # pixels
TOP, GAP, FOOT, GUTTER, MENU, SLIDER = 44, 34, 76, 34, 28, 50
TREE_SHARE, MATRIX_FROM = 0.56, 0.60  # of the width of a view
NAMES = 0.34  # room for the names of tokens, left of the tree, in units of its loss axis
PER_BUDGET = 7  # traces of a view that depend on the cut


def panels(views: Sequence[View], width: int) -> list[Panel]:
    """Axes of each view, in the order text, tree, matrix."""
    columns = max(12, int((width - 40 - GUTTER * (len(views) - 1)) / len(views) / CHARACTER))
    pairs = [[(f"x{suffix}", f"y{suffix}") for suffix in _axis_suffixes(v)] for v in range(len(views))]
    return [Panel(text, tree, matrix, columns) for text, tree, matrix in pairs]


def _axis_suffixes(view: int) -> list[str]:
    """Numbers of a view's axes, in the order text, tree, matrix; plotly calls its first axes x and y without one."""
    return ["" if number == 1 else str(number) for number in range(3 * view + 1, 3 * view + 4)]


def explorer_figure(views: Sequence[View], *, budget: float, collapse: bool, width: int) -> go.Figure:
    """One state of the explorer, without controls: a matrix has its hover text, a node its tokens, loss and support.

    Args:
        views: from left to right.
        budget: share of each tree's loss.
        collapse: leave out what lies below the cut.
        width: pixels.
    """
    placed = panels(views, width)
    figure = new_figure()
    figure.add_traces([*_matrices(views, placed), *_traces(views, placed, budget, collapse)])
    return figure.update_layout(figure_layout(views, width))


def sliding_figure(
    depths: Mapping[str, Sequence[View]],
    start: str,
    *,
    budgets: Sequence[float],
    budget: float,
    collapse: bool,
    width: int,
) -> go.Figure:
    """The explorer as a plain figure: a slider for depth and a menu of loss budgets, both without Python.

    The traces of every budget are there and one set of them is visible; a frame changes the data of all sets, so that
    the two controls do not disturb each other.

    Args:
        depths: views by the label of the slider's step.
        start: the label that is shown first.
        budgets: shares of each tree's loss, on the menu.
        budget: which of them is shown first.
        collapse: leave out what lies below the cut.
        width: pixels.
    """
    views = depths[start]
    placed = panels(views, width)
    frames = []
    for label, each in depths.items():
        data = [trace for share in budgets for trace in _traces(each, placed, share, collapse)]
        frames.append({"name": label, "data": [*_matrices(each, placed), *data], "layout": _titles(each, width)})
    figure = new_figure()
    figure.add_traces(next(frame["data"] for frame in frames if frame["name"] == start))
    if len(frames) > 1:
        figure.frames = frames
    for index, trace in enumerate(figure.data[len(views) :]):
        trace.visible = budgets[index // (PER_BUDGET * len(views))] == budget
    figure.update_layout(figure_layout(views, width))
    return _controlled(figure, list(depths), start, budgets, budget, len(views))


def figure_layout(views: Sequence[View], width: int) -> dict[str, Any]:
    """Size, domains and titles; the same for all depths of a text."""
    columns = panels(views, width)[0].columns
    lines = max(int(text_places(view.tokens, columns)[1].max(initial=0)) + 1 for view in views)
    rows = max(240, ROW * max(view.tree.n_leaves for view in views))
    inner = lines * LINE + GAP + rows
    layout: dict[str, Any] = {
        "width": width, "height": inner + TOP + FOOT, "showlegend": False, "barmode": "overlay", "hovermode": "closest",
        "margin": {"l": 20, "r": 20, "t": TOP, "b": FOOT}, **_titles(views, width),
    }  # fmt: skip
    tree_top = rows / inner
    for v, (view, (left, right)) in enumerate(zip(views, _spans(len(views), width), strict=True)):
        n, span = view.tree.n_leaves, right - left
        text, tree, matrix = _axis_suffixes(v)
        bare = {"visible": False, "fixedrange": True}
        across = {"showgrid": False, "showticklabels": False, "ticks": "", "range": [n - 0.5, -0.5]}
        layout |= {
            f"xaxis{text}": {"domain": [left, right], "anchor": f"y{text}", "range": [0, columns], **bare},
            f"yaxis{text}": {"domain": [1 - lines * LINE / inner, 1], "anchor": f"x{text}", "range": [lines - 0.5, -0.5],
                             **bare},
            f"xaxis{tree}": {"domain": [left, left + TREE_SHARE * span], "anchor": f"y{tree}", "range": [-NAMES, 1.04],
                             "showgrid": True},
            f"yaxis{tree}": {"domain": [0, tree_top], "anchor": f"x{tree}", **across},
            f"xaxis{matrix}": {"domain": [left + MATRIX_FROM * span, right], "anchor": f"y{matrix}", "showgrid": False,
                               "showticklabels": False, "ticks": "", "range": [-0.5, n - 0.5]},
            f"yaxis{matrix}": {"domain": [0, tree_top], "anchor": f"x{matrix}", **across, "matches": f"y{tree}"},
        }  # fmt: skip
        _merge(layout, _loss_axis(view, tree, matrix))
    return layout


def _loss_axis(view: View, tree: str, matrix: str) -> dict[str, dict[str, Any]]:
    """What of the axes changes with depth: the ends of the loss axis."""
    ticks, texts = loss_ticks(view.total)
    low, high = view.limits
    _, marks = log_ticks(low, high)
    reach = f"{marks[0]} to {marks[-1]}" if marks else f"{low:.2g} to {high:.2g}"
    return {
        f"xaxis{tree}": {"tickvals": ticks, "ticktext": texts,
                         "title": {"text": "lost so far (nats per token, √)", "standoff": 6, "font": {"size": 11}}},
        f"xaxis{matrix}": {"title": {"text": f"{view.matrix_title}<br>{reach}, dark: alike", "standoff": 6,
                                     "font": {"size": 11}}},
    }  # fmt: skip


def _titles(views: Sequence[View], width: int) -> dict[str, Any]:
    layout: dict[str, Any] = {"annotations": []}
    for v, (view, (left, _)) in enumerate(zip(views, _spans(len(views), width), strict=True)):
        layout["annotations"].append({
            "text": f"<b>{figure_text(view.title, longest=60)}</b>", "x": left, "xref": "paper", "y": 1, "yref": "paper",
            "yshift": 10, "xanchor": "left", "yanchor": "bottom", "showarrow": False, "font": {"size": 14},
        })  # fmt: skip
        _merge(layout, _loss_axis(view, str(3 * v + 2), str(3 * v + 3)))
    return layout


def _spans(count: int, width: int) -> list[tuple[float, float]]:
    gap = GUTTER / (width - 40)
    share = (1 - gap * (count - 1)) / count
    return [(v * (share + gap), v * (share + gap) + share) for v in range(count)]


def _merge(layout: dict[str, Any], more: Mapping[str, dict[str, Any]]) -> None:
    for name, settings in more.items():
        layout[name] = {**layout.get(name, {}), **settings}


def _traces(views: Sequence[View], placed: Sequence[Panel], budget: float, collapse: bool) -> list[Any]:
    pairs = zip(views, placed, strict=True)
    return [trace for view, panel in pairs for trace in view_traces(view, panel, budget=budget, collapse=collapse)]


def _matrices(views: Sequence[View], placed: Sequence[Panel]) -> list[go.Heatmap]:
    return [matrix_trace(view, panel) for view, panel in zip(views, placed, strict=True)]


def _controlled(
    figure: go.Figure, labels: list[str], start: str, budgets: Sequence[float], budget: float, n_views: int
) -> go.Figure:
    each = PER_BUDGET * n_views
    visible = [
        [*[True] * n_views, *np.repeat(np.arange(len(budgets)) == k, each).tolist()] for k in range(len(budgets))
    ]
    menu = {
        "buttons": [{"label": f"lose at most {share:.0%}", "method": "restyle", "args": [{"visible": shown}]}
                    for share, shown in zip(budgets, visible, strict=True)],
        "active": list(budgets).index(budget), "x": 1, "xanchor": "right", "y": 1, "yanchor": "bottom", "pad": {"b": 6},
        "direction": "down", "showactive": True,
    }  # fmt: skip
    now = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}
    slider = {
        "active": labels.index(start), "pad": {"t": 66}, "currentvalue": {"prefix": "depth ", "font": {"size": 13}},
        "activebgcolor": MEASURED,
        "steps": [{"label": label, "method": "animate", "args": [[label], now]} for label in labels],
    }  # fmt: skip
    # the menu stands above the text, and below the buttons that plotly shows on hover
    figure.update_layout(updatemenus=[menu], margin_t=TOP + MENU, height=figure.layout.height + MENU)
    if len(labels) > 1:
        figure.update_layout(sliders=[slider], height=figure.layout.height + SLIDER, margin_b=FOOT + SLIDER)
    return figure
