"""Attention seen through hooks: statistics of every row, layer by layer, without ever holding two layers' scores.

Scores come from hooks, as a whole, or, where a block's scores would take more than `LARGEST_WHOLE` bytes, from the queries and
keys of a pass on fused kernels, tile by tile. Which way was taken is recorded; the numbers are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Int
from torch import Tensor

from rgprobe.errors import NumericalRefusal
from rgprobe.probe.fused_pass import Meeting, stream_fused
from rgprobe.probe.model import Hook, Probe
from rgprobe.probe.moments import RowMoments
from rgprobe.probe.row_statistics import SINK_POLICIES, RowStatistics, row_statistics
from rgprobe.probe.scores import Scores, WholeScores, attention_moments

__all__ = ["LARGEST_WHOLE", "SINK_POLICIES", "AttentionCollector", "attention_moments", "takes_tiles", "way_of"]

# bytes of one block's scores in float32; above, tiles are quicker: transformer_lens holds about five such tensors at once
LARGEST_WHOLE = 2**21
LARGEST_REFUSED = 2**32  # where queries and keys cannot be had, scores as a whole are tolerated up to here
SCORES, QUERIES_AND_KEYS = WAYS = ("scores", "queries and keys")
SAME = {torch.bfloat16: 0.1, torch.float16: 0.02}  # relative; otherwise 1e-3
TRIAL = 24  # tokens


def way_of(probe: Probe, tokens: int) -> str:
    """How a prompt of so many tokens is to be measured: from "scores" as a whole, or from "queries and keys".

    Raises:
        NumericalRefusal: scores would be too large, and queries and keys cannot be had, or do not give the scores of hooks.
    """
    size = 4 * probe.n_heads * tokens**2
    if size <= LARGEST_WHOLE or probe.source.kind == "activations":
        return SCORES
    if (refusal := _refusal_of(probe)) is None:
        return QUERIES_AND_KEYS
    if size <= LARGEST_REFUSED:
        return SCORES
    raise NumericalRefusal(
        f"attention of {probe.name} over {tokens:,} tokens", expected=f"{refusal.expected}, or scores of at most 4 GiB a block",
        received=refusal.received, remedy="use shorter prompts",
    )  # fmt: skip


def takes_tiles(probe: Probe) -> bool:
    """Whether queries and keys of its attention can be had, and give what its hooks give."""
    return _refusal_of(probe) is None


class AttentionCollector:
    """Reduces attention while a prompt streams through, for one prompt.

    Attributes:
        statistics: of the rows, one entry per block.
        graph: head-averaged weights among the recorded tokens, one (positions, positions) matrix per block.
        listeners: called with the weights of the recorded rows, (heads, positions, keys), block by block.
        score_listeners: called with the scores, block by block.
        moment_listeners: called with the row moments without the sink and with it, block by block.

    Args:
        way: what the moments are made from, "scores" or "queries and keys"; see `way_of`.
    """

    def __init__(
        self, probe: Probe, positions: Int[Tensor, "positions"], *, sink: str, way: str = SCORES, collects: bool = True
    ) -> None:
        self.probe = probe
        self.positions = positions.to(probe.device)
        self.sink, self.way, self.collects = sink, way, collects
        self.statistics: list[RowStatistics] = []
        self.graph: list[Tensor] = []
        self.listeners: list[Callable[[Tensor], None]] = []
        self.score_listeners: list[Callable[[Scores], None]] = []
        self.moment_listeners: list[Callable[[RowMoments, RowMoments], None]] = []

    def hooks(self) -> list[tuple[str, Hook]]:
        """What to attach; nothing where queries and keys are handed over by the pass itself."""
        if self.way == QUERIES_AND_KEYS or not self.collects:
            return []
        source = "hook_attn_scores" if self.probe.hook_gives_scores else "hook_pattern"
        return [(f"blocks.{block}.attn.{source}", self._read) for block in range(self.probe.n_blocks)]

    def stream(self, ids: Int[Tensor, " tokens"], hooks: Sequence[tuple[str, Hook]]) -> None:
        """One pass with these hooks, its own among them, up to the last state."""
        if self.way == SCORES:
            self.probe.stream(ids, list(hooks))
        else:
            stream_fused(self.probe, ids, hooks, self._meet if self.collects else None)

    def _read(self, tensor: Tensor, hook: Any) -> None:
        scores = tensor[0] if self.probe.hook_gives_scores else _log_weights(tensor[0])
        self._reduce(WholeScores(scores))

    def _meet(self, meeting: Meeting) -> None:
        self._reduce(meeting.scores)

    def _reduce(self, scores: Scores) -> None:
        excluded, included = scores.moments(causal=self.probe.causal)
        self.statistics.append(row_statistics(excluded, included, sink=self.sink))
        weights = self._recorded_weights(scores, excluded, included)
        self.graph.append(weights[..., self.positions.to(weights.device)].mean(0))
        for moment_listener in self.moment_listeners:
            moment_listener(excluded, included)
        for listener in self.listeners:
            listener(weights)
        for score_listener in self.score_listeners:
            score_listener(scores)

    def _recorded_weights(self, scores: Scores, excluded: RowMoments, included: RowMoments) -> Tensor:
        """Attention weights of the recorded rows under the sink policy, (heads, positions, keys).

        A row that sees nothing but the sink keeps it: without, it would be no distribution.
        """
        rows = scores.rows(self.positions)
        positions = self.positions.to(rows.device)
        without = (excluded.keys[:, positions] > 0) & (self.sink == "exclude")
        partition = torch.where(without, excluded.log_partition[:, positions], included.log_partition[:, positions])
        weights = (rows - partition[..., None].to(rows.dtype)).exp()
        weights = weights.masked_fill(rows <= torch.finfo(rows.dtype).min / 2, 0)
        weights[..., 0] = weights[..., 0].masked_fill(without, 0)
        return weights


_REFUSALS: WeakKeyDictionary[Probe, NumericalRefusal | None] = WeakKeyDictionary()


def _refusal_of(probe: Probe) -> NumericalRefusal | None:
    if probe not in _REFUSALS:
        _REFUSALS[probe] = _trial(probe)
    return _REFUSALS[probe]


def _trial(probe: Probe) -> NumericalRefusal | None:
    """Both ways on a few tokens; None where they agree on every row and on the last state, otherwise what stands against it."""
    ids = torch.arange(min(TRIAL, probe.vocabulary, probe.context or TRIAL))
    found: list[tuple[list[RowMoments], Tensor]] = []
    for way in WAYS:
        collector = AttentionCollector(probe, ids[-1:], sink="include", way=way)
        states: list[Tensor] = []
        rows: list[RowMoments] = []
        collector.moment_listeners.append(_keeping(rows))
        last = (probe.state_hook(probe.n_blocks), lambda tensor, hook, kept=states: kept.append(tensor[0].clone()))
        try:
            collector.stream(ids, [*collector.hooks(), last])
        except NumericalRefusal as refusal:
            return refusal
        found.append((rows, states[0]))
    (whole, state), (coupled, again) = found
    same = SAME.get(probe.dtype, 1e-3)
    gaps = [float((again - state).float().norm() / state.float().norm())]
    for one, other in zip(whole, coupled, strict=True):
        entropies = [moments.log_partition - moments.gibbs_mean for moments in (one, other)]
        gaps.append(float((entropies[1] - entropies[0]).abs().max()))
        gaps.append(float((one.keys - other.keys).abs().max()))
    if max(gaps) <= same:
        return None
    return NumericalRefusal(
        f"attention of {probe.name}", expected="queries and keys that give the scores of its hooks",
        received=f"ones that differ by {max(gaps):.1e}", remedy="use shorter prompts",
    )  # fmt: skip


def _keeping(kept: list[RowMoments]) -> Callable[[RowMoments, RowMoments], None]:
    return lambda excluded, included: kept.append(included)


def _log_weights(pattern: Tensor) -> Tensor:
    """Scores up to a constant per row, from weights: all that any shift-invariant statistic needs.

    A key that has no weight in any head is masked; one that underflowed in some head gets the smallest normal number.
    """
    pattern = pattern.float()
    smallest = torch.finfo(pattern.dtype)
    return pattern.clamp_min(smallest.tiny).log().masked_fill(pattern.amax(0, keepdim=True) <= 0, smallest.min)
