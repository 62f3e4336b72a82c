"""Whitening to full float64 accuracy at any condition number that float64 can hold.

A float64 Cholesky factor of Sigma errs by eps x condition in the directions that matter, and so does everything
whitened by it. But a KL divergence does not change under a common invertible map, so the factor need not be right, only
*known*: take any approximate W ~ L^-1 as an exact float64 map, apply it with twice the digits (`double_double`), and
what is left, G = W Sigma W^T = I + (small), is well conditioned; ordinary float64 finishes from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rgprobe.gaussian.double_double import DoubleDouble, one_slice, product, sliced_product
from rgprobe.gaussian.record import Gaussian
from rgprobe.gaussian.validation import cholesky

__all__ = ["Measured", "measured"]


@dataclass(frozen=True, eq=False)
class Measured:
    """A belief with the map x -> C W (s x) that carries its covariance to the identity.

    Args:
        mean: (..., K), float64.
        high: (..., K, K), with ``low`` the covariance as an unevaluated sum.
        low: (..., K, K).
        scale: s, powers of two that bring the variances near one, (..., K): graded covariances lose nothing by scaling.
        approximate: W, lower triangular, few enough bits to be applied without error, (..., K, K).
        correction: C = chol(W s Sigma s W^T)^-1, what W missed, well conditioned, (..., K, K).
        log_det: log det Sigma, (...).
    """

    mean: Tensor
    high: Tensor
    low: Tensor
    scale: Tensor
    approximate: Tensor
    correction: Tensor
    log_det: Tensor

    def __getitem__(self, index: Any) -> Measured:
        """Index the leading dimensions of every field."""
        return Measured(**{name: x[index] for name, x in vars(self).items()})

    def whiten_matrix(self, matrix: DoubleDouble) -> Tensor:
        """C W s (matrix) s W^T C^T of a symmetric double-double matrix, float64, symmetric."""
        full = self.correction @ _sandwich(self.scale, self.approximate, matrix) @ self.correction.mT
        return (full + full.mT) / 2

    def whiten_columns(self, columns: DoubleDouble) -> Tensor:
        """C W s (columns) of double-double vectors, (..., K, n), float64."""
        s = self.scale.unsqueeze(-1)
        return self.correction @ sliced_product(self.approximate, (columns[0] * s, columns[1] * s))[0]

    def precision(self) -> DoubleDouble:
        """Sigma^-1 = s W^T (C^T C) W s as a double-double, (..., K, K).

        C^T C is rounded, which costs tr(Sigma^-1 S) a few 1e-16 relative for any positive S; the rest is exact.
        """
        middle = self.correction.mT @ self.correction
        zero = torch.zeros_like(middle)
        half = product((self.approximate.mT, zero), (middle, zero))
        high, low = product(half, (self.approximate, zero))
        both = self.scale.unsqueeze(-1) * self.scale.unsqueeze(-2)
        return high * both, low * both


def measured(belief: Gaussian) -> Measured:
    """Prepare each belief of a batch for divergences: O(K^3) per belief, done once, not once per pair."""
    high, low = belief.structure.pair()
    # W is a constant of the computation: the value does not depend on it, so neither does the gradient.
    with torch.no_grad():
        variance = high.diagonal(dim1=-2, dim2=-1)
        scale = torch.exp2(-torch.round(torch.log2(variance) / 2))
        factor = belief.structure.factor() * scale.unsqueeze(-1)
        approximate = one_slice(_inverse(factor))
    corrected = cholesky("covariance", _sandwich(scale, approximate, (high, low)))
    logs = [x.diagonal(dim1=-2, dim2=-1).log().sum(-1) for x in (corrected, approximate)]
    log_det = 2.0 * (logs[0] - logs[1] - scale.log().sum(-1))
    return Measured(belief.mean.double(), high, low, scale, approximate, _inverse(corrected), log_det)


def _inverse(factor: Tensor) -> Tensor:
    """Inverse of a lower-triangular matrix, well conditioned or needed only approximately."""
    eye = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
    return torch.linalg.solve_triangular(factor, eye.expand_as(factor), upper=False)


def _sandwich(scale: Tensor, approximate: Tensor, matrix: DoubleDouble) -> Tensor:
    """W s (matrix) s W^T in double-double, rounded to float64 at the end."""
    both = scale.unsqueeze(-1) * scale.unsqueeze(-2)
    high, low = sliced_product(approximate, (matrix[0] * both, matrix[1] * both))
    high, _ = sliced_product(approximate, (high.mT, low.mT))
    return (high + high.mT) / 2
