"""Exact greedy agglomeration: at each step the cheapest pair of all, or the cheapest pair of neighbours, is merged.

Merge costs are not reducible (a merge can make a third cluster cheaper to reach), so nearest-neighbour chains would
give another tree. Here costs are kept, and so is each row's minimum: a merge renews one row and the few minima it made
stale. At most N^2 costs are evaluated, and only those that a lower bound does not rule out (`cost_table`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rgprobe.condensation.cost_table import Costs, CostTable, cheapest
from rgprobe.condensation.ties import ATOL, TieOrder

__all__ = ["Merges", "agglomerate", "agglomerate_contiguous"]


class Merges(NamedTuple):
    """What a greedy run did: (lower node, higher node) and cost of each merge, and how many steps had a tie."""

    pairs: list[tuple[int, int]]
    costs: list[float]
    n_ties: int


def agglomerate(slots: Costs, n: int, order: TieOrder) -> Merges:
    """Greedy merging of ``n`` clusters, any pair allowed."""
    table = CostTable(slots, n)
    nodes = np.arange(n)  # node in each slot
    pairs: list[tuple[int, int]] = []
    costs: list[float] = []
    n_ties = 0
    for live in range(n, 1, -1):
        tied = table.cheapest()
        n_ties += tied.size > 2
        a, b = tied if tied.size == 2 else _resolve(table.rows, tied, nodes, pairs, order)
        a, b = (int(a), int(b)) if nodes[a] < nodes[b] else (int(b), int(a))
        pairs.append((int(nodes[a]), int(nodes[b])))
        costs.append(_recorded(table.rows[a, b]))
        nodes[a] = 2 * n - live
        nodes[b] = nodes[live - 1]
        table.merge(a, b)
    return Merges(pairs, costs, n_ties)


def _recorded(cost: float) -> float:
    """A cost as it enters the tree; below the rounding of equal beliefs it is 0, so that duplicates merge for free."""
    return float(cost) if cost > ATOL else 0.0


def _resolve(
    table: np.ndarray, tied: np.ndarray, nodes: np.ndarray, pairs: list[tuple[int, int]], order: TieOrder
) -> tuple[int, int]:
    """Among tied pairs, the one that `TieOrder` puts first."""
    a = int(tied[order.first(nodes[tied], pairs)])
    partners = cheapest(table[a])
    return a, int(partners[order.first(nodes[partners], pairs)])


def agglomerate_contiguous(slots: Costs, n: int, order: TieOrder) -> Merges:
    """Greedy merging where only neighbours in sequence order may merge: n - 1 costs, two of them renewed per merge."""
    slot = list(range(n))  # slot of the k-th cluster in sequence order
    nodes = list(range(n))
    gaps = slots.costs(np.arange(n - 1), np.arange(1, n))
    pairs: list[tuple[int, int]] = []
    costs: list[float] = []
    n_ties = 0
    for step in range(n - 1):
        tied = cheapest(gaps)
        n_ties += tied.size > 1
        k = int(tied[0]) if tied.size == 1 else _first_gap(tied, nodes, pairs, order)
        pairs.append((min(nodes[k : k + 2]), max(nodes[k : k + 2])))
        costs.append(_recorded(gaps[k]))
        slots.join(slot[k], slot[k + 1])
        nodes[k : k + 2] = [n + step]
        del slot[k + 1]
        gaps = np.delete(gaps, k)
        for gap, other in ((k - 1, k - 1), (k, k + 1)):
            if 0 <= gap < len(gaps):
                gaps[gap] = slots.costs(slot[k], np.array([slot[other]]))[0]
    return Merges(pairs, costs, n_ties)


def _first_gap(tied: np.ndarray, nodes: list[int], pairs: list[tuple[int, int]], order: TieOrder) -> int:
    """Among tied gaps, the one whose two clusters have the least keys; leftmost among identical ones."""
    return min(tied.tolist(), key=lambda k: (sorted(order.key(node, pairs) for node in nodes[k : k + 2]), k))
