"""Traces without a model: planted scores, states or beliefs where a forward pass would have left its own."""

import numpy as np
import torch
import xarray as xr

from rgprobe.probe.attention import AttentionCollector, attention_moments
from rgprobe.probe.model import Probe
from rgprobe.tracing import BeliefTrace


def causal(scores):
    hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return scores.masked_fill(hidden, torch.finfo(scores.dtype).min)


def attention_of(prompts, *, is_causal=True):
    """prompts: scores (block, head, n, n), equal n, masked already; sink-excluded moments first."""
    rows = []
    for scores in prompts:
        blocks = [attention_moments(block, causal=is_causal) for block in scores]
        rows.append([[[m.as_dict()[name] for name in m.as_dict()] for m in pair] for pair in blocks])
    names = list(attention_moments(prompts[0][0], causal=is_causal)[0].as_dict())
    # prompt, block, sink, moment, head, token
    array = np.array([[[[value.numpy() for value in m] for m in pair] for pair in prompt] for prompt in rows])
    dims = ("sink", "prompt", "block", "head", "token")
    array = array.transpose(3, 2, 0, 1, 4, 5)
    return xr.Dataset(
        {name: (dims, array[i]) for i, name in enumerate(names)}, coords={"sink": ["excluded", "included"]}
    )


def fake_trace(*, scores=(), graph=None, states=None, log_probabilities=(), lens=None, is_causal=True, tokens=None):
    attention = attention_of(scores, is_causal=is_causal) if len(scores) else xr.Dataset()
    if tokens is None:
        first = scores[0].shape[-1] if len(scores) else np.asarray(graph if graph is not None else states).shape[-2]
        tokens = first if states is None or len(scores) else np.asarray(states).shape[2]
    count = max(
        len(scores), len(log_probabilities), 1 if states is None else len(states), 1 if graph is None else len(graph)
    )
    if graph is not None:
        attention = xr.Dataset(
            {
                "keys": (
                    ("sink", "prompt", "block", "head", "token"),
                    np.tile(1.0 + np.arange(tokens), (2, count, graph.shape[1], 1, 1)),
                )
            }
        )
    return BeliefTrace(
        belief="lens",
        prompts=("",) * count,
        tokens=(tuple(map(str, range(tokens))),) * count,
        token_ids=np.zeros((count, tokens), dtype=np.int64),
        token_mask=np.ones((count, tokens), dtype=bool),
        positions=np.tile(np.arange(tokens), (count, 1)),
        attention=attention,
        graph=xr.DataArray(np.empty(0))
        if graph is None
        else xr.DataArray(graph, dims=("prompt", "block", "position", "source")),
        geometry=xr.Dataset(),
        states=xr.DataArray(np.empty(0))
        if states is None
        else xr.DataArray(states, dims=("prompt", "state", "position", "width")),
        lens=xr.Dataset() if lens is None else lens,
        log_probabilities=tuple(log_probabilities),
        classes=(),
        gaussians=(),
        causal=is_causal,
        vocabulary=61,
        provenance={},
    )


def handing_over(*, is_causal=True, positions=None):
    """A probe of no model and an attention collector without hooks: what is given to its listeners is up to the test."""

    class Silent(Probe):
        causal = is_causal

        def __init__(self):
            pass

    attention = AttentionCollector.__new__(AttentionCollector)
    attention.listeners, attention.score_listeners = [], []
    attention.positions = positions
    return Silent(), attention
