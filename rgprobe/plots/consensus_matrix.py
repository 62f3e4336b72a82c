"""How far apart the beliefs of the tokens of one prompt are, pair by pair."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from rgprobe.errors import OptionError
from rgprobe.flow import RGFlow
from rgprobe.plots.arrays import node
from rgprobe.plots.style import SEQUENTIAL, new_figure
from rgprobe.plots.tokens import figure_texts

__all__ = ["consensus"]


def consensus(flow: RGFlow, prompt: int = 0, state: int = 0) -> go.Figure:
    """Draw the Jeffreys divergence KL(p || q) + KL(q || p) of each pair of recorded tokens, nats, at one state.

    The colour scale is common to all states of the prompt, so that states can be compared.

    Args:
        flow: an `RGFlow`.
        prompt: index of the prompt.
        state: 0 (input end) to L (output end).

    Raises:
        OptionError: no such prompt or state, or the flow holds no consensus matrices.
    """
    matrices = node(flow, "consensus")["jeffreys"]
    _check("prompt", prompt, matrices.sizes["prompt"])
    _check("state", state, matrices.sizes["state"])
    here = matrices.isel(prompt=prompt)
    tokens = figure_texts(flow.recorded_tokens(prompt))
    count = len(tokens)
    ticks = {"tickvals": list(range(count)), "ticktext": tokens, "showgrid": False, "tickfont": {"size": 10}}
    labels = [[f"{row} / {column}" for column in tokens] for row in tokens]
    z = here.isel(state=state).values.astype(float)[:count, :count]
    figure = new_figure(height=max(320, min(760, 150 + 18 * count)))
    figure.add_trace(
        go.Heatmap(z=z, customdata=labels, coloraxis="coloraxis", xgap=0.5, ygap=0.5,
                   hovertemplate="%{customdata}<br>%{z:.4g} nats<extra></extra>")
    )  # fmt: skip
    figure.update_xaxes(title="token", tickangle=-60, **ticks)
    figure.update_yaxes(title="token", autorange="reversed", **ticks)
    top = float(np.nanmax(here.values)) if np.isfinite(here.values).any() else 1.0
    bar = {"title": {"text": "Jeffreys (nats)", "side": "right"}}
    figure.update_layout(coloraxis={"colorscale": SEQUENTIAL, "cmin": 0.0, "cmax": top, "colorbar": bar})
    return figure


def _check(name: str, index: int, count: int) -> None:
    if not 0 <= index < count:
        raise OptionError(name, expected=f"0 to {count - 1}", received=str(index), remedy="see flow.to_xarray()")
