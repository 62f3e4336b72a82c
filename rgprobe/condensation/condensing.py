"""Beliefs in, condensation tree out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from torch import Tensor

from rgprobe.checks import one_of
from rgprobe.condensation.agglomeration import agglomerate, agglomerate_contiguous
from rgprobe.condensation.beliefs import as_beliefs, token_weights
from rgprobe.condensation.categorical_costs import CategoricalMoment, CategoricalPool
from rgprobe.condensation.cost_table import Costs
from rgprobe.condensation.gaussian_costs import GaussianMoment, GaussianPool, GaussianShift
from rgprobe.condensation.parents import linkage_from_pairs
from rgprobe.condensation.partition import CENTROIDS
from rgprobe.condensation.ties import TieOrder
from rgprobe.condensation.tree import CondensationTree
from rgprobe.gaussian import Gaussian

__all__ = ["condense"]

ADJACENCIES = ("any", "contiguous")


def condense(
    beliefs: Gaussian | Tensor | np.ndarray,
    weights: Tensor | np.ndarray | Sequence[float] | None = None,
    *,
    centroid: str = "moment",
    adjacency: str = "any",
    labels: Sequence[str] | None = None,
) -> CondensationTree:
    r"""Condense token beliefs into meta-tokens by exact greedy merging; each step merges the pair that loses least.

    .. math:: \text{moment: } w_a KL(a\|m) + w_b KL(b\|m), \qquad \text{pool: } w_a KL(m\|a) + w_b KL(m\|b),

    m the moment-matched Gaussian or mixture ("moment"), or the log-linear pool or normalised geometric mean ("pool"). With
    "shift", for Gaussian beliefs, tokens keep their covariances and only their means move, to the precision-weighted mean m of
    the cluster: (1/2) w_a (mu_a - m)^T Lambda_a (mu_a - m) + the same of b. That is what replacing states by meta-tokens costs
    to second order, where precisions say what a move of the state costs ("downstream" beliefs).
    The costs of a tree add up to the loss of replacing every token by the root m: sum_i w_i KL(q_i || m) for "moment"
    (for categorical beliefs the mutual information I(token; class)), sum_i w_i KL(m || q_i) for "pool".

    Args:
        beliefs: Gaussian of batch shape (N,) (or (N, F): a product of F independent beliefs per token), or probability
            rows (N, V), numpy or torch. Rows within 1e-6 of sum 1 are divided by their sum, others refused.
        weights: (N,) positive, scaled to sum 1; None means 1/N, so that losses are nats per token.
        centroid: "moment", "pool" or, for Gaussian beliefs, "shift".
        adjacency: "any", or "contiguous": only neighbours in sequence order may merge.
        labels: token texts, kept for drawing and export.

    Raises:
        BadInput: shapes that do not fit.
        OptionError: unknown option, or weights that are not positive numbers.
        NumericalRefusal: beliefs that are none (NaN, negative, unnormalised), naming the row; pools without common
            support.

    Source: agglomerative information bottleneck (Slonim & Tishby, NIPS 1999) for categorical moment merging; Goldberger
    & Roweis (NIPS 2004) for Gaussian mixtures; ties as in `rgprobe.condensation.ties`.

    Example:
        >>> tree = condense(np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9]]), labels=("cat", "dog", "the"))
        >>> tree.cut(n_clusters=2).tolist(), tree.information.round(4).tolist()
        ([0, 0, 1], [0.2895, 0.0066, 0.0])
    """
    one_of("centroid", centroid, CENTROIDS)
    one_of("adjacency", adjacency, ADJACENCIES)
    kept = as_beliefs(beliefs)
    w = token_weights(weights, len(kept))
    greedy = agglomerate if adjacency == "any" else agglomerate_contiguous
    merges = greedy(_slots(kept, w, centroid), len(kept), TieOrder(lambda: _contents(kept, w)))
    costs = np.array(merges.costs, dtype=np.float64)
    pairs = np.array(merges.pairs, dtype=np.int64).reshape(-1, 2)
    names = None if labels is None else tuple(labels)
    return CondensationTree(linkage_from_pairs(pairs, costs), costs, w, centroid, adjacency, merges.n_ties, names, kept)


def _slots(beliefs: Gaussian | np.ndarray, weights: np.ndarray, centroid: str) -> Costs:
    if isinstance(beliefs, Gaussian):
        gaussian = {"moment": GaussianMoment, "pool": GaussianPool, "shift": GaussianShift}
        return cast(Costs, gaussian[centroid](beliefs, weights))
    one_of("centroid of categorical beliefs", centroid, ("moment", "pool"))  # they have no mean to move
    return (CategoricalMoment if centroid == "moment" else CategoricalPool)(beliefs, weights)


def _contents(beliefs: Gaussian | np.ndarray, weights: np.ndarray) -> list[list[float]]:
    """Weight and belief entries of each token, for ranking leaves when a tie occurs."""
    if isinstance(beliefs, Gaussian):
        n = len(beliefs)
        parts = [beliefs.mean.detach().cpu().double().reshape(n, -1), beliefs.covariance.detach().cpu().reshape(n, -1)]
        rows = np.concatenate([p.numpy() for p in parts], axis=1)
    else:
        rows = beliefs
    return np.column_stack([weights, rows]).tolist()
