"""How many hypotheses about the next token are left, layer by layer."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from rgprobe.plots.arrays import Flows, items, named_flows, node
from rgprobe.plots.depth import flow_over_depth
from rgprobe.plots.style import template

__all__ = ["elimination"]

PANELS = ("kl_to_output", "entropy")


def elimination(flows: Flows) -> go.Figure:
    """Draw the divergence from the final prediction, KL(p_L || p_l), over the entropy of the prediction, both in bits.

    Entropy alone is the wrong test (it can rise with depth in a net that is close to the exact posterior), so the two
    share a depth axis. Nulls and intervals are those of `flow_over_depth`.

    Raises:
        OptionError: a flow holds no elimination curves.
    """
    named = named_flows(flows)
    held = np.intersect1d(PANELS, items(node(next(iter(named.values())), "elimination"), "quantity"))
    panels = [quantity for quantity in PANELS if quantity in held]
    figure = make_subplots(rows=len(panels), cols=1, shared_xaxes=True, vertical_spacing=0.09)
    for row, quantity in enumerate(panels, start=1):
        single = flow_over_depth(named, "elimination", quantity)
        for trace in single.data:
            trace.update(showlegend=bool(row == 1 and trace.showlegend is not False))
            figure.add_trace(trace, row=row, col=1)
        figure.update_yaxes(**{**single.layout.yaxis.to_plotly_json(), "rangemode": "tozero"}, row=row, col=1)
        axis = single.layout.xaxis.to_plotly_json()
        figure.update_xaxes(**(axis if row == len(panels) else {**axis, "title": None}), row=row, col=1)
    figure.update_layout(template=template(), height=250 * len(panels))
    return figure
