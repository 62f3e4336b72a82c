"""How far two trees, or a tree and a known hierarchy, agree."""

from __future__ import annotations

from collections.abc import Set

import numpy as np
from jaxtyping import Float64
from scipy.cluster.hierarchy import cophenet
from sklearn.metrics import adjusted_rand_score

from rgprobe.condensation.brackets import linkage_clades
from rgprobe.condensation.tree import CondensationTree
from rgprobe.errors import BadInput

__all__ = [
    "bracket_f1",
    "clade_recall",
    "clades",
    "cophenetic_correlation",
    "cut_agreement",
    "height_correlation",
    "linkage_correlation",
    "linkage_recall",
]


def clades(tree: CondensationTree) -> set[frozenset[int]]:
    """Leaf sets of the inner nodes below the root: what the topology asserts (root and single tokens assert nothing).

    Example:
        >>> from rgprobe.condensation import condense
        >>> clades(condense(np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9]])))
        {frozenset({0, 1})}
    """
    return linkage_clades(tree.linkage)


def clade_recall(tree: CondensationTree, expected: Set[frozenset[int]]) -> float:
    """Fraction of the expected clades that the tree has; see `linkage_recall`."""
    return linkage_recall(tree.linkage, expected)


def linkage_recall(linkage: Float64[np.ndarray, "merges 4"], expected: Set[frozenset[int]]) -> float:
    """Fraction of the expected clades that the tree of a SciPy linkage matrix has; NaN if none are expected.

    Clades of one leaf or of all leaves are in every tree and count for nothing.

    Example:
        >>> linkage_recall(np.array([[0.0, 1.0, 0.1, 2.0], [2.0, 3.0, 0.2, 3.0]]), {frozenset({0, 1}), frozenset({1, 2})})
        0.5
    """
    wanted = {clade for clade in expected if 1 < len(clade) < len(linkage) + 1}
    return len(wanted & linkage_clades(linkage)) / len(wanted) if wanted else float("nan")


def bracket_f1(a: CondensationTree, b: CondensationTree) -> float:
    """Unlabelled bracket F1 of two trees over the same tokens, as in parsing; NaN for N < 3.

    The root and single tokens do not count. Both trees being binary they have N - 2 brackets each, so precision, recall
    and F1 are one number.
    """
    _check_same_tokens(a, b)
    return clade_recall(a, clades(b))


def cophenetic_correlation(a: CondensationTree, b: CondensationTree) -> float:
    """Agreement of the cumulative losses, nats, at which two tokens join; see `linkage_correlation`."""
    _check_same_tokens(a, b)
    return linkage_correlation(np.array(a.linkage), np.array(b.linkage))


def linkage_correlation(one: Float64[np.ndarray, "merges 4"], other: Float64[np.ndarray, "other_merges 4"]) -> float:
    """Pearson correlation of the heights at which two leaves join in either tree, over all pairs of leaves.

    NaN where the heights of a tree are constant (N < 3, or all merges free).

    Raises:
        BadInput: trees over different numbers of leaves.

    Source: Sokal & Rohlf, Taxon 11 (1962) 33.

    Example:
        >>> tree = np.array([[0.0, 1.0, 0.1, 2.0], [2.0, 3.0, 0.2, 3.0]])
        >>> round(linkage_correlation(tree, tree), 12)
        1.0
    """
    if len(one) != len(other):
        received = f"{len(one) + 1} and {len(other) + 1}"
        raise BadInput("trees", expected="equally many leaves", received=received, remedy="use one set of leaves")
    return float("nan") if len(one) < 2 else height_correlation(cophenet(one), cophenet(other))


def height_correlation(one: Float64[np.ndarray, " pairs"], other: Float64[np.ndarray, " pairs"]) -> float:
    """Pearson correlation of the heights at which the same pairs join; NaN where either is constant.

    Example:
        >>> height_correlation(np.array([1.0, 2.0, 2.0]), np.array([1.0, 3.0, 3.0])), height_correlation(np.ones(3), np.ones(3))
        (1.0, nan)
    """
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(np.corrcoef(one, other)[0, 1])


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
