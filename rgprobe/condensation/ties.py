"""Which of several equally cheap merges comes first: an order taken from the beliefs, not from token positions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import pairwise

import numpy as np
from jaxtyping import Int

__all__ = ["ATOL", "RTOL", "TieOrder"]

# Two costs are tied when they differ by less than RTOL of the least one, which is what the costs are accurate to, or by
# less than ATOL nats, which is the square of rounding in the beliefs.
RTOL = 1e-10
ATOL = 1e-26


class TieOrder:
    """Total order of clusters by content.

    Leaves are ranked by the lexicographic order of (weight, entries of the belief); identical leaves share a rank. A
    cluster's key is the sorted tuple of its leaves' ranks, and of the tied pairs the one with the lexicographically
    least (lower key, higher key) is merged. Permuting the tokens therefore permutes the tree: what remains is a choice
    between clusters with equal keys, that is with identical leaves, and swapping identical leaves changes neither the
    tree's shape nor any number in it.

    Args:
        contents: called at the first tie; one sequence of floats per leaf.
    """

    def __init__(self, contents: Callable[[], list[list[float]]]) -> None:
        self._contents = contents
        self._keys: dict[int, tuple[int, ...]] = {}
        self._n_led = 0  # merges whose node has its entry in `_lead`

    @cached_property
    def ranks(self) -> Int[np.ndarray, "N"]:
        """Dense rank of each leaf."""
        contents = self._contents()
        order = sorted(range(len(contents)), key=contents.__getitem__)
        ranks = np.zeros(len(order), dtype=np.int64)
        for before, after in pairwise(order):
            ranks[after] = ranks[before] + (contents[before] != contents[after])
        return ranks

    def key(self, node: int, merges: Sequence[tuple[int, int]]) -> tuple[int, ...]:
        """Sorted leaf ranks of a node; nodes of at least N are merges, as in a SciPy linkage matrix."""
        n = len(self.ranks)
        if node < n:
            return (int(self.ranks[node]),)
        if node not in self._keys:
            pending, leaves = [node], []
            while pending:
                top = pending.pop()
                if top < n:
                    leaves.append(int(self.ranks[top]))
                else:
                    pending.extend(merges[top - n])
            self._keys[node] = tuple(sorted(leaves))
        return self._keys[node]

    def first(self, nodes: Int[np.ndarray, "k"], merges: Sequence[tuple[int, int]]) -> int:
        """Position in ``nodes`` of the cluster with the least key; identical clusters by node number."""
        leads = self._leads(merges)[nodes]
        leading = np.flatnonzero(leads == leads.min()).tolist()  # a key starts with its cluster's least rank
        return min(leading, key=lambda i: (self.key(int(nodes[i]), merges), nodes[i]))

    def _leads(self, merges: Sequence[tuple[int, int]]) -> Int[np.ndarray, "nodes"]:
        """Least rank in each node, of all nodes that exist by now."""
        n = len(self.ranks)
        for k in range(self._n_led, len(merges)):
            self._lead[n + k] = self._lead[list(merges[k])].min()
        self._n_led = len(merges)
        return self._lead

    @cached_property
    def _lead(self) -> np.ndarray:
        return np.concatenate([self.ranks, np.empty(max(len(self.ranks) - 1, 0), dtype=np.int64)])
