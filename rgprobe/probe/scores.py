"""Attention scores of one block, as a whole or as the queries and keys that they come from; either way the same questions.

Where scores are there as a whole, rows are taken in blocks, so that a causal model's masked half is never touched and
temporaries stay in cache. Where only queries and keys are, scores are made tile by tile, rows by keys, and each tile becomes
row moments before the next is made: memory grows with N, not with N^2. The moments of disjoint sets of keys merge exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rgprobe.probe.moments import RowMoments, merge_moments, row_moments
from rgprobe.probe.tile_moments import KeyStatistics, key_statistics, tile_moments

__all__ = ["CoupledScores", "Extent", "Scores", "Visible", "WholeScores", "attention_moments"]

ROWS_PER_BLOCK = 128
# rows and keys of a tile: small enough for a core's cache, large enough to keep a GPU busy
TILE = {"cpu": (128, 512), "cuda": (1024, 8192)}


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
        """Of rows start to stop; found on the CPU, whatever the device, because what is to be done depends on it."""
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
    """

    queries: Float[Tensor, "heads size width"]
    keys: Float[Tensor, "key_heads size width"]
    visible: Visible
    scale: float = 1.0
    cap: float | None = None
    level: Float[Tensor, "heads size 1"] | None = None

    @property
    def size(self) -> int:
        """Tokens N."""
        return self.queries.shape[-2]

    def rows(self, index: Int[Tensor, " rows"]) -> Float[Tensor, "heads rows keys"]:
        """See `Scores`."""
        index, keys = index.cpu(), torch.arange(self.size)
        scores = self._tile(index.to(self.queries.device), slice(0, self.size))
        hidden = ~self.visible.between(index, keys).to(scores.device, non_blocking=True)
        return scores.masked_fill(hidden, torch.finfo(scores.dtype).min)

    def moments(self, *, causal: bool) -> tuple[RowMoments, RowMoments]:
        """See `Scores`; `causal` is not needed, because `visible` says what a row sees."""
        height, _ = TILE["cuda" if self.queries.is_cuda else "cpu"]
        blocks = [self._block_moments(start, min(start + height, self.size)) for start in range(0, self.size, height)]
        excluded, included = zip(*blocks, strict=True)
        return _concatenate(list(excluded)), _concatenate(list(included))

    def averages(self, values: Float[Tensor, "key_heads size values"]) -> Float[Tensor, "heads size values"]:
        """softmax(scores) values, in blocks of rows: for rules and caps that the fused kernels do not know."""
        wide = values.to(torch.promote_types(values.dtype, torch.float32))
        groups = self.queries.shape[0] // self.keys.shape[0]
        parts = []
        for start in range(0, self.size, ROWS_PER_BLOCK):
            stop = min(start + ROWS_PER_BLOCK, self.size)
            extent = self.visible.extent(start, stop)
            seen = slice(extent.first, extent.last)
            scores = self._tile(slice(start, stop), seen)
            hidden = ~self._allowed(start, stop, extent.first, extent.last)
            weights = scores.masked_fill_(hidden, -torch.inf).softmax(-1)
            parts.append((weights.unflatten(0, (-1, groups)) @ wide[:, None, seen]).flatten(0, 1))
        return torch.cat(parts, 1).to(values.dtype)

    @cached_property
    def _statistics(self) -> dict[tuple[int, int], KeyStatistics]:
        """Of the keys of each tile, the same for all rows."""
        return {}

    def _block_moments(self, start: int, stop: int) -> tuple[RowMoments, RowMoments]:
        """Of rows start to stop, all keys but the sink merged tile by tile, then the sink."""
        rest = self._masked_moments(start, stop, 0, 0)  # of no key: the neutral element of merging
        for first, last, full in self._key_tiles(self.visible.extent(start, stop), start, stop):
            tile = self._full_moments if full else self._masked_moments
            rest = merge_moments(rest, tile(start, stop, first, last))
        return rest, merge_moments(rest, self._masked_moments(start, stop, 0, 1))

    def _key_tiles(self, extent: Extent, start: int, stop: int) -> Iterator[tuple[int, int, bool]]:
        """Tiles of the keys that rows start to stop see, but the sink; full ones lie before all of these rows, or behind."""
        _, width = TILE["cuda" if self.queries.is_cuda else "cpu"]
        first, last = max(extent.first, 1), extent.last
        low, high = max(extent.full_from, first), extent.full_to
        ends = [first, low, max(min(high, start), low), min(max(stop, low), high), high, last]
        ends = list(accumulate(ends, max))
        for (a, b), full in zip(pairwise(ends), (False, True, False, True, False), strict=True):
            # on one grid for all rows, so that tiles can share what is known of their keys
            cuts = [a, *range(a - a % width + width, b, width), b] if b > a else []
            yield from ((*tile, full) for tile in pairwise(cuts))

    def _full_moments(self, start: int, stop: int, first: int, last: int) -> RowMoments:
        rows, keys = (torch.arange(*ends, device=self.queries.device) for ends in ((start, stop), (first, last)))
        scores = self._tile(slice(start, stop), slice(first, last))
        return tile_moments(scores, rows, keys, self._uniform(start, stop, first, last) if self.cap is None else None)

    def _uniform(self, start: int, stop: int, first: int, last: int) -> tuple[Tensor, Tensor]:
        """Mean and variance of the scores of a full tile, from the mean and the covariance of its keys."""
        groups = self.queries.shape[0] // self.keys.shape[0]
        if (of_keys := self._statistics.get((first, last))) is None:
            of_keys = self._statistics[first, last] = key_statistics(self.keys[:, first:last])
        queries = self.queries[:, start:stop].to(of_keys.mean.dtype).unflatten(0, (-1, groups))
        mean = (queries @ of_keys.mean[:, None, :, None])[..., 0].flatten(0, 1) * self.scale
        variance = torch.linalg.vecdot(queries @ of_keys.covariance[:, None], queries).flatten(0, 1) * self.scale**2
        level = 0.0 if self.level is None else self.level[:, start:stop, 0].to(mean.dtype)
        return mean - level, variance.clamp_min(0)

    def _masked_moments(self, start: int, stop: int, first: int, last: int) -> RowMoments:
        device = self.queries.device
        scores = self._tile(slice(start, stop), slice(first, last))
        rows, keys = torch.arange(start, stop, device=device), torch.arange(first, last, device=device)
        distances = (rows[:, None] - keys).abs().to(scores.dtype)
        return row_moments(scores, self._allowed(start, stop, first, last), distances)

    def _allowed(self, start: int, stop: int, first: int, last: int) -> Bool[Tensor, "rows keys"]:
        # rules may hold tensors of the CPU; copying towards a device does not wait for it
        seen = self.visible.between(torch.arange(start, stop), torch.arange(first, last))
        return seen.to(self.queries.device, non_blocking=True)

    def _tile(self, rows: slice | Tensor, keys: slice) -> Float[Tensor, "heads rows keys"]:
        """Scores of some rows and keys, hidden ones not yet masked."""
        groups = self.queries.shape[0] // self.keys.shape[0]
        wide = torch.promote_types(self.queries.dtype, torch.float32)
        queries = self.queries[:, rows].to(wide) * self.scale
        count = queries.shape[1]
        stacked = queries.unflatten(0, (-1, groups)).flatten(
            1, 2
        )  # query heads that share a key head, as rows of one product
        scores = (stacked @ self.keys[:, keys].to(wide).mT).unflatten(1, (groups, count)).flatten(0, 1)
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
