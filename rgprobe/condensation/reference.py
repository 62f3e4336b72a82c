"""The obvious condensation: every pair is merged and its two KL divergences evaluated anew at every step, O(N^3)."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import Any

import numpy as np
import torch
from scipy.special import rel_entr
from torch import Tensor

from rgprobe.condensation.beliefs import as_beliefs, token_weights
from rgprobe.condensation.tree import CondensationTree
from rgprobe.gaussian import Gaussian, kl, merge, pool

__all__ = ["condense_reference"]

Cluster = tuple[int, Any, float]  # node, belief, weight


def condense_reference(
    beliefs: Gaussian | Tensor | np.ndarray,
    weights: Tensor | np.ndarray | None = None,
    *,
    centroid: str = "moment",
    adjacency: str = "any",
) -> CondensationTree:
    """The tree of `condense`, slowly and from the definition; of tied pairs the first (ties are not counted).

    Each candidate meta-token is refitted from the two cluster beliefs with `gaussian.merge` or `gaussian.pool` (or the
    mixture or normalised geometric mean), and its cost is the weighted sum of two textbook divergences.

    Example:
        >>> condense_reference(np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9]])).linkage[:, :2].tolist()
        [[0.0, 1.0], [2.0, 3.0]]
    """
    kept = as_beliefs(beliefs)
    w = token_weights(weights, len(kept))
    clusters = [(i, kept[i], float(w[i])) for i in range(len(kept))]
    parents = np.full(2 * len(w) - 1, -1)
    costs: list[float] = []
    while len(clusters) > 1:
        candidates = list(pairwise(clusters) if adjacency == "contiguous" else combinations(clusters, 2))
        merged, losses = _trials(candidates, centroid)
        best = int(np.argmin(losses))
        a, b = candidates[best]
        node = len(w) + len(costs)
        parents[[a[0], b[0]]] = node
        costs.append(max(float(losses[best]), 0.0))
        clusters[[c[0] for c in clusters].index(a[0])] = (node, merged[best], a[2] + b[2])
        clusters = [c for c in clusters if c[0] != b[0]]
    return CondensationTree.from_parents(
        parents, costs, weights=w, centroid=centroid, adjacency=adjacency, beliefs=kept
    )


def _trials(candidates: list[tuple[Cluster, Cluster]], centroid: str) -> tuple[Gaussian | np.ndarray, np.ndarray]:
    """Merged belief of each candidate pair, and its cost in nats."""
    w = np.array([(a[2], b[2]) for a, b in candidates])
    if isinstance(candidates[0][0][1], Gaussian):
        return _gaussian_trials([(a[1], b[1]) for a, b in candidates], torch.from_numpy(w), centroid)
    p, q = (np.array([pair[side][1] for pair in candidates]) for side in (0, 1))
    share = w[:, :1] / w.sum(axis=1, keepdims=True)
    if centroid == "moment":
        m = share * p + (1 - share) * q
        return m, w[:, 0] * rel_entr(p, m).sum(axis=1) + w[:, 1] * rel_entr(q, m).sum(axis=1)
    m = p**share * q ** (1 - share)
    m /= m.sum(axis=1, keepdims=True)
    return m, w[:, 0] * rel_entr(m, p).sum(axis=1) + w[:, 1] * rel_entr(m, q).sum(axis=1)


def _gaussian_trials(pairs: list[tuple[Gaussian, Gaussian]], w: Tensor, centroid: str) -> tuple[Gaussian, np.ndarray]:
    means = torch.stack([torch.stack([g.mean.double() for g in pair]) for pair in pairs])
    both = Gaussian.from_covariance(means, torch.stack([torch.stack([g.covariance for g in pair]) for pair in pairs]))
    p, q = both[:, 0], both[:, 1]
    m = (merge if centroid == "moment" else pool)(both, w)
    to_p, to_q = (kl(p, m), kl(q, m)) if centroid == "moment" else (kl(m, p), kl(m, q))
    return m, (w[:, 0] * to_p + w[:, 1] * to_q).numpy()
