"""Partitions of tokens: the merged belief of each cluster, and the information that any partition loses."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from rgprobe import categorical
from rgprobe.checks import one_of
from rgprobe.condensation.beliefs import as_beliefs, token_weights
from rgprobe.condensation.categorical_costs import relative_entropy_term
from rgprobe.condensation.gaussian_costs import accurate_below, cholesky, log_det
from rgprobe.errors import BadInput, NumericalRefusal
from rgprobe.gaussian import Gaussian, kl, merge, pool

__all__ = ["cluster_losses", "meta_tokens", "partition_loss"]

CENTROIDS = ("moment", "pool", "shift")


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
        centroid: "moment" (moment match, mixture) or "pool" (log-linear pool, normalised geometric mean); "shift", for
            Gaussian beliefs, has the pool's centres.

    Example:
        >>> rows, weights = meta_tokens(np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]), np.array([0, 0, 1]))
        >>> rows.tolist(), weights.round(3).tolist()
        ([[0.75, 0.25], [0.0, 1.0]], [0.667, 0.333])
    """
    kept = as_beliefs(beliefs)
    cluster, w = _checked(len(kept), labels, weights, centroid, gaussian=isinstance(kept, Gaussian))
    totals = np.bincount(cluster, w)
    if isinstance(kept, Gaussian):
        members = [(index, w[index]) for index in _members(cluster)]
        centers = [_gaussian_center(_factors_first(kept, index), w, centroid) for index, w in members]
        means = torch.stack([c.mean.double() for c in centers])
        return Gaussian.from_covariance(means, torch.stack([c.covariance for c in centers])), totals
    return _categorical_centers(kept, cluster, w, centroid), totals


def partition_loss(
    beliefs: Gaussian | np.ndarray | Tensor,
    labels: np.ndarray,
    weights: np.ndarray | Tensor | None = None,
    *,
    centroid: str = "moment",
) -> float:
    """Information lost by replacing each token by its cluster's meta-token, nats per token.

    sum_i w_i KL(q_i || m_c(i)) for "moment", sum_i w_i KL(m_c(i) || q_i) for "pool", and for "shift" that of q_i moved to
    the mean of m_c(i), its covariance kept. For the cut of a condensation tree
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
    cluster, w = _checked(len(kept), labels, weights, centroid, gaussian=isinstance(kept, Gaussian))
    if isinstance(kept, Gaussian):
        losses, settled = _moment_losses(kept, cluster, w) if centroid == "moment" else _nothing_lost_alone(cluster)
        for number, index in enumerate(_members(cluster)):
            if not settled[number]:
                losses[number] = _gaussian_loss(_factors_first(kept, index), w[index], centroid)
        return losses
    return np.bincount(cluster, w * _categorical_losses(kept, cluster, w, centroid))


def _checked(
    n: int, labels: np.ndarray, weights: np.ndarray | Tensor | None, centroid: str, *, gaussian: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Cluster number 0..m-1 of each token, and the weights."""
    one_of("centroid", centroid, CENTROIDS)
    if centroid == "shift" and not gaussian:
        one_of("centroid of categorical beliefs", centroid, CENTROIDS[:2])
    labels = np.asarray(labels)
    if labels.shape != (n,) or labels.dtype.kind not in "iu":
        raise BadInput(
            "labels",
            expected=f"{n} integers, one per token",
            received=f"{labels.dtype} of shape {labels.shape}",
            remedy="pass tree.cut(...) or any integer partition",
        )
    return np.unique(labels, return_inverse=True)[1], token_weights(weights, n)


def _members(cluster: np.ndarray) -> list[np.ndarray]:
    """Token indices of each cluster."""
    return [np.flatnonzero(cluster == c) for c in range(cluster.max() + 1)]


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


def _nothing_lost_alone(cluster: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Losses known at once, and which those are: clusters of one token."""
    return np.zeros(cluster.max() + 1), np.bincount(cluster) == 1


def _moment_losses(tokens: Gaussian, cluster: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Losses of all clusters from log-determinants, and which of them are good to 1e-10.

    Sum_i w_i KL(q_i || m) = 1/2 [W log det Sigma_m - sum_i w_i log det Sigma_i], because m has the moments of the mixture.
    For near-equal tokens these cancel.
    """
    losses, settled = _nothing_lost_alone(cluster)
    n, k = len(tokens), tokens.dim
    totals, share = np.bincount(cluster, w), np.zeros((len(losses), n))
    share[cluster, np.arange(n)] = w
    share /= totals[:, None]
    means = tokens.mean.detach().cpu().double().numpy().reshape(n, -1, k)
    matrices = tokens.covariance.detach().cpu().numpy().reshape(n, -1, k, k)
    # in units of their own, coordinates leave log-determinants of order one, and nothing to cancel
    unit = np.sqrt(np.diagonal(matrices, axis1=-2, axis2=-1).mean(0) + means.var(0))
    means, matrices = means / unit, matrices / (unit[..., :, None] * unit[..., None, :])
    offsets = means - np.einsum("cn,nfk->cfk", share, means)[cluster]
    merged = np.einsum("cn,nfkl->cfkl", share, matrices + offsets[..., :, None] * offsets[..., None, :])
    own = np.bincount(cluster, w * log_det(cholesky(matrices)))
    losses = np.where(settled, 0.0, 0.5 * (totals * log_det(cholesky(merged)) - own))
    return losses, settled | (losses > accurate_below(matrices) * totals)


def _gaussian_loss(tokens: Gaussian, w: np.ndarray, centroid: str) -> float:
    """Weighted sum of KL(token || center) or KL(center || token), nats."""
    center = _gaussian_center(tokens, w, centroid).reshape(*tokens.batch_shape[:-1], 1)
    if centroid == "shift":
        moved = (tokens.mean - center.mean)[..., None].double()
        quadratic = (moved.mT @ tokens.precision.double() @ moved)[..., 0, 0]
        return 0.5 * float((quadratic.detach().cpu().numpy() * w).sum())
    nats = kl(tokens, center) if centroid == "moment" else kl(center, tokens)
    return float((nats.detach().cpu().numpy() * w).sum())


def _categorical_centers(rows: np.ndarray, cluster: np.ndarray, w: np.ndarray, centroid: str) -> np.ndarray:
    """Mixture or normalised geometric mean of each cluster, (m, V)."""
    share = np.zeros((cluster.max() + 1, len(rows)))
    share[cluster, np.arange(len(rows))] = w
    share /= share.sum(axis=1, keepdims=True)
    if centroid == "moment":
        return share @ rows
    absent = share @ (rows == 0) > 0
    if absent.all(axis=1).any():
        raise NumericalRefusal(
            "beliefs",
            expected="beliefs whose supports overlap",
            received="a cluster with no class in common",
            remedy="use centroid='moment', or mix a little of the mean belief into every row",
        )
    log = np.where(absent, -np.inf, share @ np.log(np.where(rows == 0, 1.0, rows)))
    pooled = np.exp(log - log.max(axis=1, keepdims=True))
    return pooled / pooled.sum(axis=1, keepdims=True)


def _categorical_losses(rows: np.ndarray, cluster: np.ndarray, w: np.ndarray, centroid: str) -> np.ndarray:
    """KL(row || center) or KL(center || row) of each token, nats; near-equal rows keep their digits."""
    centers = _categorical_centers(rows, cluster, w, centroid)[cluster]
    if centroid == "moment":
        relative = np.divide(rows - centers, centers, out=np.zeros_like(rows), where=centers > 0)
        return np.einsum("nv,nv->n", centers, relative_entropy_term(relative))
    with np.errstate(divide="ignore"):
        log_centers, log_rows = torch.from_numpy(np.log(centers)), torch.from_numpy(np.log(rows))
    return categorical.kl(log_centers, log_rows).numpy()
