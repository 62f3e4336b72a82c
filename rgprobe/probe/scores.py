"""Attention scores of one block, as a whole or as the queries and keys that they come from; either way the same questions.

Where scores are there as a whole, rows are taken in blocks, so that a causal model's masked half is never touched and
temporaries stay in cache. Where only queries and keys are, scores are made tile by tile, rows by keys, and each tile becomes
row moments before the next is made: memory grows with N, not with N^2. The moments of disjoint sets of keys merge exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, reduce
from itertools import pairwise
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rgprobe.probe.moments import RowMoments, blank_where_empty, merge_moments, row_moments
from rgprobe.probe.tile_moments import Room, tile_moments

__all__ = ["CoupledScores", "Extent", "Scores", "Visible", "WholeScores", "attention_moments"]

ROWS_PER_BLOCK = 128
# rows of a tile, and its scores at most: few enough for a core's cache, enough to keep a GPU busy
TILE = {"cpu": (128, 2**20), "cuda": (1024, 2**26)}


@runtime_checkable
class Scores(Protocol):
    """What can be asked about the scores of one block."""

    @property
    def size(self) -> int:
        """Tokens N."""

    def rows(self, index: Int[Tensor, " rows"]) -> Float[Tensor, "heads rows keys"]:
        """Scores of some rows over all keys, nats, at least float32; hidden ones at the lowest number of their dtype."""

    def moments(self, *, causal: bool) -> tuple[RowMoments, RowMoments]:
        """Row moments without and with key 0, each (heads, rows)."""


@dataclass(frozen=True)
class WholeScores:
    """Scores that are there as a whole.

    Attributes:
        tensor: attention logits, nats; hidden ones at the lowest number of their dtype.
    """

    tensor: Float[Tensor, "heads size size"]

    @property
    def size(self) -> int:
        """Tokens N."""
        return self.tensor.shape[-1]

    def rows(self, index: Int[Tensor, " rows"]) -> Float[Tensor, "heads rows keys"]:
        """See `Scores`."""
        rows = self.tensor[:, index.to(self.tensor.device)]
        wide = torch.promote_types(rows.dtype, torch.float32)
        return rows.to(wide).masked_fill(rows <= _floor(rows.dtype), torch.finfo(wide).min)

    def moments(self, *, causal: bool) -> tuple[RowMoments, RowMoments]:
        """See `Scores`."""
        return attention_moments(self.tensor, causal=causal)


@dataclass(frozen=True)
class Extent:
    """Keys that a block of rows sees: some of [first, last), and all rows see all of [full_from, full_to)."""

    first: int
    last: int
    full_from: int
    full_to: int


@dataclass
class Visible:
    """Which key each row sees, as a rule of positions; what N x N booleans would say is asked for in blocks.

    Args:
        rule: (rows, 1) and (1, keys) positions to booleans that broadcast to (rows, keys).
        size: tokens N.

    Example:
        >>> Visible(lambda row, key: key <= row, 5).extent(2, 4)
        Extent(first=0, last=4, full_from=0, full_to=3)
    """

    rule: Callable[[Tensor, Tensor], Tensor]
    size: int
    _extents: dict[tuple[int, int], Extent] = field(default_factory=dict, repr=False)

    def between(self, rows: Int[Tensor, " rows"], keys: Int[Tensor, " keys"]) -> Bool[Tensor, "rows keys"]:
        """Visible or not."""
        return self.rule(rows[:, None], keys[None, :]).expand(len(rows), len(keys))

    def extent(self, start: int, stop: int) -> Extent:
        """Which keys rows start to stop see; found on the CPU, whatever the device, because what to do depends on it."""
        if (start, stop) not in self._extents:
            seen = self.between(torch.arange(start, stop), torch.arange(self.size))
            some, every = seen.any(0).nonzero().flatten(), seen.all(0)
            first, last = (int(some[0]), int(some[-1]) + 1) if len(some) else (0, 0)
            self._extents[start, stop] = Extent(first, last, *_longest_run(every.tolist()))
        return self._extents[start, stop]

    @cached_property
    def kind(self) -> str:
        """ "causal" (all keys up to the row's own), "full", or "other"."""
        found = {"causal", "full"}
        keys = torch.arange(self.size)
        for start in range(0, self.size, ROWS_PER_BLOCK):
            rows = torch.arange(start, min(start + ROWS_PER_BLOCK, self.size))
            seen = self.between(rows, keys)
            found -= {"causal"} if not torch.equal(seen, keys <= rows[:, None]) else set()
            found -= {"full"} if not bool(seen.all()) else set()
            if not found:
                return "other"
        return "causal" if "causal" in found else "full"


@dataclass(frozen=True)
class CoupledScores:
    """Scores from queries and keys: cap tanh(scale q.k / cap) - level, or without the cap.

    Attributes:
        queries: one per head and token.
        keys: one per key head and token; query heads share them in equal groups, in order.
        visible: which keys a row sees.
        scale: of the product.
        cap: soft cap on scores; None for none.
        level: what is taken off each row; None for nothing.
        room: where tiles are made; blocks may share it.
    """

    queries: Float[Tensor, "heads size width"]
    keys: Float[Tensor, "key_heads size width"]
    visible: Visible
    scale: float = 1.0
    cap: float | None = None
    level: Float[Tensor, "heads size 1"] | None = None
    room: Room = field(default_factory=Room, repr=False)

    @property
    def size(self) -> int:
        """Tokens N."""
        return self.queries.shape[-2]

    def rows(self, index: Int[Tensor, " rows"]) -> Float[Tensor, "heads rows keys"]:
        """See `Scores`."""
        index, keys = index.cpu(), torch.arange(self.size)
        scores = self._scores(index.to(self.queries.device), slice(0, self.size))
        hidden = ~self.visible.between(index, keys).to(scores.device, non_blocking=True)
        return scores.masked_fill(hidden, torch.finfo(scores.dtype).min)

    def moments(self, *, causal: bool) -> tuple[RowMoments, RowMoments]:
        """See `Scores`; `causal` is not needed, because `visible` says what a row sees."""
        height, _ = TILE["cuda" if self.queries.is_cuda else "cpu"]
        blocks = [self._block_moments(start, min(start + height, self.size)) for start in range(0, self.size, height)]
        rest = _concatenate(blocks)
        return rest, merge_moments(rest, self._sink_moments())

    def averages(self, values: Float[Tensor, "key_heads size values"]) -> Float[Tensor, "heads size values"]:
        """softmax(scores) values, in blocks of rows: for rules and caps that the fused kernels do not know."""
        wide = values.to(torch.promote_types(values.dtype, torch.float32))
        groups = self.queries.shape[0] // self.keys.shape[0]
        parts = []
        for start in range(0, self.size, ROWS_PER_BLOCK):
            stop = min(start + ROWS_PER_BLOCK, self.size)
            extent = self.visible.extent(start, stop)
            seen = slice(extent.first, extent.last)
            scores = self._scores(slice(start, stop), seen)
            hidden = ~self._allowed(start, stop, extent.first, extent.last)
            weights = scores.masked_fill_(hidden, -torch.inf).softmax(-1)
            parts.append((weights.unflatten(0, (-1, groups)) @ wide[:, None, seen]).flatten(0, 1))
        return torch.cat(parts, 1).to(values.dtype)

    def _block_moments(self, start: int, stop: int) -> RowMoments:
        """Moments of rows start to stop, over all keys but the sink, merged tile by tile."""
        extent = self.visible.extent(start, stop)
        tiles = [self._tile_moments(start, stop, *ends, extent) for ends in self._tiles(extent, stop - start)]
        return reduce(merge_moments, tiles)

    def _tiles(self, extent: Extent, height: int) -> list[tuple[int, int]]:
        """Equal ranges of the keys that some of these rows see, but the sink; an empty one where there are none."""
        _, size = TILE["cuda" if self.queries.is_cuda else "cpu"]
        first, last = max(extent.first, 1), max(extent.last, 1)
        width = max(size // (self.queries.shape[0] * height), 1)
        count = max(-(-(last - first) // width), 1)
        return list(pairwise(first + (last - first) * part // count for part in range(count + 1)))

    def _tile_moments(self, start: int, stop: int, first: int, last: int, extent: Extent) -> RowMoments:
        """Moments of rows start to stop, over the keys first to last; masked left and right of what all rows see."""
        rows, keys = (torch.arange(*ends, device=self.queries.device) for ends in ((start, stop), (first, last)))
        if first == last:
            return self._nothing(stop - start)
        tiles = self.room.tiles((self.queries.shape[0], stop - start, last - first), self._wide)
        scores = self._scores(slice(start, stop), slice(first, last), out=tiles[0])
        ragged = ((first, min(extent.full_from, last)), (max(extent.full_to, first), last))
        masked = [
            (slice(a - first, b - first), self._allowed(start, stop, a, b).to(scores.dtype)) for a, b in ragged if a < b
        ]
        return tile_moments((scores, *tiles[1:]), rows, keys, masked)

    def _nothing(self, count: int) -> RowMoments:
        """Moments of so many rows over no key."""
        empty = self._wide.expand(count, 1)[:, :0]
        return row_moments(empty.expand(self.queries.shape[0], count, 0), empty > 0, empty)

    def _sink_moments(self) -> RowMoments:
        """Moments of all rows over key 0 alone."""
        scores = self._scores(slice(0, self.size), slice(0, 1))[..., 0].double()
        distances = torch.arange(self.size, device=scores.device, dtype=scores.dtype).expand_as(scores)
        nothing = torch.zeros_like(scores)
        keys = nothing + self._allowed(0, self.size, 0, 1)[:, 0]
        return blank_where_empty(
            RowMoments(keys, scores, scores, nothing, scores, nothing, nothing + 1, distances, distances.log1p())
        )

    def _allowed(self, start: int, stop: int, first: int, last: int) -> Bool[Tensor, "rows keys"]:
        # rules may hold tensors of the CPU; copying towards a device does not wait for it
        seen = self.visible.between(torch.arange(start, stop), torch.arange(first, last))
        return seen.to(self.queries.device, non_blocking=True)

    @property
    def _wide(self) -> Tensor:
        """A number in the precision of the scores."""
        return self.queries.new_zeros((), dtype=torch.promote_types(self.queries.dtype, torch.float32))

    def _scores(self, rows: slice | Tensor, keys: slice, out: Tensor | None = None) -> Float[Tensor, "heads rows keys"]:
        """Scores of some rows and keys, hidden ones not yet masked."""
        wide = self._wide.dtype
        groups = self.queries.shape[0] // self.keys.shape[0]
        queries = self.queries[:, rows].to(wide) * self.scale
        count = queries.shape[1]
        # query heads that share a key head, as rows of one product
        stacked = queries.unflatten(0, (-1, groups)).flatten(1, 2)
        place = None if out is None else out.view(len(stacked), groups * count, -1)
        scores = torch.bmm(stacked, self.keys[:, keys].to(wide).mT, out=place)
        scores = scores.unflatten(1, (groups, count)).flatten(0, 1)
        if self.cap is not None:
            scores = scores.div_(self.cap).tanh_().mul_(self.cap)
        return scores if self.level is None else scores.sub_(self.level[:, rows].to(wide))


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
    precision = torch.promote_types(scores.dtype, torch.float32)
    excluded, included = [], []
    for start in range(0, size, ROWS_PER_BLOCK):
        stop = min(start + ROWS_PER_BLOCK, size)
        seen = stop if causal else size
        block = scores[:, start:stop, :seen]
        allowed = block[0] > _floor(scores.dtype)
        distances = (positions[start:stop, None] - positions[None, :seen]).abs().to(precision)
        rest = row_moments(block[..., 1:], allowed[:, 1:], distances[:, 1:])
        sink = row_moments(block[..., :1], allowed[:, :1], distances[:, :1])
        excluded.append(rest)
        included.append(merge_moments(rest, sink))
    return _concatenate(excluded), _concatenate(included)


def _floor(dtype: torch.dtype) -> float:
    """Below it a score is hidden."""
    return torch.finfo(dtype).min / 2


def _longest_run(flags: list[bool]) -> tuple[int, int]:
    """Bounds of the longest run of True; (0, 0) without any."""
    best, start = (0, 0), 0
    for place, flag in enumerate([*flags, False]):
        if not flag:
            if place - start > best[1] - best[0]:
                best = (start, place)
            start = place + 1
    return best


def _concatenate(parts: list[RowMoments]) -> RowMoments:
    names = parts[0].as_dict()
    return RowMoments(**{name: torch.cat([getattr(part, name) for part in parts], -1) for name in names})
