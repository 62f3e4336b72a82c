"""The condensation tree: a frozen record of which clusters merged, in which order, and what each merge lost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float64, Int
from torch import Tensor

from rgprobe.checks import whole_number
from rgprobe.condensation.newick import newick
from rgprobe.condensation.parents import linkage_from_parents
from rgprobe.condensation.partition import meta_tokens
from rgprobe.errors import BadInput, OptionError
from rgprobe.gaussian import Gaussian

__all__ = ["CondensationTree"]

FORMAT = "rgprobe condensation tree"
OPTIONS = ("weights", "centroid", "adjacency", "n_ties", "labels")


@dataclass(frozen=True, eq=False)
class CondensationTree:
    """Hierarchy of meta-tokens with losses in nats per token; built by `condense` or `from_parents`.

    Nodes 0..N-1 are the tokens; node N + k is the cluster that merge k made.

    Attributes:
        linkage: (N-1, 4) SciPy linkage matrix: two nodes (lower first), height, number of tokens. The height is
            the information lost *so far*, nats: cumulative, hence monotone although single costs may invert. (0, 4) for
            N = 1, which SciPy's own functions refuse.
        merge_costs: (N-1,) cost of each merge by itself, nats.
        weights: (N,) token weights, sum 1.
        centroid: "moment", "pool" or "shift".
        adjacency: "any" or "contiguous".
        n_ties: number of merges at which more than one pair was cheapest (see `rgprobe.condensation.ties`); None where a
            file of an earlier version does not say.
        labels: one string per token, or None.
        beliefs: what was condensed, for `meta_tokens`; not stored in files.
    """

    linkage: Float64[np.ndarray, "M 4"]
    merge_costs: Float64[np.ndarray, "M"]
    weights: Float64[np.ndarray, "N"]
    centroid: str = "moment"
    adjacency: str = "any"
    n_ties: int | None = 0
    labels: tuple[str, ...] | None = None
    beliefs: Gaussian | np.ndarray | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.labels is not None:
            others = [type(label).__name__ for label in self.labels if not isinstance(label, str)]
            if others or len(self.labels) != self.n_leaves:
                raise BadInput(
                    "labels",
                    expected=f"{self.n_leaves} strings, one per token",
                    received=f"an entry of type {others[0]}" if others else f"{len(self.labels)}",
                    remedy="label every token with a text, or none",
                )
        for array in (self.linkage, self.merge_costs, self.weights):
            array.setflags(write=False)

    def __repr__(self) -> str:
        ties = "ties unknown" if self.n_ties is None else f"{self.n_ties} ties"
        loss = f"{self.loss(1):.6g} nats"
        return f"CondensationTree({self.n_leaves} tokens, {loss}, {self.centroid}, {self.adjacency}, {ties})"

    @property
    def n_leaves(self) -> int:
        """Number of tokens N."""
        return len(self.weights)

    @property
    def heights(self) -> Float64[np.ndarray, "M"]:
        """(N-1,) information lost after each merge, nats; the third column of `linkage`."""
        return self.linkage[:, 2]

    @property
    def information(self) -> Float64[np.ndarray, "N"]:
        """Information curve (N,): entry m - 1 is D(m), the nats lost with m clusters. D(1) is the total, D(N) = 0."""
        return np.append(self.heights[::-1], 0.0)

    def loss(self, n_clusters: int) -> float:
        """D(n_clusters), nats."""
        return float(self.information[self._checked(n_clusters) - 1])

    def effective_clusters(self, fraction: float = 0.5) -> int:
        """The least m whose loss D(m) is at most ``fraction`` of D(1)."""
        if not 0 <= fraction <= 1:
            raise OptionError(
                "fraction", expected="a number in [0, 1]", received=f"{fraction}", remedy="0.5 is the default"
            )
        return int(np.argmax(self.information <= fraction * self.information[0])) + 1

    def cut(self, *, n_clusters: int | None = None, height: float | None = None) -> Int[np.ndarray, "N"]:
        """Cluster of each token, (N,) integers 0..m-1 numbered in the order of each cluster's first token.

        Args:
            n_clusters: exactly this many clusters (SciPy's fcluster may give fewer where heights tie).
            height: apply the merges whose cumulative loss is at most this, nats.

        Raises:
            OptionError: both or neither given, or out of range.
        """
        if (n_clusters is None) == (height is None):
            raise OptionError(
                "cut",
                expected="n_clusters or height",
                received="both or neither",
                remedy="cut(n_clusters=8) or cut(height=0.1)",
            )
        if n_clusters is not None:
            return self._labels_after(self.n_leaves - self._checked(n_clusters))
        if not (isinstance(height, (int, float, np.number)) and height >= 0):
            raise OptionError(
                "height", expected="a number of nats >= 0", received=f"{height}", remedy="see tree.heights"
            )
        return self._labels_after(int(np.searchsorted(self.heights, height, side="right")))

    def _checked(self, n_clusters: int) -> int:
        remedy = "a tree of N tokens has 1 to N clusters"
        return whole_number("n_clusters", n_clusters, least=1, most=self.n_leaves, remedy=remedy)

    def _labels_after(self, n_merges: int) -> np.ndarray:
        """Clusters after the first merges: each node takes its parent's root, from the last merge down."""
        n = self.n_leaves
        root = np.arange(n + n_merges)
        for k in range(n_merges - 1, -1, -1):
            root[self.linkage[k, :2].astype(np.int64)] = root[n + k]
        _, first, inverse = np.unique(root[:n], return_index=True, return_inverse=True)
        return np.argsort(np.argsort(first))[inverse]

    def leaves(self, node: int) -> Int[np.ndarray, "k"]:
        """Tokens below a node, ascending; a token is its own leaf."""
        n = self.n_leaves
        pending = [whole_number("node", node, least=0, most=2 * n - 2, remedy="node N + k is merge k")]
        found = []
        while pending:
            top = pending.pop()
            if top < n:
                found.append(top)
            else:
                pending.extend(self.linkage[top - n, :2].astype(int).tolist())
        return np.sort(np.array(found, dtype=np.int64))

    def meta_tokens(
        self, n_clusters: int, beliefs: Gaussian | np.ndarray | Tensor | None = None
    ) -> tuple[Gaussian | np.ndarray, np.ndarray]:
        """Merged beliefs of the cut into ``n_clusters`` and their weights, in the order of the cut's labels.

        Args:
            n_clusters: number of meta-tokens m.
            beliefs: needed only where the tree was read from a file, which keeps no beliefs.

        Returns:
            A Gaussian of batch shape (m,) or (m, V) probability rows, and (m,) weights that sum to 1.
        """
        kept = self.beliefs if beliefs is None else beliefs
        if kept is None:
            raise OptionError(
                "beliefs",
                expected="the beliefs that were condensed",
                received="a tree read from a file",
                remedy="pass tree.meta_tokens(m, beliefs)",
            )
        return meta_tokens(kept, self.cut(n_clusters=n_clusters), self.weights, centroid=self.centroid)

    @property
    def parents(self) -> Int[np.ndarray, "P"]:
        """(2N-1,) parent of each node, -1 for the root: the stored form of the topology."""
        parents = np.full(2 * self.n_leaves - 1, -1, dtype=np.int64)
        for k, (a, b) in enumerate(self.linkage[:, :2].astype(np.int64)):
            parents[a] = parents[b] = self.n_leaves + k
        return parents

    @classmethod
    def from_parents(
        cls,
        parents: Sequence[int] | np.ndarray,
        merge_costs: Sequence[float] | np.ndarray,
        *,
        weights: Sequence[float] | np.ndarray | None = None,
        centroid: str = "moment",
        adjacency: str = "any",
        n_ties: int | None = 0,
        labels: Sequence[str] | None = None,
        beliefs: Gaussian | np.ndarray | None = None,
    ) -> CondensationTree:
        """Tree from its parent array (2N-1,) and single merge costs (N-1,) in merge order.

        Raises:
            BadInput: not a binary tree whose nodes are numbered in merge order, or costs that do not fit.
        """
        linkage, costs = linkage_from_parents(np.asarray(parents), np.asarray(merge_costs, dtype=np.float64))
        n = len(costs) + 1
        w = np.full(n, 1.0 / n) if weights is None else np.array(weights, dtype=np.float64)
        if w.shape != (n,):
            raise BadInput(
                "weights", expected=f"{n} numbers", received=f"shape {w.shape}", remedy="one weight per token"
            )
        kept = None if labels is None else tuple(labels)
        ties = None if n_ties is None else whole_number("n_ties", n_ties, least=0)
        return cls(linkage, costs, w, centroid, adjacency, ties, kept, beliefs)

    def to_json(self) -> str:
        """JSON text (ASCII only, so any token text survives): parents, merge costs, weights, labels and options."""
        return json.dumps(
            {
                "format": FORMAT,
                "version": 1,
                "units": "nats per token",
                "parents": self.parents.tolist(),
                "merge_costs": self.merge_costs.tolist(),
                "weights": self.weights.tolist(),
                "centroid": self.centroid,
                "adjacency": self.adjacency,
                "n_ties": self.n_ties,
                "labels": None if self.labels is None else list(self.labels),
            },
            allow_nan=False,
        )

    @classmethod
    def from_json(cls, text: str) -> CondensationTree:
        """The tree that `to_json` wrote; beliefs are not part of it."""
        try:
            record: Any = json.loads(text)
        except json.JSONDecodeError as error:
            raise _no_tree(text) from error
        if not isinstance(record, dict) or record.get("format") != FORMAT or record.get("version") != 1:
            raise _no_tree(text)
        if not {"parents", "merge_costs", *OPTIONS} <= record.keys():
            raise _no_tree(text)
        options = {name: record[name] for name in OPTIONS}
        return cls.from_parents(record["parents"], record["merge_costs"], **options)

    def to_newick(self) -> str:
        """Newick text; branch lengths are differences of cumulative loss (nats), labels are quoted and escaped."""
        return newick(self.linkage, self.labels)


def _no_tree(text: str) -> BadInput:
    return BadInput(
        "tree JSON", expected=f"{FORMAT}, version 1", received=repr(text[:40]), remedy="pass what tree.to_json() wrote"
    )
