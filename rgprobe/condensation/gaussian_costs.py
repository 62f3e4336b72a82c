r"""Merge costs of Gaussian beliefs, a list of pairs of clusters at a time.

A slot holds a product of F independent Gaussians of dimension K (F = 1 for plain beliefs); costs add over F. As with
categorical beliefs there is a cheap form, made of log-determinants, and an accurate one for clusters so near that those
would cancel.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64
from torch import Tensor

from rgprobe.condensation.gaussian_bounds import SAFE, MarginalBounds, Marginals, Mixed
from rgprobe.errors import NumericalRefusal
from rgprobe.gaussian import Gaussian

__all__ = ["GaussianMoment", "GaussianPool", "GaussianShift", "accurate_below", "cholesky", "log_det"]

BLOCK_ENTRIES = 2**18
# Digits wanted of a cost from the cheap form, before the accurate one takes over.
RELATIVE_ERROR = 1e-10


def _excess(e: np.ndarray) -> np.ndarray:
    """e - log(1 + e) for e > -1; a series where |e| < 0.02, because there the two terms cancel."""
    near = np.abs(e) < 0.02
    s = np.where(near, e, 0.0)
    series = s * s * (1 / 2 - s * (1 / 3 - s * (1 / 4 - s * (1 / 5 - s * (1 / 6 - s * (1 / 7 - s * (1 / 8 - s / 9)))))))
    away = np.where(near, 0.0, e)
    return np.where(near, series, away - np.log1p(away))


def cholesky(matrices: np.ndarray) -> np.ndarray:
    """Lower factors, or a refusal that says what to do."""
    try:
        return np.linalg.cholesky(matrices)
    except np.linalg.LinAlgError as error:
        raise NumericalRefusal(
            "merged covariance",
            expected="a positive-definite matrix",
            received="one that lost definiteness to rounding",
            remedy="add a ridge to the beliefs (Gaussian.from_covariance(..., jitter=...))",
        ) from error


def log_det(factor: np.ndarray) -> np.ndarray:
    """Log-determinant of L L^T, summed over independent factors."""
    return 2.0 * np.log(np.diagonal(factor, axis1=-2, axis2=-1)).sum(axis=(-2, -1))


def accurate_below(matrices: Float64[np.ndarray, "N F K K"]) -> float:
    """Cost per weight, nats, below which log-determinants of such matrices leave fewer digits than `RELATIVE_ERROR` asks."""
    diagonal = np.diagonal(matrices, axis1=-2, axis2=-1)
    # Cholesky does not mind the scale of coordinates: what costs digits is 1 - R^2 of one given those before it.
    condition = float((diagonal / np.diagonal(cholesky(matrices), axis1=-2, axis2=-1) ** 2).max())
    error = float(np.finfo(np.float64).eps) * matrices.shape[1] * matrices.shape[-1] * condition
    return min(max(1e-4, error / RELATIVE_ERROR), 1.0)


def _whiten(factor: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """L^-1 M L^-T, symmetrised."""
    half = np.linalg.solve(factor, matrix)
    white = np.linalg.solve(factor, np.swapaxes(half, -1, -2))
    return (white + np.swapaxes(white, -1, -2)) / 2


class _GaussianSlots:
    """Means, weights and matrices (covariances or precisions) of the clusters; the walk over blocks."""

    def __init__(self, means: np.ndarray, matrices: np.ndarray, weights: Float64[np.ndarray, "N"]) -> None:
        self.weights = weights.copy()
        self._bounding: MarginalBounds | None = None  # made when first asked for: few clusters never ask
        self.means = means
        self.matrices = matrices
        self.log_dets = log_det(cholesky(matrices))
        self._accurate_below = accurate_below(matrices)
        self._step = max(1, BLOCK_ENTRIES // matrices[0].size)

    def bounds(self, a: slice, b: slice) -> Float64[np.ndarray, "k m"]:
        """Lower bounds of the costs of slots ``a`` with slots ``b``; nats."""
        rows = np.array([self._bound(slot, b, self._marginals.coarse) for slot in range(a.start, a.stop)])
        return np.maximum(SAFE * rows, 0.0, out=rows)

    def sharpened(self, a: int | np.ndarray, b: np.ndarray) -> Float64[np.ndarray, "k"]:
        """Closer lower bounds of the costs of pairs of slots; nats."""
        return np.maximum(SAFE * self._bound(a, b, self._marginals.fine), 0.0)

    def _bound(self, a: int | np.ndarray, b: slice | np.ndarray, marginals: Marginals) -> np.ndarray:
        raise NotImplementedError

    def costs(self, a: int | np.ndarray, b: np.ndarray) -> Float64[np.ndarray, "k"]:
        """Costs of merging slot ``a``, or each of slots ``a``, with each of slots ``b``; nats."""
        costs = np.empty(len(b))
        for start in range(0, len(b), self._step):
            pairs = slice(start, start + self._step)
            costs[pairs] = self._block(a[pairs] if isinstance(a, np.ndarray) else a, b[pairs])
        return costs

    def _block(self, a: int | np.ndarray, b: np.ndarray) -> np.ndarray:
        costs = self._cheap(a, b)
        near = np.flatnonzero(costs < self._accurate_below * (self.weights[a] + self.weights[b]))
        if near.size:
            costs[near] = self._accurate(a[near] if isinstance(a, np.ndarray) else a, b[near])
        return costs

    def move(self, source: int, target: int) -> None:
        """Copy slot ``source`` over slot ``target``."""
        for x in (self.weights, self.means, self.matrices, self.log_dets):
            x[target] = x[source]
        if self._bounding is not None:
            self._bounding.move(source, target)

    @property
    def _marginals(self) -> MarginalBounds:
        if self._bounding is None:
            self._bounding = MarginalBounds(self.means, self._covariances(slice(None)))
        return self._bounding

    def _covariances(self, a: slice) -> np.ndarray:
        raise NotImplementedError

    def _joined(self, a: int) -> None:
        """Renew what is derived from slot ``a``."""
        slot = slice(a, a + 1)
        self.log_dets[slot] = log_det(cholesky(self.matrices[slot]))
        if self._bounding is not None:
            self._bounding.replace(slot, self.means[slot], self._covariances(slot))

    def _pair(self, a: int | np.ndarray, others: np.ndarray) -> tuple[np.ndarray, ...]:
        """Total weight W, share w_a / W shaped (k, 1, 1), mean and matrix differences a minus other."""
        total = self.weights[others] + self.weights[a]
        share = (self.weights[a] / total)[:, None, None]
        return total, share, self.means[a] - self.means[others], self.matrices[a] - self.matrices[others]

    def _cheap(self, a: int | np.ndarray, others: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _accurate(self, a: int | np.ndarray, others: np.ndarray) -> np.ndarray:
        raise NotImplementedError


class GaussianMoment(_GaussianSlots):
    r"""Moment-matched centroids: mean a mu_a + (1-a) mu_b, covariance a Sigma_a + (1-a) Sigma_b + a(1-a) d d^T.

    Here W = w_a + w_b, a = w_a / W, d = mu_a - mu_b. Because m has the mixture's moments, the trace and mean terms of
    w_a KL(a||m) + w_b KL(b||m) add up to WK/2 - WK/2, and

    .. math:: cost = \tfrac12 [W \log\det\Sigma_m - w_a \log\det\Sigma_a - w_b \log\det\Sigma_b].

    Near-equal beliefs use the two KLs themselves: with D = L_m^{-1}(Sigma_a - Sigma_b)L_m^{-T}, u = L_m^{-1} d,

    .. math:: \tfrac12 [w_a h((1-a)D - a(1-a)uu^T) + w_b h(-aD - a(1-a)uu^T) + W a(1-a)|u|^2],
              \quad h(E) = \sum_k e_k - \log(1 + e_k).
    """

    def __init__(self, beliefs: Gaussian, weights: Float64[np.ndarray, "N"]) -> None:
        super().__init__(*_factored(beliefs, beliefs.covariance), weights)

    def _covariances(self, a: slice) -> np.ndarray:
        return self.matrices[a]

    def _bound(self, a: int | np.ndarray, b: slice | np.ndarray, marginals: Marginals) -> np.ndarray:
        w_a, w_b = self.weights[a], self.weights[b]
        total, share = w_a + w_b, w_a / (w_a + w_b)
        mixed = marginals.mixed(a, b, share)
        merged = (mixed.log_det + np.log1p(share * (1 - share) * mixed.quadratic)).sum(axis=0)
        own = w_a * marginals.log_dets[a] + w_b * marginals.log_dets[b]
        return 0.5 * (total * merged - own) - marginals.slack * total

    def _cheap(self, a: int | np.ndarray, others: np.ndarray) -> np.ndarray:
        total, share, d, gap = self._pair(a, others)
        merged = self._merged(share, d, gap, others)
        own = self.weights[others] * self.log_dets[others] + self.weights[a] * self.log_dets[a]
        return 0.5 * (total * log_det(cholesky(merged)) - own)

    def _merged(self, share: np.ndarray, d: np.ndarray, gap: np.ndarray, others: np.ndarray) -> np.ndarray:
        spread = (share * (1 - share) * d)[..., :, None] * d[..., None, :]
        spread += self.matrices[others]
        spread += share[..., None] * gap
        return spread

    def _accurate(self, a: int | np.ndarray, others: np.ndarray) -> np.ndarray:
        total, share, d, gap = self._pair(a, others)
        factor = cholesky(self._merged(share, d, gap, others))
        u = np.linalg.solve(factor, d[..., None])
        spread = share[..., None] * (1 - share[..., None]) * u * np.swapaxes(u, -1, -2)
        white = _whiten(factor, gap)
        h_a = _excess(np.linalg.eigvalsh((1 - share[..., None]) * white - spread)).sum(axis=(-2, -1))
        h_b = _excess(np.linalg.eigvalsh(-share[..., None] * white - spread)).sum(axis=(-2, -1))
        quadratic = np.trace(spread, axis1=-2, axis2=-1).sum(axis=-1)
        return 0.5 * (self.weights[a] * h_a + self.weights[others] * h_b + total * quadratic)

    def join(self, a: int, b: int) -> None:
        """Replace slot ``a`` by the moment match of ``a`` and ``b``."""
        total = self.weights[a] + self.weights[b]
        share = self.weights[b] / total
        d = self.means[b] - self.means[a]
        self.matrices[a] += share * (self.matrices[b] - self.matrices[a])
        self.matrices[a] += share * (1 - share) * d[..., :, None] * d[..., None, :]
        self.means[a] += share * d
        self.weights[a] = total
        self._joined(a)


class GaussianPool(_GaussianSlots):
    r"""Log-linear pools: Lambda_m = a Lambda_a + (1-a) Lambda_b, Lambda_m mu_m = a Lambda_a mu_a + (1-a) Lambda_b mu_b.

    The cost w_a KL(m||a) + w_b KL(m||b) is -W log Z, Z the integral of p_a^a p_b^(1-a) (Chernoff's divergence):

    .. math:: \tfrac W2 [\log\det\Lambda_m - a\log\det\Lambda_a - (1-a)\log\det\Lambda_b
              + a(1-a)\, d^T \Lambda_a \Lambda_m^{-1} \Lambda_b d].

    Near-equal beliefs: the log-determinants are (1/2) sum_k [w_a h((1-a) e_k) + w_b h(-a e_k)], e the eigenvalues of
    L_m^{-1}(Lambda_a - Lambda_b)L_m^{-T}, because the traces cancel; h(e) = e - log(1 + e). Precisions are inverses: at
    condition number c a relative difference d of two covariances keeps about 16 - log10(c / d) digits.
    """

    def __init__(self, beliefs: Gaussian, weights: Float64[np.ndarray, "N"]) -> None:
        super().__init__(*_factored(beliefs, beliefs.precision), weights)

    def _covariances(self, a: slice) -> np.ndarray:
        return np.linalg.inv(self.matrices[a])

    def _bound(self, a: int | np.ndarray, b: slice | np.ndarray, marginals: Marginals) -> np.ndarray:
        total, share, mixed = self._mixed(a, b, marginals)
        spread = mixed.log_det.sum(axis=0) - (1 - share) * marginals.log_dets[a] - share * marginals.log_dets[b]
        apart = share * (1 - share) * mixed.quadratic.sum(axis=0)
        return 0.5 * total * (spread + apart) - marginals.slack * total

    def _mixed(
        self, a: int | np.ndarray, b: slice | np.ndarray, marginals: Marginals
    ) -> tuple[np.ndarray, np.ndarray, Mixed]:
        """Total weight, share of ``a``, and the mixture in which each covariance has the other's share."""
        total = self.weights[a] + self.weights[b]
        share = self.weights[a] / total
        return total, share, marginals.mixed(a, b, 1 - share)

    def _cheap(self, a: int | np.ndarray, others: np.ndarray) -> np.ndarray:
        total, share, d, gap = self._pair(a, others)
        pooled = self.matrices[others] + share[..., None] * gap
        share_a = share[:, 0, 0]
        own = share_a * self.log_dets[a] + (1 - share_a) * self.log_dets[others]
        return 0.5 * total * (log_det(cholesky(pooled)) - own + self._quadratic(a, others, pooled, d, share_a))

    def _quadratic(
        self, a: int | np.ndarray, others: np.ndarray, pooled: np.ndarray, d: np.ndarray, share: np.ndarray
    ) -> np.ndarray:
        left = np.matmul(self.matrices[a], d[..., None])[..., 0]
        right = np.linalg.solve(pooled, np.matmul(self.matrices[others], d[..., None]))[..., 0]
        return share * (1 - share) * np.einsum("kfi,kfi->k", left, right)

    def _accurate(self, a: int | np.ndarray, others: np.ndarray) -> np.ndarray:
        total, share, d, gap = self._pair(a, others)
        pooled = self.matrices[others] + share[..., None] * gap
        e = np.linalg.eigvalsh(_whiten(cholesky(pooled), gap))
        h_a = _excess((1 - share) * e).sum(axis=(-2, -1))
        h_b = _excess(-share * e).sum(axis=(-2, -1))
        quadratic = self._quadratic(a, others, pooled, d, share[:, 0, 0])
        return 0.5 * (self.weights[a] * h_a + self.weights[others] * h_b + total * quadratic)

    def join(self, a: int, b: int) -> None:
        """Replace slot ``a`` by the log-linear pool of ``a`` and ``b``."""
        total = self.weights[a] + self.weights[b]
        share = self.weights[b] / total
        pull = np.matmul(self.matrices[b], (self.means[b] - self.means[a])[..., None])
        self.matrices[a] += share * (self.matrices[b] - self.matrices[a])
        self.means[a] += share * np.linalg.solve(self.matrices[a], pull)[..., 0]
        self.weights[a] = total
        self._joined(a)


class GaussianShift(GaussianPool):
    r"""Centroids as for pools, but every token keeps its own covariance: only its mean moves to that of the cluster.

    The loss of a token is KL(N(m, Sigma_i) || N(mu_i, Sigma_i)) = (1/2)(mu_i - m)^T Lambda_i (mu_i - m). Summed over a cluster
    it is least at the precision-weighted mean m, and merging two clusters of precisions a and b adds, with W = w_a + w_b,

    .. math:: \tfrac W2 a(1-a)\, d^T \Lambda_a \Lambda_m^{-1} \Lambda_b d,

    the part of a pool's cost that does not ask whether covariances agree. No terms cancel.
    """

    def _bound(self, a: int | np.ndarray, b: slice | np.ndarray, marginals: Marginals) -> np.ndarray:
        total, share, mixed = self._mixed(a, b, marginals)
        return (0.5 * share * (1 - share) * mixed.quadratic.sum(axis=0) - marginals.slack) * total

    def _cheap(self, a: int | np.ndarray, others: np.ndarray) -> np.ndarray:
        total, share, d, gap = self._pair(a, others)
        pooled = self.matrices[others] + share[..., None] * gap
        return 0.5 * total * self._quadratic(a, others, pooled, d, share[:, 0, 0])

    _accurate = _cheap


def _factored(beliefs: Gaussian, matrices: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Means (N, F, K) and matrices (N, F, K, K), owned copies in float64."""
    n, k = len(beliefs), beliefs.dim
    means = beliefs.mean.detach().cpu().double().numpy().reshape(n, -1, k)
    return means.copy(), matrices.detach().cpu().double().numpy().reshape(n, -1, k, k).copy()
