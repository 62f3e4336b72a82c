"""Explore condensation trees: the tree, the text it groups and how far apart its tokens are, linked row by row."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import plotly.graph_objects as go

from rgprobe.condensation import CondensationTree
from rgprobe.errors import OptionError
from rgprobe.plots.explorer_figure import sliding_figure
from rgprobe.plots.explorer_view import Source, View, checked, sources_of
from rgprobe.rg_flow import RGFlow

__all__ = ["explore", "first_depth", "views_at"]

BUDGETS = (0.05, 0.1, 0.25, 0.5)
Shown = RGFlow | CondensationTree | Sequence[RGFlow] | Sequence[CondensationTree] | Mapping[str, Any]


def explore(
    shown: Shown,
    *,
    prompt: int = 0,
    depth: int | tuple[int, ...] | None = None,
    budget: float = 0.25,
    collapse: bool = False,
    widget: bool | None = None,
    width: int = 1080,
) -> go.Figure | Any:
    """Explore the condensation trees of a result: choose prompt, depth and loss budget; hover for tokens, loss and support.

    On top stands the text, coloured by the clusters that a cut leaves; under it the tree and the matrix of Jeffreys
    divergences, whose rows are those of the tree, with the clusters outlined. Of trees alone the matrix says at which loss
    two tokens join. The loss axis is a square root: early merges lose little.

    In a notebook with ipywidgets and anywidget this is a widget: hovering a merge lights its tokens in the text and in the
    matrix, clicking it cuts there. Elsewhere it is a plain figure, with a slider for depth and a menu of budgets of its own.
    A cut is no finding: every set of beliefs has a tree, that of an untrained network too.

    Args:
        shown: a flow, a tree, a sequence of trees (one per depth), or a mapping of names to them: two flows stand side by
            side, at equal relative depth.
        prompt: index of the first prompt shown; the only one in a plain figure.
        depth: which depth first, counted from the input end; two thirds of the way by default. A tuple shows the same source
            at several depths side by side.
        budget: share of the loss at the root that the cut may lose, in [0, 1].
        collapse: draw each cluster as a box, without the merges in it.
        widget: insist on a widget, or on a plain figure.
        width: pixels.

    Returns:
        A plotly Figure, or an ipywidgets box that holds a FigureWidget.

    Raises:
        OptionError: no such prompt or depth, a budget out of range, a result without trees, or a widget where there are none.

    Example:
        >>> import numpy as np
        >>> from rgprobe.condensation import condense
        >>> rows = np.random.default_rng(0).dirichlet(np.ones(5), size=7)
        >>> figure = explore(condense(rows, labels=list("abcdefg")), budget=0.5, widget=False)
        >>> [button.label for button in figure.layout.updatemenus[0].buttons][:3]
        ['lose at most 5%', 'lose at most 10%', 'lose at most 25%']
    """
    sources = sources_of(shown)
    if not 0 <= budget <= 1:
        raise OptionError("budget", expected="a share in [0, 1]", received=f"{budget:g}", remedy="0.25 is the default")
    if isinstance(depth, tuple) and (len(sources) > 1 or not depth):
        raise OptionError("depth", expected="one depth, of several sources", received=str(depth),
                          remedy="compare depths of one source, or sources at one depth")  # fmt: skip
    for source in sources:
        checked("prompt", prompt, len(source.prompts))
    if _widgets_wanted(widget):
        build = import_module("rgprobe.plots.explorer_widgets").explorer_widget
        return build(sources, prompt=prompt, depth=depth, budget=budget, collapse=collapse, width=width)
    return _plain(sources, prompt, depth, budget, collapse, width)


def _widgets_wanted(asked: bool | None) -> bool:
    """Whether to make a widget: where one can be shown, unless told otherwise.

    Raises:
        OptionError: a widget is insisted on and what it needs is not installed.
    """
    missing = [name for name in ("ipywidgets", "anywidget") if find_spec(name) is None]
    if asked and missing:
        raise OptionError("widget", expected="ipywidgets and anywidget", received=f"no {' and no '.join(missing)}",
                          remedy="pip install 'rgprobe[notebooks]', or leave widget out")  # fmt: skip
    return bool(asked) or (asked is None and not missing and _in_a_kernel())


def _in_a_kernel() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


def _plain(
    sources: list[Source], prompt: int, depth: int | tuple[int, ...] | None, budget: float, collapse: bool, width: int
) -> go.Figure:
    budgets = sorted({*BUDGETS, budget})
    if isinstance(depth, tuple):
        views = [sources[0].view(prompt, each) for each in depth]
        depths, start = {"": views}, ""
    else:
        most = max(source.n_depths for source in sources)
        first = first_depth(most) if depth is None else depth
        checked("depth", first, most)
        depths = {str(step): views_at(sources, prompt, step, most) for step in range(most)}
        start = str(first)
    return sliding_figure(depths, start, budgets=budgets, budget=budget, collapse=collapse, width=width)


def first_depth(count: int) -> int:
    """Two thirds of the way from the input end.

    Example:
        >>> first_depth(7), first_depth(1)
        (4, 0)
    """
    return 2 * (count - 1) // 3


def views_at(sources: Sequence[Source], prompt: int, step: int, steps: int) -> list[View]:
    """One view per source, at equal relative depth."""
    last = max(steps - 1, 1)
    return [source.view(prompt, round(step * (source.n_depths - 1) / last)) for source in sources]
