"""Clusters of tokens from layer to layer, drawn as an alluvial plot: what persists, splits and merges."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float64
from plotly.colors import sample_colorscale

from rgprobe.checks import whole_number
from rgprobe.condensation.genealogy import Genealogy
from rgprobe.condensation.genealogy import genealogy as genealogy_of
from rgprobe.plots.arrays import node
from rgprobe.plots.style import SEQUENTIAL, depth_axis, new_figure
from rgprobe.plots.tokens import figure_text
from rgprobe.rg_flow import RGFlow

__all__ = ["genealogy"]

NAMED_TOKENS = 12  # tokens listed in a hover box
BAR = 0.16  # width, layers being 1 apart
GAP = 0.012  # between the clusters of a layer, their weights adding up to 1
OPACITY = 0.42
CURVE = 24  # points along each edge of a link


def genealogy(
    source: RGFlow | Genealogy,
    prompt: int = 0,
    *,
    n_clusters: int | None = None,
    loss: float | None = None,
    fraction: float | None = None,
) -> go.Figure:
    """Draw the clusters of every layer as bars as high as their weight, and the tokens that they share as links.

    Layers stand from left to right, input end first. Clusters lie, and are coloured, in the order of the mean position of
    their tokens in the text; a link has the colour of the cluster that it leaves. Hovering shows tokens and loss.

    Args:
        source: a flow that holds condensation trees, or what `rgprobe.condensation.genealogy.genealogy` gave.
        prompt: of a flow.
        n_clusters, loss, fraction: where to cut the trees of a flow, as there.

    Raises:
        OptionError: no such prompt, no trees in the flow, or a cut that is none.

    Example:
        >>> from rgprobe.condensation import condense
        >>> rows = np.random.default_rng(0).dirichlet(np.ones(3), size=(2, 5))
        >>> found = genealogy_of([condense(layer) for layer in rows], n_clusters=2)
        >>> len(genealogy(found).data[-2].x)  # bars; the last is the key of colours
        4
    """
    if isinstance(source, RGFlow):
        node(source, "condensation")  # says which diagnostics there are, if this is none
        whole_number("prompt", prompt, least=0, most=len(source.prompts) - 1, remedy="see flow.prompts")
        trees = source.trees(prompt)
        found = genealogy_of(trees, n_clusters=n_clusters, loss=loss, fraction=fraction)
        depth = str(source.to_xarray()["condensation"].attrs["depth"])
    else:
        found, depth = source, "state"
    layers = range(len(found.trees))
    places = [_places(found, layer) for layer in layers]
    colours = [_ranks(_mean_positions(found, layer)) for layer in layers]
    figure = new_figure(height=460)
    for layer in layers[:-1]:
        for link in _links(found, layer, places[layer], places[layer + 1], colours[layer]):
            figure.add_trace(link)
    figure.add_trace(_bars(found, places, colours))
    figure.add_trace(_key())
    return _laid_out(figure, depth, found)


def _mean_positions(found: Genealogy, layer: int) -> Float64[np.ndarray, "clusters"]:
    labels = found.partitions[layer]
    return np.bincount(labels, np.arange(len(labels))) / np.bincount(labels)


def _ranks(values: Float64[np.ndarray, "clusters"]) -> Float64[np.ndarray, "clusters"]:
    """Order, from 1 for the lowest to 0: mean positions themselves crowd in the middle of the scale."""
    return 1 - np.argsort(np.argsort(values, kind="stable")) / max(len(values) - 1, 1)


def _places(found: Genealogy, layer: int) -> Float64[np.ndarray, "clusters 2"]:
    """Lower and upper edge of each cluster, those with early tokens on top."""
    heights = np.bincount(found.partitions[layer], found.trees[layer].weights)
    order = np.argsort(-_mean_positions(found, layer), kind="stable")
    upper = np.cumsum(heights[order]) + GAP * np.arange(len(order))
    edges = np.empty((len(order), 2))
    edges[order] = np.stack([upper - heights[order], upper], 1)
    # centred, so that layers with many gaps do not hang over
    return edges - edges.max() / 2


def _links(
    found: Genealogy, layer: int, left: np.ndarray, right: np.ndarray, colours: np.ndarray
) -> Iterator[go.Scatter]:
    """Ribbons between two layers; within a bar they lie in the order of the bars at their other ends."""
    shared = found.passages[layer].overlap
    starts, ends = left[:, 0].copy(), right[:, 0].copy()
    pairs = np.argwhere(shared > 0)
    from_below = sorted(pairs.tolist(), key=lambda pair: (right[pair[1], 0], left[pair[0], 0]))
    begin = {}
    for i, j in from_below:
        begin[i, j] = starts[i]
        starts[i] += shared[i, j]
    for i, j in sorted(pairs.tolist(), key=lambda pair: (left[pair[0], 0], right[pair[1], 0])):
        ribbon = _ribbon(layer, begin[i, j], ends[j], shared[i, j])
        ends[j] += shared[i, j]
        yield go.Scatter(
            x=ribbon[0], y=ribbon[1], mode="lines", fill="toself", line={"width": 0.3, "color": _colour(colours[i])},
            fillcolor=_colour(colours[i]), opacity=OPACITY, hoveron="fills", hoverinfo="text",
            text=_shared_text(found, layer, i, j),
        )  # fmt: skip


def _ribbon(layer: int, start: float, end: float, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Outline of a band that leaves and arrives level."""
    along = np.linspace(0, 1, CURVE)
    middle = start + (end - start) * (1 - np.cos(np.pi * along)) / 2
    x = layer + BAR / 2 + (1 - BAR) * along
    return np.concatenate([x, x[::-1]]), np.concatenate([middle, (middle + width)[::-1]])


def _bars(found: Genealogy, places: list[np.ndarray], colours: list[np.ndarray]) -> go.Bar:
    counts = [len(edges) for edges in places]
    edges = np.concatenate(places)
    texts = [_cluster_text(found, layer, c) for layer, count in enumerate(counts) for c in range(count)]
    return go.Bar(
        x=np.repeat(np.arange(len(counts)), counts), y=edges[:, 1] - edges[:, 0], base=edges[:, 0], width=BAR,
        marker={"color": [_colour(place) for place in np.concatenate(colours)], "line": {"width": 0}}, customdata=texts,
        hovertemplate="%{customdata}<extra></extra>",
    )  # fmt: skip


def _key() -> go.Scatter:
    """Nothing drawn, for the colour bar: bars of numbers on a colour axis make plotly.js 4 warn in the console."""
    return go.Scatter(
        x=[None], y=[None], mode="markers", marker={"color": [0.0], "coloraxis": "coloraxis"}, hoverinfo="skip"
    )


def _cluster_text(found: Genealogy, layer: int, cluster: int) -> str:
    tokens = np.flatnonzero(found.partitions[layer] == cluster)
    lost = found.cluster_losses(layer)[cluster]
    return (
        f"{_tokens(found, tokens)}<br>{len(tokens)} of {found.partitions.shape[1]} tokens<br>"
        f"loses {lost:.3g} of the {found.losses[layer]:.3g} nats per token lost here"
    )


def _shared_text(found: Genealogy, layer: int, before: int, after: int) -> str:
    here, there = found.partitions[layer] == before, found.partitions[layer + 1] == after
    kind = next(event.kind for event in found.passages[layer].events if before in event.before)
    return f"{_tokens(found, np.flatnonzero(here & there))}<br>part of a cluster that {kind}"


def _tokens(found: Genealogy, tokens: np.ndarray) -> str:
    labels = found.labels or tuple(str(token) for token in range(found.partitions.shape[1]))
    shown = ", ".join(figure_text(labels[token]) for token in tokens[:NAMED_TOKENS])
    return shown + (", …" if len(tokens) > NAMED_TOKENS else "")


def _colour(place: float) -> str:
    return str(sample_colorscale(SEQUENTIAL, [1 - float(place)])[0])


def _laid_out(figure: go.Figure, depth: str, found: Genealogy) -> go.Figure:
    figure.update_xaxes(**depth_axis(depth, np.arange(len(found.trees))), showgrid=False)
    figure.update_yaxes(
        title="tokens, by weight; text from top to bottom", showticklabels=False, showgrid=False, ticks=""
    )
    bar = {
        "title": {"text": "cluster, by its place in the text", "side": "right"},
        "tickvals": [0, 1],
        "ticktext": ["last", "first"],
    }
    scale = {"colorscale": SEQUENTIAL, "cmin": 0, "cmax": 1, "reversescale": True, "colorbar": bar}
    figure.update_layout(showlegend=False, barmode="overlay", coloraxis=scale, hovermode="closest")
    return figure
