"""Exact greedy agglomeration: at each step the cheapest pair of all, or the cheapest pair of neighbours, is merged.

Merge costs are not reducible (a merge can make a third cluster cheaper to reach), so nearest-neighbour chains would
give another tree. Here every cost is evaluated once and kept, and so is each row's minimum: a merge refreshes one row
of costs and the few minima it made stale. That is N^2 cost evaluations in all, and 8 N^2 bytes.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from rgprobe.condensation.ties import ATOL, RTOL, TieOrder
from rgprobe.errors import NumericalRefusal

__all__ = ["Costs", "Merges", "agglomerate", "agglomerate_contiguous"]


@runtime_checkable
class Costs(Protocol):
    """Clusters in numbered slots, their merge costs and their merging."""

    def costs(self, a: int, start: int, stop: int) -> np.ndarray:
        """Costs of slot ``a`` with slots ``start:stop``, infinite with itself; nats."""

    def join(self, a: int, b: int) -> None:
        """Merge slot ``b`` into slot ``a``."""

    def move(self, source: int, target: int) -> None:
        """Copy slot ``source`` over slot ``target``."""


class Merges(NamedTuple):
    """What a greedy run did: (lower node, higher node) and cost of each merge, and how many steps had a tie."""

    pairs: list[tuple[int, int]]
    costs: list[float]
    n_ties: int


def agglomerate(slots: Costs, n: int, order: TieOrder) -> Merges:
    """Greedy merging of ``n`` clusters, any pair allowed. Slots are kept packed, so that rows stay contiguous."""
    table = _all_costs(slots, n)
    least = table.min(axis=1)
    nodes = np.arange(n)
    pairs: list[tuple[int, int]] = []
    costs: list[float] = []
    n_ties = 0
    for live in range(n, 1, -1):
        tied = _cheapest(least[:live])
        n_ties += tied.size > 2
        a, b = tied if tied.size == 2 else _resolve(table[:live, :live], tied, nodes, pairs, order)
        a, b = (int(a), int(b)) if nodes[a] < nodes[b] else (int(b), int(a))
        pairs.append((int(nodes[a]), int(nodes[b])))
        costs.append(_recorded(table[a, b]))
        nodes[a] = 2 * n - live
        slots.join(a, b)
        stale = least[:live] == np.minimum(table[a, :live], table[b, :live])
        a = _drop(slots, (table, least, nodes, stale), a, b, live - 1)
        _refresh(table[: live - 1, : live - 1], least, stale[: live - 1], a, slots)
    return Merges(pairs, costs, n_ties)


def _all_costs(slots: Costs, n: int) -> np.ndarray:
    """Symmetric (n, n) costs, infinite on the diagonal."""
    table = np.full((n, n), np.inf)
    for a in range(n - 1):
        table[a, a + 1 :] = table[a + 1 :, a] = slots.costs(a, a + 1, n)
    return table


def _cheapest(least: np.ndarray) -> np.ndarray:
    """Rows whose least cost is the least of all, within the tie tolerance; a single best pair gives its two rows."""
    best = least.min()
    if best == np.inf:
        raise NumericalRefusal(
            "beliefs",
            expected="beliefs whose supports overlap",
            received="clusters with no class in common",
            remedy="use centroid='moment', or mix a little of the mean belief into every row",
        )
    return np.flatnonzero(least <= max(best, 0.0) * (1 + RTOL) + ATOL)


def _recorded(cost: float) -> float:
    """A cost as it enters the tree; below the rounding of equal beliefs it is 0, so that duplicates merge for free."""
    return float(cost) if cost > ATOL else 0.0


def _resolve(
    table: np.ndarray, tied: np.ndarray, nodes: np.ndarray, pairs: list[tuple[int, int]], order: TieOrder
) -> tuple[int, int]:
    """Of the tied pairs the one that `TieOrder` puts first."""
    a = int(tied[order.first(nodes[tied].tolist(), pairs)])
    partners = _cheapest(table[a])
    return a, int(partners[order.first(nodes[partners].tolist(), pairs)])


def _drop(slots: Costs, arrays: tuple[np.ndarray, ...], a: int, b: int, last: int) -> int:
    """Fill slot ``b`` with the last slot; returns where ``a`` is now."""
    table, *vectors = arrays
    if b == last:
        return a
    slots.move(last, b)
    for vector in vectors:
        vector[b] = vector[last]
    table[b, :last] = table[last, :last]
    table[:last, b] = table[:last, last]
    table[b, b] = np.inf
    return b if a == last else a


def _refresh(table: np.ndarray, least: np.ndarray, stale: np.ndarray, a: int, slots: Costs) -> None:
    """New costs of slot ``a``, and the row minima that changed with them."""
    live = len(table)
    table[a] = table[:, a] = row = slots.costs(a, 0, live)
    np.minimum(least[:live], row, out=least[:live])
    stale[a] = True
    again = np.flatnonzero(stale)
    least[again] = table[again].min(axis=1)


def agglomerate_contiguous(slots: Costs, n: int, order: TieOrder) -> Merges:
    """Greedy merging where only neighbours in sequence order may merge: n - 1 costs, two of them renewed per merge."""
    gaps = np.array([slots.costs(i, i + 1, i + 2)[0] for i in range(n - 1)])
    slot = list(range(n))  # slot of the k-th cluster in sequence order
    nodes = list(range(n))
    pairs: list[tuple[int, int]] = []
    costs: list[float] = []
    n_ties = 0
    for step in range(n - 1):
        tied = _cheapest(gaps)
        n_ties += tied.size > 1
        k = int(tied[0]) if tied.size == 1 else _first_gap(tied, nodes, pairs, order)
        pairs.append((min(nodes[k : k + 2]), max(nodes[k : k + 2])))
        costs.append(_recorded(gaps[k]))
        slots.join(slot[k], slot[k + 1])
        nodes[k : k + 2] = [n + step]
        del slot[k + 1]
        gaps = np.delete(gaps, k)
        for left in (k - 1, k):
            if 0 <= left < len(gaps):
                gaps[left] = slots.costs(slot[left], slot[left + 1], slot[left + 1] + 1)[0]
    return Merges(pairs, costs, n_ties)


def _first_gap(tied: np.ndarray, nodes: list[int], pairs: list[tuple[int, int]], order: TieOrder) -> int:
    """Of the tied gaps the one whose two clusters have the least keys; leftmost among identical ones."""
    return min(tied.tolist(), key=lambda k: (sorted(order.key(node, pairs) for node in nodes[k : k + 2]), k))
