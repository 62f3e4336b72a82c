"""Merge costs of all pairs, as few of them evaluated as an exact greedy tree needs.

A lower bound of a merge cost takes a fraction of the cost's own time. So every pair starts with its bound, and only pairs
whose bound is at most a threshold are evaluated, by a sharper bound first. As long as the least exact cost is at most the
threshold it is the least of all costs; when it is not, the threshold rises. The tree is the one that evaluating every pair
would give, to the last digit, because no bound ever decides a merge.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from rgprobe.condensation.ties import ATOL, RTOL
from rgprobe.errors import NumericalRefusal

__all__ = ["CostTable", "Costs", "cheapest"]

# So few clusters are evaluated outright: bounds would cost as much as they save.
EAGER_UP_TO = 128
# The threshold rises to this quantile of the rows' minima: each sweep over the table then serves that share of the merges.
QUANTILE = 0.25
# and at least by this factor, or the last clusters would ask for a sweep each.
GROWTH = 1.1
# What an entry of the table is.
BOUND, SHARP, EXACT = 0, 1, 2
# Rows per block of the table: its temporaries stay small beside it.
ROWS = 128


@runtime_checkable
class Costs(Protocol):
    """Clusters in numbered slots, their merge costs and their merging."""

    def bounds(self, a: slice, b: slice) -> np.ndarray:
        """Lower bounds of the costs of slots ``a`` with slots ``b``, (len a, len b); nats. Cheap."""

    def sharpened(self, a: int | np.ndarray, b: np.ndarray) -> np.ndarray:
        """Lower bounds of the costs of pairs of slots, closer and dearer than `bounds`; nats."""

    def costs(self, a: int | np.ndarray, b: np.ndarray) -> np.ndarray:
        """Costs of slot ``a``, or of each of slots ``a``, with each of slots ``b``, none with itself; nats."""

    def join(self, a: int, b: int) -> None:
        """Merge slot ``b`` into slot ``a``."""

    def move(self, source: int, target: int) -> None:
        """Copy slot ``source`` over slot ``target``."""


class CostTable:
    """Symmetric (n, n) costs of the slots in use, infinite on the diagonal; 9 n^2 bytes.

    Slots are kept packed: the first ``live`` are in use. ``least`` holds each row's minimum.
    """

    def __init__(self, slots: Costs, n: int) -> None:
        self.live = n
        self._slots = slots
        self._eager = n <= EAGER_UP_TO
        self._threshold = np.inf if self._eager else -1.0  # pairs with a bound up to this have their exact cost
        self._table = np.zeros((n, n))
        self._stage = np.full((n, n), BOUND, dtype=np.int8)
        np.fill_diagonal(self._stage, EXACT)
        if not self._eager:
            self._fill_with_bounds()
        np.fill_diagonal(self._table, np.inf)
        self._least = self._table.min(axis=1)
        if self._eager:
            self._evaluate()

    @property
    def rows(self) -> np.ndarray:
        """The table of the slots in use."""
        return self._table[: self.live, : self.live]

    def cheapest(self) -> np.ndarray:
        """Rows whose least cost is the least of all, within the tie tolerance; a single best pair gives its two rows."""
        while True:
            least = self._least[: self.live]
            limit = _tie_limit(float(least.min()))
            if limit <= self._threshold:
                return np.flatnonzero(least <= limit)
            quantile = np.quantile(least, QUANTILE, method="lower")
            self._threshold = max(GROWTH * limit, float(quantile))
            self._evaluate()

    def merge(self, a: int, b: int) -> None:
        """Merge slot ``b`` into slot ``a``; the last slot in use moves into ``b``."""
        least = self._least[: self.live]
        stale = least == np.minimum(self._table[a, : self.live], self._table[b, : self.live])
        self._slots.join(a, b)
        last = self.live = self.live - 1
        if b != last:
            self._move(last, b)
            stale[b] = stale[last]
        self._renew(b if a == last else a, stale[:last])

    def _fill_with_bounds(self) -> None:
        """Both triangles from one, because a matrix product need not be symmetric to the last digit."""
        n = self.live
        for start in range(0, n, ROWS):
            rows, rest = slice(start, min(start + ROWS, n)), slice(start, n)
            self._table[rows, rest] = self._slots.bounds(rows, rest)
            self._table[rest, rows] = self._table[rows, rest].T
            own = self._table[rows, rows]
            own[:] = np.triu(own) + np.triu(own, 1).T

    def _evaluate(self) -> None:
        """Exact costs of all pairs whose bound is at most the threshold."""
        for start in range(0, self.live, ROWS):
            rows, rest = slice(start, min(start + ROWS, self.live)), slice(start, self.live)
            wanted = self._table[rows, rest] <= self._threshold
            wanted &= self._stage[rows, rest] != EXACT
            own = wanted[:, : rows.stop - start]
            own[:] = np.triu(own, 1)
            a, b = np.divmod(np.flatnonzero(wanted), wanted.shape[1])  # several times as fast as `nonzero`
            if a.size:
                a, b = a + start, b + start
                values, stages = self._settled(a, b, self._table[a, b], self._stage[a, b])
                self._table[a, b] = self._table[b, a] = values
                self._stage[a, b] = self._stage[b, a] = stages
        self._least[: self.live] = self.rows.min(axis=1)

    def _settled(
        self, a: int | np.ndarray, b: np.ndarray, values: np.ndarray, stages: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Entries of pairs at or below the threshold: sharper bounds, and exact costs where those do not suffice."""
        fresh = np.flatnonzero(stages == BOUND) if not self._eager else np.empty(0, dtype=np.int64)
        if fresh.size:
            values[fresh] = np.maximum(values[fresh], self._slots.sharpened(_some(a, fresh), b[fresh]))
            stages[fresh] = SHARP
        low = np.flatnonzero(values <= self._threshold)
        if low.size:
            values[low] = self._slots.costs(_some(a, low), b[low])
            stages[low] = EXACT
        return values, stages

    def _move(self, source: int, target: int) -> None:
        self._slots.move(source, target)
        self._least[target] = self._least[source]
        for array, own in ((self._table, np.inf), (self._stage, EXACT)):
            array[target, :source] = array[source, :source]
            array[:source, target] = array[:source, source]
            array[target, target] = own

    def _renew(self, a: int, stale: np.ndarray) -> None:
        """New bounds and costs of slot ``a``, and the row minima that changed with them."""
        live = self.live
        everyone = slice(0, live)
        row = np.zeros(live) if self._eager else self._slots.bounds(slice(a, a + 1), everyone)[0]
        stages = np.full(live, BOUND, dtype=np.int8)
        row[a], stages[a] = np.inf, EXACT
        low = np.flatnonzero((row <= self._threshold) & (stages == BOUND))
        row[low], stages[low] = self._settled(a, low, row[low], stages[low])
        self._table[a, :live] = self._table[:live, a] = row
        self._stage[a, :live] = self._stage[:live, a] = stages
        np.minimum(self._least[:live], row, out=self._least[:live])
        stale[a] = True
        again = np.flatnonzero(stale)
        self._least[again] = self._table[again, :live].min(axis=1)


def _some(slots: int | np.ndarray, chosen: np.ndarray) -> int | np.ndarray:
    return slots[chosen] if isinstance(slots, np.ndarray) else slots


def cheapest(costs: np.ndarray) -> np.ndarray:
    """Entries equal to the least one within the tie tolerance."""
    return np.flatnonzero(costs <= _tie_limit(float(costs.min())))


def _tie_limit(best: float) -> float:
    """Costs up to this are tied with the best."""
    if best == np.inf:
        raise NumericalRefusal(
            "beliefs",
            expected="beliefs whose supports overlap",
            received="clusters with no class in common",
            remedy="use centroid='moment', or mix a little of the mean belief into every row",
        )
    return max(best, 0.0) * (1 + RTOL) + ATOL
