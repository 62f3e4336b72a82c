"""Attention seen through hooks: row moments of every token, layer by layer, without ever holding two layers' scores.

Rows are taken in blocks, so that a causal model's masked half is never touched and temporaries stay in cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rgprobe.probe.model import Hook, Probe
from rgprobe.probe.moments import RowMoments, merge_moments, row_moments

__all__ = ["SINK_POLICIES", "AttentionCollector", "attention_moments"]

SINK_POLICIES = ("exclude", "include")
ROWS_PER_BLOCK = 128


def attention_moments(
    scores: Float[Tensor, "heads rows keys"], *, causal: bool = True
) -> tuple[RowMoments, RowMoments]:
    """Row moments of one layer's scores without and with the sink, key 0.

    Masked scores are recognised by their value (the lowest finite number of their dtype, or -inf). With the sink
    excluded the rows are renormalised over the remaining keys, and row 0, which sees nothing else, has no moments.

    Args:
        scores: attention logits, nats; square, rows are queries.
        causal: no row sees a later key; only saves work.

    Returns:
        (excluded, included), each (heads, rows), float64.
    """
    size = scores.shape[-1]
    positions = torch.arange(size, device=scores.device)
    floor = torch.finfo(scores.dtype).min / 2
    precision = torch.promote_types(scores.dtype, torch.float32)
    excluded, included = [], []
    for start in range(0, size, ROWS_PER_BLOCK):
        stop = min(start + ROWS_PER_BLOCK, size)
        seen = stop if causal else size
        block = scores[:, start:stop, :seen]
        allowed = block[0] > floor
        distances = (positions[start:stop, None] - positions[None, :seen]).abs().to(precision)
        rest = row_moments(block[..., 1:], allowed[:, 1:], distances[:, 1:])
        sink = row_moments(block[..., :1], allowed[:, :1], distances[:, :1])
        excluded.append(rest)
        included.append(merge_moments(rest, sink))
    return _concatenate(excluded), _concatenate(included)


class AttentionCollector:
    """Hooks that reduce attention while a prompt streams through, for one prompt.

    Attributes:
        excluded: row moments without the sink, one entry per block.
        included: row moments with it.
        graph: head-averaged weights among the recorded tokens, one (positions, positions) matrix per block.
        listeners: called with the weights of the recorded rows, (heads, positions, keys), block by block.
        score_listeners: called with the scores of all rows, (heads, rows, keys), block by block, masked ones at the lowest
            number of their dtype.
    """

    def __init__(self, probe: Probe, positions: Int[Tensor, "positions"], *, sink: str) -> None:
        self.probe = probe
        self.positions = positions.to(probe.device)
        self.sink = sink
        self.excluded: list[RowMoments] = []
        self.included: list[RowMoments] = []
        self.graph: list[Tensor] = []
        self.listeners: list[Callable[[Tensor], None]] = []
        self.score_listeners: list[Callable[[Tensor], None]] = []

    def hooks(self) -> list[tuple[str, Hook]]:
        """What to attach."""
        source = "hook_attn_scores" if self.probe.hook_gives_scores else "hook_pattern"
        return [(f"blocks.{block}.attn.{source}", self._reduce) for block in range(self.probe.n_blocks)]

    def _reduce(self, tensor: Tensor, hook: Any) -> None:
        scores = tensor[0] if self.probe.hook_gives_scores else _log_weights(tensor[0])
        excluded, included = attention_moments(scores, causal=self.probe.causal)
        self.excluded.append(excluded)
        self.included.append(included)
        weights = self._recorded_weights(scores, excluded, included)
        self.graph.append(weights[..., self.positions].mean(0))
        for listener in self.listeners:
            listener(weights)
        for listener in self.score_listeners:
            listener(scores)

    def _recorded_weights(self, scores: Tensor, excluded: RowMoments, included: RowMoments) -> Tensor:
        """Attention weights of the recorded rows under the sink policy, (heads, positions, keys).

        A row that sees nothing but the sink keeps it: without, it would be no distribution.
        """
        rows = scores[:, self.positions].to(torch.promote_types(scores.dtype, torch.float32))
        without = (excluded.keys[:, self.positions] > 0) & (self.sink == "exclude")
        partition = torch.where(
            without, excluded.log_partition[:, self.positions], included.log_partition[:, self.positions]
        )
        weights = (rows - partition[..., None].to(rows.dtype)).exp()
        weights = weights.masked_fill(rows <= torch.finfo(scores.dtype).min / 2, 0)
        weights[..., 0] = weights[..., 0].masked_fill(without, 0)
        return weights


def _log_weights(pattern: Tensor) -> Tensor:
    """Scores up to a constant per row, from weights: all that any shift-invariant statistic needs.

    A key that has no weight in any head is masked; one that underflowed in some head gets the smallest normal number.
    """
    pattern = pattern.float()
    smallest = torch.finfo(pattern.dtype)
    return pattern.clamp_min(smallest.tiny).log().masked_fill(pattern.amax(0, keepdim=True) <= 0, smallest.min)


def _concatenate(parts: list[RowMoments]) -> RowMoments:
    names = parts[0].as_dict()
    return RowMoments(**{name: torch.cat([getattr(part, name) for part in parts], -1) for name in names})
