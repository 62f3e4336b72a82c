r"""Lower bounds of the merge costs of Gaussian beliefs: what the merge costs in a few directions alone.

Merge costs are sums of divergences (moment matching commutes with taking marginals, a pool's cost is a Chernoff divergence,
a shift's cost a quadratic form of an inverse), and none of them rises when all but r coordinates are left out. The
directions are those of the means' greatest spread in units of the mean covariance: four for all pairs, eight for those that
four leave open. Pools and shifts are written with covariances here, S = (1 - a) Sigma_a + a Sigma_b:

.. math:: \text{pool: } \tfrac W2 [\log\det S - (1 - a) \log\det\Sigma_a - a \log\det\Sigma_b + a (1 - a)\, d^T S^{-1} d],

and for a shift its last term. A moment merge has S = a Sigma_a + (1 - a) Sigma_b and the cost
(1/2) [W log det S + W log(1 + a (1 - a) d^T S^{-1} d) - w_a log det Sigma_a - w_b log det Sigma_b].
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

__all__ = ["SAFE", "MarginalBounds", "Mixed"]

# Directions of a first and of a sharper bound.
COARSE, FINE = 4, 8
# Pairs per block: shorter arrays spend their time in calls, longer ones leave the cache.
BLOCK = 2048
# Rounding: relative, and absolute in units of eps times the condition of the projected covariances.
SAFE = 1 - 1e-6
SLACK = 1e3
EPS = float(np.finfo(np.float64).eps)


class Mixed(NamedTuple):
    """A mixture S of two covariances in the leading directions: log det S, and d^T S^-1 d, d the means' difference; (F, m)."""

    log_det: np.ndarray
    quadratic: np.ndarray


class MarginalBounds:
    """Marginals of the slots in the leading directions, the slot as last index: 8 F r (r + 1) N bytes.

    Attributes:
        log_dets: (r, N) log-determinants of the covariances in the first 1 .. r directions, summed over factors.
    """

    def __init__(self, means: Float64[np.ndarray, "N F K"], covariances: Float64[np.ndarray, "N F K K"]) -> None:
        self._centre = means.mean(axis=0)
        self._basis = _leading_directions(means - self._centre, covariances.mean(axis=0))
        n, factors, dim = means.shape
        r = self._basis.shape[1]
        self._means = np.empty((r, factors, n))
        self._covariances = np.empty((r, r, factors, n))
        self.log_dets = np.empty((r, n))
        self._unit = SLACK * EPS * factors * dim
        self._largest, self._least = 0.0, np.inf
        for slot in range(n):
            self.replace(slot, means[slot], covariances[slot])

    @property
    def coarse(self) -> int:
        """Directions of a first bound."""
        return min(COARSE, len(self._means))

    @property
    def fine(self) -> int:
        """Directions of a sharper bound."""
        return len(self._means)

    @property
    def slack(self) -> float:
        """What rounding can add to a bound, nats per weight."""
        return self._unit * self._largest / self._least

    def replace(self, slot: int, mean: Float64[np.ndarray, "F K"], covariance: Float64[np.ndarray, "F K K"]) -> None:
        """Give a slot another belief."""
        basis = self._basis
        projected = basis @ covariance @ basis.swapaxes(-1, -2)
        local = (basis @ (mean - self._centre)[..., None])[..., 0]
        self._means[..., slot] = local.T
        self._covariances[..., slot] = projected.transpose(1, 2, 0)
        pivots = np.diagonal(np.linalg.cholesky(projected), axis1=-2, axis2=-1) ** 2
        self.log_dets[:, slot] = np.log(pivots).sum(axis=0).cumsum()
        size = np.abs(basis) @ np.abs(covariance) @ np.abs(basis).swapaxes(-1, -2)
        self._largest = max(self._largest, float(size.max()), 1e-6 * float(np.square(local).max()))
        self._least = min(self._least, float(pivots.min()))

    def move(self, source: int, target: int) -> None:
        """Copy slot ``source`` over slot ``target``."""
        for array in (self._means, self._covariances, self.log_dets):
            array[..., target] = array[..., source]

    def mixed(self, a: int | np.ndarray, b: slice | np.ndarray, share: Float64[np.ndarray, "m"], *, rank: int) -> Mixed:
        """Mixtures share Sigma_a + (1 - share) Sigma_b of slot or slots ``a`` with slots ``b``, in the first directions."""
        parts = []
        for start in range(0, len(share), BLOCK):
            block = slice(start, start + BLOCK)
            others = (
                b[block] if isinstance(b, np.ndarray) else slice(b.start + start, min(b.start + start + BLOCK, b.stop))
            )
            parts.append(self._eliminate(a[block] if isinstance(a, np.ndarray) else [a], others, share[block], rank))
        return Mixed(*(np.concatenate(each, axis=-1) for each in zip(*parts, strict=True)))

    def _eliminate(self, a: np.ndarray | list[int], b: slice | np.ndarray, share: np.ndarray, r: int) -> Mixed:
        """Gaussian elimination of S bordered by d, for all pairs at once: pivots give the one, the border the other."""
        bordered = np.empty((r + 1, r, self._means.shape[1], len(share)))
        mixture, border = bordered[:r], bordered[r]
        other = _of_slots(self._covariances[:r, :r], b)
        np.subtract(_of_slots(self._covariances[:r, :r], a), other, out=mixture)
        mixture *= share
        mixture += other
        np.subtract(_of_slots(self._means[:r], a), _of_slots(self._means[:r], b), out=border)
        log_det, quadratic = np.zeros(border.shape[1:]), np.zeros(border.shape[1:])
        for c in range(r):
            column = bordered[c + 1 :, c]
            ratio = column / bordered[c, c]
            quadratic += border[c] * ratio[-1]
            log_det += np.log(bordered[c, c])
            if c + 1 < r:
                bordered[c + 1 :, c + 1 :] -= ratio[:, None] * column[None, :-1]
        return Mixed(log_det, quadratic)


def _of_slots(array: np.ndarray, slots: slice | np.ndarray | list[int]) -> np.ndarray:
    """The last dimension indexed; `take` keeps it the contiguous one, which fancy indexing does not."""
    return array[..., slots] if isinstance(slots, slice) else array.take(slots, axis=-1)


def _leading_directions(means: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """(F, r, K): rows along which the means spread most, in units of the mean covariance."""
    whiten = np.linalg.inv(np.linalg.cholesky(covariance))
    white = np.einsum("fij,nfj->nfi", whiten, means)
    _, vectors = np.linalg.eigh(np.einsum("nfi,nfj->fij", white, white))
    return vectors.swapaxes(-1, -2)[:, ::-1][:, :FINE] @ whiten
