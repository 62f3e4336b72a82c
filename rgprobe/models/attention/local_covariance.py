"""A covariance in its local frame, as an operator: what the common frame needs of each structure, at its own cost.

Given group elements U with inverse T, the common frame needs Lambda U and T Sigma, and log det Lambda.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from rgprobe.gaussian import Gaussian
from rgprobe.gaussian.structures import Diagonal, Full, LowRank, Triangular
from rgprobe.models.attention.inverses import spd_inverse

__all__ = [
    "DiagonalCovariance",
    "FullCovariance",
    "LocalCovariance",
    "LowRankCovariance",
    "is_isotropic",
    "local_covariance",
]


class LocalCovariance(ABC):
    """What each structure offers; a batch of tokens (..., N)."""

    @abstractmethod
    def precision_times(self, matrix: Tensor) -> Tensor:
        """Lambda U, (..., N, K, K)."""

    @abstractmethod
    def times_covariance(self, matrix: Tensor) -> Tensor:
        """T Sigma, (..., N, K, K)."""

    @abstractmethod
    def log_det_precision(self) -> Tensor:
        """log det Lambda, (..., N)."""


@dataclass(frozen=True, eq=False)
class FullCovariance(LocalCovariance):
    """Sigma with its inverse and log det Lambda.

    Example:
        >>> import torch
        >>> FullCovariance.of(2.0 * torch.eye(3)).log_det_precision().item()
        -2.079441...
    """

    covariance: Float[Tensor, "*batch K K"]
    precision: Float[Tensor, "*batch K K"]
    log_det: Float[Tensor, "*batch"]

    @classmethod
    def of(cls, covariance: Float[Tensor, "*batch K K"]) -> FullCovariance:
        """From Sigma, by one Cholesky factorisation; NaN where it is not positive definite."""
        precision, log_det = spd_inverse(covariance)
        return cls(covariance, precision, -log_det)

    def log_det_precision(self) -> Tensor:
        """See `LocalCovariance`."""
        return self.log_det

    def precision_times(self, matrix: Tensor) -> Tensor:
        """See `LocalCovariance`."""
        return self.precision @ matrix

    def times_covariance(self, matrix: Tensor) -> Tensor:
        """See `LocalCovariance`."""
        return matrix @ self.covariance


@dataclass(frozen=True, eq=False)
class DiagonalCovariance(LocalCovariance):
    """Sigma = diag(variance): rows and columns are scaled, nothing is factorised."""

    variance: Float[Tensor, "*batch K"]

    def log_det_precision(self) -> Tensor:
        """See `LocalCovariance`."""
        return -self.variance.log().sum(-1)

    def precision_times(self, matrix: Tensor) -> Tensor:
        """See `LocalCovariance`."""
        return matrix / self.variance.unsqueeze(-1)

    def times_covariance(self, matrix: Tensor) -> Tensor:
        """See `LocalCovariance`."""
        return matrix * self.variance.unsqueeze(-2)


@dataclass(frozen=True, eq=False)
class LowRankCovariance(LocalCovariance):
    """Sigma = F F^T + D, inverted by Woodbury: Lambda = D^-1 - D^-1 F (1 + F^T D^-1 F)^-1 F^T D^-1, O(K R^2)."""

    factor: Float[Tensor, "*batch K R"]
    diagonal: Float[Tensor, "*batch K"]

    @cached_property
    def _scaled(self) -> Tensor:
        return self.factor / self.diagonal.unsqueeze(-1)

    @cached_property
    def _capacitance(self) -> tuple[Tensor, Tensor]:
        rank = self.factor.shape[-1]
        eye = torch.eye(rank, dtype=self.factor.dtype, device=self.factor.device)
        return spd_inverse(eye + self.factor.mT @ self._scaled)

    def log_det_precision(self) -> Tensor:
        """See `LocalCovariance`."""
        return -self.diagonal.log().sum(-1) - self._capacitance[1]

    def precision_times(self, matrix: Tensor) -> Tensor:
        """See `LocalCovariance`."""
        inner = self._capacitance[0] @ (self._scaled.mT @ matrix)
        return matrix / self.diagonal.unsqueeze(-1) - self._scaled @ inner

    def times_covariance(self, matrix: Tensor) -> Tensor:
        """See `LocalCovariance`."""
        return (matrix @ self.factor) @ self.factor.mT + matrix * self.diagonal.unsqueeze(-2)


def local_covariance(beliefs: Gaussian, dtype: torch.dtype) -> LocalCovariance:
    """The operator for what a record keeps, in the dtype to work in.

    Example:
        >>> import torch
        >>> beliefs = Gaussian.from_diagonal(torch.zeros(4, 2), torch.ones(2))
        >>> local_covariance(beliefs, torch.float32).log_det_precision().shape
        torch.Size([4])
    """
    kept = beliefs.structure
    if isinstance(kept, Diagonal):
        return DiagonalCovariance(kept.variance.to(dtype))
    if isinstance(kept, LowRank):
        return LowRankCovariance(kept.loading.to(dtype), kept.diagonal.to(dtype))
    if isinstance(kept, Triangular):
        factor = kept.scale_tril.to(dtype)
        return FullCovariance.of(factor @ factor.mT)
    if isinstance(kept, Full):
        return FullCovariance.of(kept.covariance.to(dtype))
    raise TypeError(f"no operator for a covariance kept as {type(kept).__name__}")


def is_isotropic(beliefs: Gaussian) -> bool:
    """True where one number per token is stored, expanded over the coordinates: then no gradient can tell them apart.

    Example:
        >>> import torch
        >>> shared = torch.ones(4, 1).expand(4, 3)
        >>> is_isotropic(Gaussian.from_diagonal(torch.zeros(4, 3), shared))
        True
    """
    kept = beliefs.structure
    return isinstance(kept, Diagonal) and (kept.variance.stride(-1) == 0 or beliefs.dim == 1)
