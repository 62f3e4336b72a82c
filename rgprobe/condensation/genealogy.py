r"""Genealogy of condensation trees over the same tokens, layer after layer: which clusters persist, split, merge, mix.

Each tree is cut once, and adjacent layers are laid upon each other. Two clusters are related if they share a token. Related
clusters, and what is related to those, form an *event*: the smallest group of tokens that is a union of clusters on both
sides (the blocks of the join of the two partitions). Its kind needs no threshold:

======== =============== =============
kind     clusters before clusters after
======== =============== =============
persists 1               1
splits   1               2 or more
merges   2 or more       1
mixes    2 or more       2 or more
======== =============== =============

One token that changes sides makes two persisting clusters mix: kinds are exact, agreement between layers is graded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float64, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.metrics import adjusted_rand_score

from rgprobe.condensation.agreement import cophenetic_correlation
from rgprobe.condensation.tree import CondensationTree
from rgprobe.errors import BadInput, OptionError

__all__ = [
    "KINDS",
    "Event",
    "Genealogy",
    "Passage",
    "event_shares",
    "events",
    "genealogy",
    "overlap",
    "partition_agreement",
    "persisting",
]

KINDS = ("persists", "splits", "merges", "mixes")
Labels = Int[np.ndarray, "N"]


@dataclass(frozen=True)
class Event:
    """What happens to a group of tokens between two layers.

    Attributes:
        kind: "persists", "splits", "merges" or "mixes".
        before: clusters of the earlier layer.
        after: clusters of the later layer, over the same tokens.
        tokens: the tokens, ascending.
    """

    kind: str
    before: tuple[int, ...]
    after: tuple[int, ...]
    tokens: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Passage:
    """From one layer to the next.

    Attributes:
        overlap: weight that cluster i of the earlier and cluster j of the later layer share; sums to 1.
        events: in the order of their first tokens.
        adjusted_rand: agreement of the two partitions, see `partition_agreement`.
        cophenetic: correlation of the heights at which two tokens join, all pairs; see
            `rgprobe.condensation.agreement.cophenetic_correlation`.
        persisting: see `persisting`.
    """

    overlap: Float64[np.ndarray, "before after"]
    events: tuple[Event, ...]
    adjusted_rand: float
    cophenetic: float
    persisting: float


@dataclass(frozen=True, eq=False)
class Genealogy:
    """Trees of the same tokens along depth, each cut once.

    Attributes:
        trees: one per layer.
        partitions: cluster of each token at each layer, numbered in the order of each cluster's first token.
        losses: what each cut loses, nats per token.
        passages: between adjacent layers, one fewer than trees.
    """

    trees: tuple[CondensationTree, ...]
    partitions: Int[np.ndarray, "layers N"]
    losses: Float64[np.ndarray, "layers"]
    passages: tuple[Passage, ...]

    def cluster_losses(self, layer: int) -> Float64[np.ndarray, "clusters"]:
        """What each cluster of a layer loses, nats per token; they add up to the layer's loss."""
        tree, labels = self.trees[layer], self.partitions[layer]
        count = int(labels.max()) + 1
        merged = range(tree.n_leaves - count)
        owner = [labels[tree.leaves(tree.n_leaves + k)[0]] for k in merged]
        return np.bincount(np.array(owner, dtype=np.int64), tree.merge_costs[: len(merged)], minlength=count)

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Token texts."""
        return self.trees[0].labels


def genealogy(
    trees: Sequence[CondensationTree],
    *,
    n_clusters: int | None = None,
    loss: float | None = None,
    fraction: float | None = None,
) -> Genealogy:
    """Cut every tree in the same way, and say what becomes of the clusters from layer to layer.

    Args:
        trees: of the same tokens in the same order, from the input end to the output end.
        n_clusters: so many clusters at every layer.
        loss: budget in nats per token: every merge whose cumulative loss stays within it.
        fraction: budget as a share of each tree's loss at its root, in [0, 1]. The default, with 0.25.

    Raises:
        BadInput: no tree, trees over different tokens, or of other weights.
        OptionError: more than one way to cut, or a budget out of range.

    Example:
        >>> from rgprobe.condensation import condense
        >>> early = condense(np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.1, 0.9]]))
        >>> late = condense(np.array([[0.9, 0.1], [0.2, 0.8], [0.2, 0.8], [0.2, 0.8]]))
        >>> found = genealogy([early, late], n_clusters=2)
        >>> found.partitions.tolist(), [event.kind for event in found.passages[0].events]
        ([[0, 0, 1, 1], [0, 1, 1, 1]], ['mixes'])
    """
    _check_same_tokens(trees)
    partitions = np.stack([_cut(tree, n_clusters, loss, fraction) for tree in trees])
    losses = np.array([tree.loss(int(labels.max()) + 1) for tree, labels in zip(trees, partitions, strict=True)])
    layers = zip(pairwise(trees), pairwise(partitions), strict=True)
    passages = tuple(_passage(*pair, *labels) for pair, labels in layers)
    return Genealogy(tuple(trees), partitions, losses, passages)


def overlap(
    before: Labels, after: Labels, weights: Float64[np.ndarray, "N"] | None = None
) -> Float64[np.ndarray, "before after"]:
    """Weight that two clusters share, rows the earlier partition's; the weights default to 1/N.

    Example:
        >>> overlap(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])).tolist()
        [[0.25, 0.25], [0.0, 0.5]]
    """
    w = np.full(len(before), 1 / len(before)) if weights is None else weights
    shared = np.zeros((int(before.max()) + 1, int(after.max()) + 1))
    np.add.at(shared, (before, after), w)
    return shared


def events(before: Labels, after: Labels) -> tuple[Event, ...]:
    """What happens between two partitions of the same tokens, in the order of the events' first tokens.

    Example:
        >>> for event in events(np.array([0, 0, 1, 2, 3, 3]), np.array([0, 1, 2, 2, 3, 3])):
        ...     print(event.kind, event.before, event.after, event.tokens)
        splits (0,) (0, 1) (0, 1)
        merges (1, 2) (2,) (2, 3)
        persists (3,) (3,) (4, 5)
    """
    earlier, later = int(before.max()) + 1, int(after.max()) + 1
    size = earlier + later
    related = coo_array((np.ones(len(before)), (before, earlier + after)), shape=(size, size))
    group = connected_components(related, directed=False)[1][before]
    _, first = np.unique(group, return_index=True)
    return tuple(_event(np.flatnonzero(group == group[token]), before, after) for token in np.sort(first))


def event_shares(
    before: Labels, after: Labels, weights: Float64[np.ndarray, "N"] | None = None
) -> Float64[np.ndarray, "kinds"]:
    """Share of the tokens' weight in events of each kind, in the order of `KINDS`; sums to 1.

    Example:
        >>> event_shares(np.array([0, 0, 1, 2]), np.array([0, 1, 2, 2])).tolist()
        [0.0, 0.5, 0.5, 0.0]
    """
    w = np.full(len(before), 1 / len(before)) if weights is None else weights
    shares = np.zeros(len(KINDS))
    for event in events(before, after):
        shares[KINDS.index(event.kind)] += w[list(event.tokens)].sum()
    return shares


def partition_agreement(before: Labels, after: Labels) -> float:
    """Adjusted Rand index: 1 for equal partitions, 0 on average once tokens are permuted.

    NaN where a partition says nothing: all tokens in one cluster, or every token by itself.
    Source: Hubert & Arabie, J. Classification 2 (1985) 193.

    Example:
        >>> partition_agreement(np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0]))
        1.0
    """
    counts = [len(np.unique(labels)) for labels in (before, after)]
    if not all(1 < count < len(before) for count in counts):
        return float("nan")
    return float(adjusted_rand_score(before, after))


def persisting(before: Labels, after: Labels) -> float:
    """Share of the earlier clusters of two or more tokens that are clusters of the later partition, to the token.

    Single tokens are left out: at a small budget nearly all tokens are alone at every layer, which is no persistence. NaN
    where all are.

    Example:
        >>> persisting(np.array([0, 0, 1, 1, 2]), np.array([0, 0, 1, 2, 2]))
        0.5
    """
    sizes = np.bincount(before)
    shared = overlap(before, after, np.ones(len(before)))
    later = np.bincount(after)
    kept = ((shared == sizes[:, None]) & (shared == later)).any(1)
    several = sizes > 1
    return float(kept[several].mean()) if several.any() else float("nan")


def _passage(earlier: CondensationTree, later: CondensationTree, before: np.ndarray, after: np.ndarray) -> Passage:
    return Passage(
        overlap(before, after, earlier.weights),
        events(before, after),
        partition_agreement(before, after),
        cophenetic_correlation(earlier, later),
        persisting(before, after),
    )


def _event(tokens: np.ndarray, before: np.ndarray, after: np.ndarray) -> Event:
    earlier, later = (tuple(np.unique(labels[tokens]).tolist()) for labels in (before, after))
    kind = KINDS[(len(later) > 1) + 2 * (len(earlier) > 1)]
    return Event(kind, earlier, later, tuple(tokens.tolist()))


def _cut(tree: CondensationTree, n_clusters: int | None, loss: float | None, fraction: float | None) -> np.ndarray:
    given = [name for name, value in (("n_clusters", n_clusters), ("loss", loss), ("fraction", fraction))
             if value is not None]  # fmt: skip
    if len(given) > 1:
        raise OptionError("cut", expected="one of n_clusters, loss and fraction", received=" and ".join(given),
                          remedy="choose one; a quarter of the loss at the root is the default")  # fmt: skip
    if n_clusters is not None:
        return tree.cut(n_clusters=n_clusters)
    if loss is not None:
        return tree.cut(height=loss)
    share = 0.25 if fraction is None else fraction
    return tree.cut(n_clusters=tree.effective_clusters(share))


def _check_same_tokens(trees: Sequence[CondensationTree]) -> None:
    """The same weights and, where trees are labelled, the same labels."""
    if not trees:
        raise _not_one_set("no tree")
    for number, tree in enumerate(trees):
        if tree.n_leaves != trees[0].n_leaves or tree.labels != trees[0].labels:
            raise _not_one_set(f"trees[{number}] of {tree.n_leaves} other tokens")
        if not np.array_equal(tree.weights, trees[0].weights):
            raise _not_one_set(f"trees[{number}] with other weights")


def _not_one_set(received: str) -> BadInput:
    return BadInput("trees", expected="one tree per layer over the same weighted tokens", received=received,
                    remedy="condense the beliefs of one set of tokens at every layer")  # fmt: skip
