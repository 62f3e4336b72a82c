"""Brackets of trees: clades against a gold parse, as in unlabelled parsing, and the trees that read nothing.

A *clade* is the set of leaves below an inner node. Single leaves and the whole are in every tree and count for nothing. Gold
parses need not be binary: a node of k > 2 children has fewer clades than any binary tree over them, so a binary tree then has
a precision below 1 at best, and `best_binary_f1` says how much.

Source: the PARSEVAL measures (Black et al., 1991), unlabelled and without duplicates, as in unsupervised parsing (Klein &
Manning, ACL 2004).
"""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from rgprobe.errors import BadInput

__all__ = [
    "BracketScore",
    "balanced",
    "best_binary_f1",
    "bracket_score",
    "clades_of_spans",
    "left_branching",
    "linkage_clades",
    "random_contiguous",
    "right_branching",
]

Clades = Set[frozenset[int]]


@dataclass(frozen=True)
class BracketScore:
    """How one set of clades agrees with another; pure numbers, NaN where a set is empty.

    Attributes:
        precision: share of the predicted clades that are gold.
        recall: share of the gold clades that are predicted: clade recall.
        f1: harmonic mean of the two, 2 |both| / (|predicted| + |gold|).
        crossing: share of the predicted clades that overlap some gold clade without either containing the other.
    """

    precision: float
    recall: float
    f1: float
    crossing: float


def bracket_score(predicted: Clades, gold: Clades, *, leaves: int) -> BracketScore:
    """Unlabelled precision, recall and F1 over nontrivial clades (2 to `leaves` - 1 leaves).

    Raises:
        BadInput: a clade with a leaf outside 0 ... leaves - 1.

    Example:
        >>> gold = {frozenset({0, 1}), frozenset({2, 3})}
        >>> bracket_score({frozenset({0, 1}), frozenset({0, 1, 2})}, gold, leaves=4)
        BracketScore(precision=0.5, recall=0.5, f1=0.5, crossing=0.5)
    """
    found, wanted = _nontrivial(predicted, leaves), _nontrivial(gold, leaves)
    both, nan = len(found & wanted), float("nan")
    crossed = sum(any(clade & other and clade - other and other - clade for other in wanted) for clade in found)
    return BracketScore(
        precision=both / len(found) if found else nan,
        recall=both / len(wanted) if wanted else nan,
        f1=2 * both / (len(found) + len(wanted)) if wanted else nan,
        crossing=crossed / len(found) if found else nan,
    )


def best_binary_f1(gold: Clades, *, leaves: int) -> float:
    """The F1 of a binary tree that has every gold clade; 1 for a binary gold parse, NaN for one without clades.

    Example:
        >>> best_binary_f1({frozenset({0, 1, 2})}, leaves=5)
        0.5
    """
    wanted = len(_nontrivial(gold, leaves))
    return 2 * wanted / (leaves - 2 + wanted) if wanted else float("nan")


def linkage_clades(linkage: Float[np.ndarray, "merges 4"]) -> set[frozenset[int]]:
    """Clades of a SciPy linkage matrix, the whole left out.

    Example:
        >>> linkage_clades(np.array([[0.0, 1.0, 0.1, 2.0], [2.0, 3.0, 0.2, 3.0]]))
        {frozenset({0, 1})}
    """
    below = [frozenset([i]) for i in range(len(linkage) + 1)]
    for a, b in linkage[:, :2].astype(int).tolist():
        below.append(below[a] | below[b])
    return set(below[len(linkage) + 1 : -1])


def clades_of_spans(spans: Set[tuple[int, int]]) -> set[frozenset[int]]:
    """Leaf sets of brackets (start, stop), stop excluded.

    Example:
        >>> clades_of_spans({(1, 3)})
        {frozenset({1, 2})}
    """
    return {frozenset(range(start, stop)) for start, stop in spans}


def right_branching(leaves: int) -> set[frozenset[int]]:
    """Every leaf joins what stands to its right.

    Example:
        >>> sorted(sorted(clade) for clade in right_branching(4))
        [[1, 2, 3], [2, 3]]
    """
    return {frozenset(range(start, leaves)) for start in range(1, leaves - 1)}


def left_branching(leaves: int) -> set[frozenset[int]]:
    """Every leaf joins what stands to its left.

    Example:
        >>> sorted(sorted(clade) for clade in left_branching(4))
        [[0, 1], [0, 1, 2]]
    """
    return {frozenset(range(stop)) for stop in range(2, leaves)}


def balanced(leaves: int) -> set[frozenset[int]]:
    """Every span is cut in the middle; of an odd one the left half is the larger.

    Example:
        >>> sorted(sorted(clade) for clade in balanced(5))
        [[0, 1], [0, 1, 2], [3, 4]]
    """
    return _split(leaves, lambda start, stop: (start + stop + 1) // 2)


def random_contiguous(leaves: int, generator: np.random.Generator) -> set[frozenset[int]]:
    """Every span is cut at a uniformly random place.

    Example:
        >>> len(random_contiguous(6, np.random.default_rng(0)))
        4
    """
    return _split(leaves, lambda start, stop: int(generator.integers(start + 1, stop)))


def _split(leaves: int, cut: Callable[[int, int], int]) -> set[frozenset[int]]:
    pending, found = [(0, leaves)], set()
    while pending:
        start, stop = pending.pop()
        if stop - start < 2:
            continue
        if stop - start < leaves:
            found.add(frozenset(range(start, stop)))
        middle = cut(start, stop)
        pending += [(start, middle), (middle, stop)]
    return found


def _nontrivial(clades: Clades, leaves: int) -> set[frozenset[int]]:
    strays = [leaf for clade in clades for leaf in clade if not 0 <= leaf < leaves]
    if strays:
        raise BadInput("clades", expected=f"leaves from 0 to {leaves - 1}", received=f"{strays[0]}",
                       remedy="pass clades of the same sentence")  # fmt: skip
    return {clade for clade in clades if 1 < len(clade) < leaves}
