"""How far apart the beliefs of the tokens of one prompt are, pair by pair."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from rgprobe.checks import whole_number
from rgprobe.plots.arrays import node
from rgprobe.plots.scales import log_ticks
from rgprobe.plots.style import SEQUENTIAL, new_figure
from rgprobe.plots.tokens import figure_texts
from rgprobe.rg_flow import RGFlow

__all__ = ["consensus", "consensus_matrix"]

DECADES = 1e-6  # identical beliefs are drawn at this fraction of the largest divergence


def consensus(flow: RGFlow, prompt: int = 0, state: int = 0) -> go.Figure:
    """Draw the Jeffreys divergence KL(p || q) + KL(q || p) of each pair of recorded tokens, nats, at one state.

    The logarithmic colour scale is common to all states of the prompt, so that states can be compared.

    Args:
        flow: an `RGFlow`.
        prompt: index of the prompt.
        state: 0 (input end) to L (output end); a block, for beliefs that live on blocks.

    Raises:
        OptionError: no such prompt or state, or the flow holds no consensus matrices.
    """
    matrix, (low, high) = consensus_matrix(flow, prompt, state)
    tokens = figure_texts(flow.recorded_tokens(prompt))
    count = len(tokens)
    ticks = {"tickvals": list(range(count)), "ticktext": tokens, "showgrid": False, "tickfont": {"size": 10}}
    tickvals, ticktext = log_ticks(low, high)
    figure = new_figure(height=max(320, min(760, 150 + 18 * count)))
    cells = go.Heatmap(
        z=np.log10(np.maximum(matrix, low)), customdata=_hover(matrix, tokens), coloraxis="coloraxis", xgap=0.5, ygap=0.5,
        hovertemplate="%{customdata}<extra></extra>",
    )  # fmt: skip
    figure.add_trace(cells)
    figure.update_xaxes(title="token", tickangle=-60, **ticks)
    figure.update_yaxes(title="token", autorange="reversed", **ticks)
    bar = {"title": {"text": "Jeffreys (nats)", "side": "right"}, "tickvals": tickvals, "ticktext": ticktext}
    scale = {"colorscale": SEQUENTIAL, "cmin": float(np.log10(low)), "cmax": float(np.log10(high)), "colorbar": bar}
    figure.update_layout(coloraxis=scale)
    return figure


def consensus_matrix(flow: RGFlow, prompt: int, state: int) -> tuple[np.ndarray, tuple[float, float]]:
    """Divergences between the recorded tokens, nats, and the ends of the colour scale that all states of the prompt share.

    Raises:
        OptionError: no such prompt or state, or the flow holds no consensus matrices.
    """
    matrices = node(flow, "consensus")["jeffreys_matrix"].transpose("prompt", ..., "position", "source")
    for name, index, count in (("prompt", prompt, matrices.shape[0]), ("state", state, matrices.shape[1])):
        whole_number(name, index, least=0, most=count - 1, remedy="see flow.to_xarray()")
    here = matrices.values[prompt].astype(float)
    count = len(flow.recorded_tokens(prompt))
    return here[state, :count, :count], _limits(here)


def _limits(values: np.ndarray) -> tuple[float, float]:
    """Smallest and largest divergence between two tokens, six decades at most."""
    positive = values[np.isfinite(values) & (values > 0)]
    high = float(positive.max()) if len(positive) else 1.0
    return max(float(positive.min()) if len(positive) else high / 10, high * DECADES), high


def _hover(matrix: np.ndarray, tokens: list[str]) -> list[list[str]]:
    return [
        [f"{row} / {column}<br>{value:.4g} nats" for column, value in zip(tokens, values, strict=True)]
        for row, values in zip(tokens, matrix, strict=True)
    ]
