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

__all__ = ["SAFE", "MarginalBounds", "Marginals", "Mixed"]

# Directions of a first and of a sharper bound.
COARSE, FINE = 4, 8
# Pairs per block: shorter arrays spend their time in calls, longer ones leave the cache.
BLOCK = 4096
# Rounding: relative, and absolute in units of eps times the condition of the projected covariances.
SAFE = 1 - 1e-6
SLACK = 1e3
EPS = float(np.finfo(np.float64).eps)


class Mixed(NamedTuple):
    """A mixture S of two covariances in the leading directions: log det S, and d^T S^-1 d, d the means' difference; (F, m)."""

    log_det: np.ndarray
    quadratic: np.ndarray


class Marginals:
    """Marginals of the slots in the first ``rank`` directions, the slot as last index: 4 F rank (rank + 3) N bytes.

    Args:
        rank, factors, n: directions r, independent factors F, slots N.
        unit: slack per ratio of the largest number to the least pivot.

    Attributes:
        log_dets: (N,) log-determinants of the covariances, summed over factors.
    """

    def __init__(self, rank: int, factors: int, n: int, unit: float) -> None:
        self._rank = rank
        self._means = np.empty((rank, factors, n))
        # lower triangles, column after column: a column is one array, and no entry is kept twice
        self._cols, self._rows = np.triu_indices(rank)
        ends = np.cumsum(np.arange(rank, 0, -1))
        self._columns = [slice(end - rank + c, end) for c, end in enumerate(ends)]
        self._covariances = np.empty((len(self._rows), factors, n))
        self.log_dets = np.empty(n)
        self._unit, self._largest, self._least = unit, 0.0, np.inf

    @property
    def slack(self) -> float:
        """What rounding can add to a bound, nats per weight."""
        return self._unit * self._largest / self._least

    def replace(
        self, slots: slice, means: np.ndarray, covariances: np.ndarray, pivots: np.ndarray, size: float
    ) -> None:
        """Give slots other marginals: means and pivots (m, F, K), covariances (m, F, K, K); ``size``: the largest number."""
        leading = pivots[..., : self._rank]
        self._means[..., slots] = means[..., : self._rank].T
        self._covariances[..., slots] = covariances[..., self._rows, self._cols].T
        self.log_dets[slots] = np.log(leading).sum(axis=(-2, -1))
        self._largest = max(self._largest, size)
        self._least = min(self._least, float(leading.min()))

    def move(self, source: int, target: int) -> None:
        """Copy slot ``source`` over slot ``target``."""
        for array in (self._means, self._covariances, self.log_dets):
            array[..., target] = array[..., source]

    def mixed(self, a: int | np.ndarray, b: slice | np.ndarray, share: Float64[np.ndarray, "m"]) -> Mixed:
        """Mixtures share Sigma_a + (1 - share) Sigma_b of slot or slots ``a`` with slots ``b``; (F, m) each."""
        parts = []
        for start in range(0, len(share), BLOCK):
            block = slice(start, start + BLOCK)
            others = (
                b[block] if isinstance(b, np.ndarray) else slice(b.start + start, min(b.start + start + BLOCK, b.stop))
            )
            parts.append(self._eliminate(a[block] if isinstance(a, np.ndarray) else [a], others, share[block]))
        return parts[0] if len(parts) == 1 else Mixed(*(np.concatenate(x, axis=-1) for x in zip(*parts, strict=True)))

    def _eliminate(self, a: np.ndarray | list[int], b: slice | np.ndarray, share: np.ndarray) -> Mixed:
        """Gaussian elimination of S bordered by d, for all pairs at once: pivots give the one, the border the other."""
        other = _of_slots(self._covariances, b)
        mixture = _of_slots(self._covariances, a) - other
        mixture *= share
        mixture += other
        border = _of_slots(self._means, a) - _of_slots(self._means, b)
        columns = [mixture[column] for column in self._columns]
        log_det, quadratic = np.zeros(border.shape[1:]), np.zeros(border.shape[1:])
        for c, column in enumerate(columns):
            pivot, below = column[0], column[1:]
            log_det += np.log(pivot)
            scaled = border[c] / pivot
            quadratic += border[c] * scaled
            border[c + 1 :] -= below * scaled
            ratio = below / pivot
            for k, later in enumerate(columns[c + 1 :]):
                later -= below[k:] * ratio[k]
        return Mixed(log_det, quadratic)


class MarginalBounds:
    """Marginals of the slots in few leading directions, for all pairs, and in more, for those that few leave open.

    Attributes:
        coarse: for a first bound.
        fine: for a sharper one.
    """

    def __init__(self, means: Float64[np.ndarray, "N F K"], covariances: Float64[np.ndarray, "N F K K"]) -> None:
        self._centre = means.mean(axis=0)
        self._basis = _leading_directions(means - self._centre, covariances.mean(axis=0))
        n, factors, dim = means.shape
        unit = SLACK * EPS * factors * dim
        self.fine = Marginals(self._basis.shape[1], factors, n, unit)
        self.coarse = Marginals(min(COARSE, self._basis.shape[1]), factors, n, unit)
        for start in range(0, n, BLOCK):
            block = slice(start, min(start + BLOCK, n))
            self.replace(block, means[block], covariances[block])

    def replace(
        self, slots: slice, means: Float64[np.ndarray, "m F K"], covariances: Float64[np.ndarray, "m F K K"]
    ) -> None:
        """Give slots other beliefs."""
        basis = self._basis
        projected = basis @ covariances @ basis.swapaxes(-1, -2)
        local = (basis @ (means - self._centre)[..., None])[..., 0]
        pivots = np.diagonal(np.linalg.cholesky(projected), axis1=-2, axis2=-1) ** 2
        size = float((np.abs(basis) @ np.abs(covariances) @ np.abs(basis).swapaxes(-1, -2)).max())
        size = max(size, 1e-6 * float(np.square(local).max()))
        for marginals in (self.coarse, self.fine):
            marginals.replace(slots, local, projected, pivots, size)

    def move(self, source: int, target: int) -> None:
        """Copy slot ``source`` over slot ``target``."""
        for marginals in (self.coarse, self.fine):
            marginals.move(source, target)


def _of_slots(array: np.ndarray, slots: slice | np.ndarray | list[int]) -> np.ndarray:
    """The last dimension indexed; `take` keeps it the contiguous one, which fancy indexing does not."""
    return array[..., slots] if isinstance(slots, slice) else array.take(slots, axis=-1)


def _leading_directions(means: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """(F, r, K): rows along which the means spread most, in units of the mean covariance."""
    whiten = np.linalg.inv(np.linalg.cholesky(covariance))
    white = np.einsum("fij,nfj->nfi", whiten, means)
    _, vectors = np.linalg.eigh(np.einsum("nfi,nfj->fij", white, white))
    return vectors.swapaxes(-1, -2)[:, ::-1][:, :FINE] @ whiten
