"""How far two trees, or a tree and a known hierarchy, agree."""

from __future__ import annotations

from collections.abc import Set

import numpy as np
from scipy.cluster.hierarchy import cophenet
from sklearn.metrics import adjusted_rand_score

from rgprobe.condensation.tree import CondensationTree
from rgprobe.errors import BadInput

__all__ = ["bracket_f1", "clade_recall", "clades", "cophenetic_correlation", "cut_agreement"]


def clades(tree: CondensationTree) -> set[frozenset[int]]:
    """Leaf sets of the inner nodes below the root: what the topology asserts (root and single tokens assert nothing).

    Example:
        >>> from rgprobe.condensation import condense
        >>> clades(condense(np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9]])))
        {frozenset({0, 1})}
    """
    n = tree.n_leaves
    below = [frozenset([i]) for i in range(n)]
    for a, b in tree.linkage[:, :2].astype(int).tolist():
        below.append(below[a] | below[b])
    return set(below[n:-1])


def clade_recall(tree: CondensationTree, expected: Set[frozenset[int]]) -> float:
    """Fraction of the expected clades that the tree has; NaN if none are expected.

    Clades of one token or of all tokens are in every tree and count for nothing.
    """
    wanted = {c for c in expected if 1 < len(c) < tree.n_leaves}
    return len(wanted & clades(tree)) / len(wanted) if wanted else float("nan")


def bracket_f1(a: CondensationTree, b: CondensationTree) -> float:
    """Unlabelled bracket F1 of two trees over the same tokens, as in parsing; NaN for N < 3.

    The root and single tokens do not count. Both trees being binary they have N - 2 brackets each, so precision, recall
    and F1 are one number.
    """
    _check_same_tokens(a, b)
    return clade_recall(a, clades(b))


def cophenetic_correlation(a: CondensationTree, b: CondensationTree) -> float:
    """Pearson correlation of the two cophenetic matrices (cumulative loss, nats, at which two tokens join).

    NaN where a tree's cophenetic distances are constant (N < 3, or all merges free).
    Source: Sokal & Rohlf, Taxon 11 (1962) 33.
    """
    _check_same_tokens(a, b)
    if a.n_leaves < 3:
        return float("nan")
    x, y = cophenet(np.array(a.linkage)), cophenet(np.array(b.linkage))
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def cut_agreement(a: CondensationTree, b: CondensationTree, *, n_clusters: int) -> float:
    """Adjusted Rand index of the cuts into ``n_clusters``: 1 for equal partitions, 0 on average for unrelated ones.

    Source: Hubert & Arabie, J. Classification 2 (1985) 193.
    """
    _check_same_tokens(a, b)
    return float(adjusted_rand_score(a.cut(n_clusters=n_clusters), b.cut(n_clusters=n_clusters)))


def _check_same_tokens(a: CondensationTree, b: CondensationTree) -> None:
    if a.n_leaves != b.n_leaves:
        raise BadInput(
            "trees",
            expected="two trees over the same tokens",
            received=f"{a.n_leaves} and {b.n_leaves} tokens",
            remedy="condense the beliefs of one token set",
        )
