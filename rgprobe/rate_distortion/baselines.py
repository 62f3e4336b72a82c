"""Obvious ways to group tokens, against which meta-tokens have to show that they keep more of what a model computes.

Each is a function of the tokens' states and of a number of clusters, and returns labels 0 ... m - 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy.cluster.hierarchy import cut_tree, linkage

__all__ = ["BASELINES", "bipartite", "contiguous", "k_means", "random", "rolled", "text_units", "ward", "windows"]

States = Float[np.ndarray, "tokens width"]
Labels = Int[np.ndarray, " tokens"]


def random(states: States, clusters: int, seed: int) -> Labels:
    """Every token in a cluster at random, no cluster empty."""
    generator = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(clusters), generator.integers(clusters, size=len(states) - clusters)])
    return generator.permutation(labels)


def contiguous(states: States, clusters: int, seed: int) -> Labels:
    """Runs of neighbouring tokens with random ends."""
    cuts = np.random.default_rng(seed).permutation(len(states) - 1)[: clusters - 1]
    return np.cumsum(np.isin(np.arange(len(states)), cuts + 1)).astype(np.int64)


def windows(states: States, clusters: int, seed: int) -> Labels:
    """Windows of equal length, as in attention over local windows.

    Example:
        >>> windows(np.zeros((7, 2)), 3, 0).tolist()
        [0, 0, 0, 1, 1, 2, 2]
    """
    return np.arange(len(states)) * clusters // len(states)


def ward(states: States, clusters: int, seed: int) -> Labels:
    """Ward's tree on states of unit norm."""
    if len(states) == 1:
        return np.zeros(1, dtype=np.int64)
    return cut_tree(linkage(_normalised(states), "ward"), clusters)[:, 0].astype(np.int64)


def k_means(states: States, clusters: int, seed: int) -> Labels:
    """k-means on states of unit norm; clusters that stay empty are filled by splitting the largest."""
    from sklearn.cluster import KMeans

    if clusters == len(states):
        return np.arange(clusters)
    labels = KMeans(clusters, n_init=1, random_state=seed, max_iter=50).fit_predict(_normalised(states))
    return _filled(labels.astype(np.int64), clusters)


def bipartite(states: States, clusters: int, seed: int) -> Labels:
    """Bipartite soft matching by cosine: every second token is merged into the one it is most like, best matches first.

    Repeated, on the means of what is merged, until `clusters` are left; a round can at most halve the number.

    Source: Bolya et al., ICLR 2023 (arXiv:2210.09461).
    """
    labels = np.arange(len(states))
    while (count := labels.max() + 1) > clusters:
        sizes = np.bincount(labels)
        means = np.stack([np.bincount(labels, column) for column in states.T], -1) / sizes[:, None]
        unit = _normalised(means)
        likeness = unit[::2] @ unit[1::2].T
        best = np.argsort(-likeness.max(1), kind="stable")[: min(count - clusters, count // 2)]
        target = np.arange(count)
        target[2 * best] = 2 * likeness[best].argmax(1) + 1
        labels = np.unique(target[labels], return_inverse=True)[1]
    return labels


def rolled(labels: Labels, seed: int) -> Labels:
    """A partition moved along the text by a random number of tokens: equal sizes and gaps, other tokens."""
    return np.roll(labels, np.random.default_rng(seed).integers(1, len(labels)) if len(labels) > 1 else 0)


def text_units(tokens: Sequence[str], pattern: str) -> Labels:
    r"""Clusters that end where a token matches a pattern, such as "[.!?]" for sentences or "\n\s*\n" for paragraphs.

    Example:
        >>> text_units(["To", " be", ".", " Or", " not", "?"], "[.!?]").tolist()
        [0, 0, 0, 1, 1, 1]
    """
    ends = np.array([bool(re.search(pattern, token)) for token in tokens], dtype=bool)
    return np.concatenate([[0], np.cumsum(ends[:-1])]).astype(np.int64)


BASELINES: dict[str, Callable[[States, int, int], Labels]] = {
    "random": random,
    "contiguous": contiguous,
    "windows": windows,
    "ward": ward,
    "k_means": k_means,
    "bipartite": bipartite,
}


def _normalised(states: np.ndarray) -> np.ndarray:
    return states / np.linalg.norm(states, axis=-1, keepdims=True).clip(np.finfo(np.float64).tiny)


def _filled(labels: np.ndarray, clusters: int) -> np.ndarray:
    for empty in sorted(set(range(clusters)) - set(labels.tolist())):
        largest = np.bincount(labels, minlength=clusters).argmax()
        labels[np.flatnonzero(labels == largest)[0]] = empty
    return labels
