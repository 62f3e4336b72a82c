"""Partitions of tokens: the merged belief of each cluster, and the information that any partition loses."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from rgprobe import categorical
from rgprobe.condensation.beliefs import as_beliefs, check_choice, token_weights
from rgprobe.errors import BadInput, NumericalRefusal
from rgprobe.gaussian import Gaussian, kl, merge, pool

__all__ = ["cluster_losses", "meta_tokens", "partition_loss"]

CENTROIDS = ("moment", "pool")


def meta_tokens(
    beliefs: Gaussian | np.ndarray | Tensor,
    labels: np.ndarray,
    weights: np.ndarray | Tensor | None = None,
    *,
    centroid: str = "moment",
) -> tuple[Gaussian | Float64[np.ndarray, "m V"], Float64[np.ndarray, "m"]]:
    """Merged belief and weight of each cluster of a partition, in ascending order of the labels.

    Args:
        beliefs: Gaussian of batch shape (N,), or probability rows (N, V).
        labels: (N,) integers, the cluster of each token.
        weights: (N,), None for 1/N; the returned weights sum to 1.
        centroid: "moment" (moment match, mixture) or "pool" (log-linear pool, normalised geometric mean).

    Example:
        >>> rows, weights = meta_tokens(np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]), np.array([0, 0, 1]))
        >>> rows.tolist(), weights.round(3).tolist()
        ([[0.75, 0.25], [0.0, 1.0]], [0.667, 0.333])
    """
    kept = as_beliefs(beliefs)
    members = list(_members(len(kept), labels, weights, centroid))
    totals = np.array([w.sum() for _, w in members])
    if isinstance(kept, Gaussian):
        centers = [_gaussian_center(_factors_first(kept, index), w, centroid) for index, w in members]
        means = torch.stack([c.mean.double() for c in centers])
        return Gaussian.from_covariance(means, torch.stack([c.covariance for c in centers])), totals
    return np.stack([_categorical_center(kept[index], w, centroid) for index, w in members]), totals


def partition_loss(
    beliefs: Gaussian | np.ndarray | Tensor,
    labels: np.ndarray,
    weights: np.ndarray | Tensor | None = None,
    *,
    centroid: str = "moment",
) -> float:
    """Information lost by replacing each token by its cluster's meta-token, nats per token.

    sum_i w_i KL(q_i || m_c(i)) for "moment", sum_i w_i KL(m_c(i) || q_i) for "pool". For the cut of a condensation tree
    into m clusters this is D(m), for each centroid: both divergences obey a Pythagorean identity at their own centroid
    (moment matching is the m-projection, log-linear pooling the e-projection), so the losses of nested merges add up
    exactly.

    Example:
        >>> partition_loss(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0, 0]))  # ln 2
        0.693147...
    """
    return float(cluster_losses(beliefs, labels, weights, centroid=centroid).sum())


def cluster_losses(
    beliefs: Gaussian | np.ndarray | Tensor,
    labels: np.ndarray,
    weights: np.ndarray | Tensor | None = None,
    *,
    centroid: str = "moment",
) -> Float64[np.ndarray, "m"]:
    """Contribution of each cluster to `partition_loss`, nats, in ascending order of the labels."""
    kept = as_beliefs(beliefs)
    members = _members(len(kept), labels, weights, centroid)
    return np.array([0.0 if len(index) == 1 else _loss(kept, index, w, centroid) for index, w in members])


def _loss(beliefs: Gaussian | np.ndarray, index: np.ndarray, w: np.ndarray, centroid: str) -> float:
    if isinstance(beliefs, Gaussian):
        return _gaussian_loss(_factors_first(beliefs, index), w, centroid)
    return _categorical_loss(beliefs[index], w, centroid)


def _members(
    n: int, labels: np.ndarray, weights: np.ndarray | Tensor | None, centroid: str
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Token indices and weights of each cluster."""
    check_choice("centroid", centroid, CENTROIDS)
    labels = np.asarray(labels)
    if labels.shape != (n,) or labels.dtype.kind not in "iu":
        raise BadInput(
            "labels",
            expected=f"{n} integers, one per token",
            received=f"{labels.dtype} of shape {labels.shape}",
            remedy="pass tree.cut(...) or any integer partition",
        )
    w = token_weights(weights, n)
    for label in np.unique(labels):
        index = np.flatnonzero(labels == label)
        yield index, w[index]


def _factors_first(beliefs: Gaussian, index: np.ndarray) -> Gaussian:
    """The chosen tokens as last batch dimension (F, k), which is the one that merging sums over."""
    chosen = beliefs[torch.from_numpy(index).to(beliefs.device)]
    if len(chosen.batch_shape) == 1:
        return chosen
    order = torch.arange(chosen.batch_shape.numel()).reshape(chosen.batch_shape).T.reshape(-1)
    return chosen.reshape(-1)[order].reshape(*chosen.batch_shape[::-1])


def _gaussian_center(tokens: Gaussian, w: np.ndarray, centroid: str) -> Gaussian:
    combine = merge if centroid == "moment" else pool
    return combine(tokens, torch.from_numpy(w / w.sum()).to(tokens.device))


def _gaussian_loss(tokens: Gaussian, w: np.ndarray, centroid: str) -> float:
    """Weighted sum of KL(token || center) or KL(center || token), nats."""
    center = _gaussian_center(tokens, w, centroid).reshape(*tokens.batch_shape[:-1], 1)
    nats = kl(tokens, center) if centroid == "moment" else kl(center, tokens)
    return float((nats.detach().cpu().numpy() * w).sum())


def _categorical_center(rows: np.ndarray, w: np.ndarray, centroid: str) -> np.ndarray:
    share = w / w.sum()
    if centroid == "moment":
        return share @ rows
    with np.errstate(divide="ignore"):
        log = share @ np.log(rows)
    if np.isneginf(log).all():
        raise NumericalRefusal(
            "beliefs",
            expected="beliefs whose supports overlap",
            received="a cluster with no class in common",
            remedy="use centroid='moment', or mix a little of the mean belief into every row",
        )
    pooled = np.exp(log - log.max())
    return pooled / pooled.sum()


def _categorical_loss(rows: np.ndarray, w: np.ndarray, centroid: str) -> float:
    """Weighted sum of KL(row || center) or KL(center || row), nats."""
    with np.errstate(divide="ignore"):
        tokens = torch.from_numpy(np.log(rows))
        center = torch.from_numpy(np.log(_categorical_center(rows, w, centroid)))
    nats = categorical.kl(tokens, center) if centroid == "moment" else categorical.kl(center, tokens)
    return float(w @ nats.numpy())
