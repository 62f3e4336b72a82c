"""A covariance in its local frame, as an operator: what the common frame needs of each structure, at its own cost.

Given group elements U, the common frame needs Lambda U or Sigma U^-T.
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
        """Lambda X, (..., N, K, K)."""

    @abstractmethod
    def covariance_times(self, matrix: Tensor) -> Tensor:
        """Sigma X, (..., N, K, K)."""


@dataclass(frozen=True, eq=False)
class FullCovariance(LocalCovariance):
    """Sigma as a matrix; its inverse only where asked for.

    Example:
        >>> import torch
        >>> FullCovariance(4.0 * torch.eye(3)).precision_times(torch.eye(3))[0].tolist()
        [0.25, 0.0, 0.0]
    """

    covariance: Float[Tensor, "*batch K K"]

    @cached_property
    def _precision(self) -> Tensor:
        return spd_inverse(self.covariance)[0]

    def precision_times(self, matrix: Tensor) -> Tensor:
        """See `LocalCovariance`."""
        return self._precision @ matrix

    def covariance_times(self, matrix: Tensor) -> Tensor:
        """See `LocalCovariance`."""
        return self.covariance @ matrix


@dataclass(frozen=True, eq=False)
class DiagonalCovariance(LocalCovariance):
    """Sigma = diag(variance): rows and columns are scaled, nothing is factorised."""

    variance: Float[Tensor, "*batch K"]

    def precision_times(self, matrix: Tensor) -> Tensor:
        """See `LocalCovariance`."""
        return matrix * self.variance.reciprocal().unsqueeze(-1)

    def covariance_times(self, matrix: Tensor) -> Tensor:
        """See `LocalCovariance`."""
        return matrix * self.variance.unsqueeze(-1)


@dataclass(frozen=True, eq=False)
class LowRankCovariance(LocalCovariance):
    """Sigma = F F^T + D, inverted by Woodbury: Lambda = D^-1 - D^-1 F (1 + F^T D^-1 F)^-1 F^T D^-1, O(K R^2)."""

    factor: Float[Tensor, "*batch K R"]
    diagonal: Float[Tensor, "*batch K"]

    @cached_property
    def _scaled(self) -> Tensor:
        return self.factor / self.diagonal.unsqueeze(-1)

    @cached_property
    def _capacitance_inverse(self) -> Tensor:
        rank = self.factor.shape[-1]
        eye = torch.eye(rank, dtype=self.factor.dtype, device=self.factor.device)
        return spd_inverse(eye + self.factor.mT @ self._scaled)[0]

    def precision_times(self, matrix: Tensor) -> Tensor:
        """See `LocalCovariance`."""
        inner = self._capacitance_inverse @ (self._scaled.mT @ matrix)
        return matrix / self.diagonal.unsqueeze(-1) - self._scaled @ inner

    def covariance_times(self, matrix: Tensor) -> Tensor:
        """See `LocalCovariance`."""
        return self.factor @ (self.factor.mT @ matrix) + matrix * self.diagonal.unsqueeze(-1)


def local_covariance(beliefs: Gaussian, dtype: torch.dtype) -> LocalCovariance:
    """The operator for what a record keeps, in the dtype to work in.

    Example:
        >>> import torch
        >>> beliefs = Gaussian.from_diagonal(torch.zeros(4, 2), torch.ones(2))
        >>> local_covariance(beliefs, torch.float32).precision_times(torch.eye(2)).shape
        torch.Size([4, 2, 2])
    """
    kept = beliefs.structure
    if isinstance(kept, Diagonal):
        return DiagonalCovariance(kept.variance.to(dtype))
    if isinstance(kept, LowRank):
        return LowRankCovariance(kept.loading.to(dtype), kept.diagonal.to(dtype))
    if isinstance(kept, Triangular):
        factor = kept.scale_tril.to(dtype)
        return FullCovariance(factor @ factor.mT)
    if isinstance(kept, Full):
        return FullCovariance(kept.covariance.to(dtype))
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
