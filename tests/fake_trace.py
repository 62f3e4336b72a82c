"""Traces without a model: planted scores, states or beliefs where a forward pass would have left its own."""

import torch

from rgprobe.planted_trace import planted_trace
from rgprobe.probe.attention import AttentionCollector
from rgprobe.probe.model import Probe


def causal(scores):
    hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return scores.masked_fill(hidden, torch.finfo(scores.dtype).min)


def fake_trace(*, is_causal=True, **arrays):
    return planted_trace(causal=is_causal, **arrays)


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
