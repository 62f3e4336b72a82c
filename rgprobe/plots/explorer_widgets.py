"""The explorer with controls that call Python: prompt, depths, loss budget, and merges that answer to pointer and click."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import plotly.graph_objects as go

from rgprobe.plots.explorer import first_depth, views_at
from rgprobe.plots.explorer_figure import PER_BUDGET, explorer_figure, figure_layout, panels
from rgprobe.plots.explorer_traces import lit_block, matrix_trace, view_traces
from rgprobe.plots.explorer_view import Source, View, checked
from rgprobe.plots.tokens import readable

__all__ = ["Explorer", "explorer_widget"]

TEXT, MERGES = 0, 4  # places among the traces of a view
LIT = "#c2465a"


def explorer_widget(
    sources: Sequence[Source],
    *,
    prompt: int,
    depth: int | tuple[int, ...] | None,
    budget: float,
    collapse: bool,
    width: int,
) -> Any:
    """An ipywidgets box with the controls and the figure; arguments as for `rgprobe.plots.explore`."""
    return Explorer(sources, prompt=prompt, depth=depth, budget=budget, collapse=collapse, width=width).box


class Explorer:
    """Controls, figure, and what keeps them together.

    Attributes:
        box: what a notebook displays.
        figure: the FigureWidget.
        prompt: dropdown of prompts.
        depths: a slider per view of one source, else a single one.
        budget: slider of the share of the loss that the cut may lose.
        collapse: check box.
    """

    def __init__(
        self, sources: Sequence[Source], *, prompt: int, depth: int | tuple[int, ...] | None, budget: float, collapse: bool,
        width: int,
    ) -> None:  # fmt: skip
        widgets = import_module("ipywidgets")
        self._sources, self._width = sources, width
        self._steps = max(source.n_depths for source in sources)
        starts = depth if isinstance(depth, tuple) else (first_depth(self._steps) if depth is None else depth,)
        for start in starts:
            checked("depth", start, self._steps)
        long = {"continuous_update": False, "layout": {"width": "320px"}, "style": {"description_width": "initial"}}
        texts = [(f"{index + 1}. {readable(text, longest=70)}", index) for index, text in enumerate(sources[0].prompts)]
        self.prompt = widgets.Dropdown(options=texts, value=prompt, description="prompt", layout={"width": "640px"})
        name = sources[0].depth_name
        self.depths = [
            widgets.IntSlider(value=start, min=0, max=self._steps - 1, description=name, **long) for start in starts
        ]
        self.budget = widgets.FloatSlider(value=budget, min=0, max=1, step=0.01, readout_format=".0%",
                                          description="loss budget", **long)  # fmt: skip
        self.collapse = widgets.Checkbox(value=collapse, description="collapse below the cut", indent=False)
        self._views = self._chosen()
        self.figure = go.FigureWidget(self._drawn())
        self._listen()
        rows = [widgets.HBox([self.prompt, self.collapse]), widgets.HBox([*self.depths, self.budget])]
        self.box = widgets.VBox([*rows, self.figure])

    def _chosen(self) -> list[View]:
        prompt = self.prompt.value
        if len(self._sources) > 1:
            return views_at(self._sources, prompt, self.depths[0].value, self._steps)
        return [self._sources[0].view(prompt, slider.value) for slider in self.depths]

    def _drawn(self) -> go.Figure:
        options = {"budget": self.budget.value, "collapse": self.collapse.value, "width": self._width}
        figure = explorer_figure(self._views, **options)
        for panel in panels(self._views, self._width):
            figure.add_trace(go.Scatter(x=[], y=[], mode="lines", line={"color": LIT, "width": 3}, hoverinfo="skip",
                                        xaxis=panel.matrix[0], yaxis=panel.matrix[1]))  # fmt: skip
        return figure

    def _listen(self) -> None:
        for control in (self.prompt, *self.depths, self.budget, self.collapse):
            control.observe(self._redraw, names="value")
        for v in range(len(self._views)):
            merges = self._trace(v, MERGES)
            merges.on_hover(lambda trace, points, _, v=v: self.light(v, points.point_inds))
            merges.on_unhover(lambda trace, points, _, v=v: self.light(v, ()))
            merges.on_click(lambda trace, points, _, v=v: self.cut_at(v, points.point_inds))

    def _trace(self, v: int, place: int) -> Any:
        """Matrices come first, then the traces of each view, then what is lit in each."""
        return self.figure.data[len(self._views) + v * PER_BUDGET + place]

    def _lit(self, v: int) -> Any:
        return self.figure.data[(1 + PER_BUDGET) * len(self._views) + v]

    def _redraw(self, _: object = None) -> None:
        self._views = self._chosen()
        options = {"budget": self.budget.value, "collapse": self.collapse.value}
        placed = panels(self._views, self._width)
        with self.figure.batch_update():
            for v, (view, panel) in enumerate(zip(self._views, placed, strict=True)):
                self.figure.data[v].update(matrix_trace(view, panel).to_plotly_json())
                for place, trace in enumerate(view_traces(view, panel, **options)):
                    self._trace(v, place).update(trace.to_plotly_json())
                self._trace(v, TEXT).selectedpoints = None
                self._lit(v).update(lit_block(view, None))
            self.figure.update_layout(figure_layout(self._views, self._width))

    def node(self, v: int, points: Sequence[int]) -> int | None:
        """Node of the tree under the pointer, by the place of its dot among the merges drawn."""
        return int(self._trace(v, MERGES).customdata[points[0]][1]) if points else None

    def light(self, v: int, points: Sequence[int]) -> None:
        """Light the tokens below a merge in the text and in the matrix; none without points."""
        view, chosen = self._views[v], self.node(v, points)
        with self.figure.batch_update():
            self._trace(v, TEXT).selectedpoints = None if chosen is None else list(view.table.positions[chosen])
            self._lit(v).update(lit_block(view, chosen))

    def cut_at(self, v: int, points: Sequence[int]) -> None:
        """Set the budget to the least per cent at which this merge is made."""
        view, chosen = self._views[v], self.node(v, points)
        if chosen is not None and view.total > 0:
            percent = math.ceil(round(100 * view.table.height[chosen] / view.total, 9))
            self.budget.value = min(1.0, percent / 100)
