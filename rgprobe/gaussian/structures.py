"""How a belief keeps its covariance: in the form it was built from.

One interface, four structures. Each hands out the same two things in float64: its covariance as an unevaluated sum
``high + low`` (so that the difference of two near-equal covariances keeps its digits, whatever they were built from),
and a lower Cholesky factor (good to a few units in the last place times the condition number; used for sampling,
entropy and as a first guess for whitening, never as the covariance itself).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rgprobe.gaussian.double_double import DoubleDouble, product, two_sum
from rgprobe.gaussian.validation import cholesky

__all__ = ["Diagonal", "Full", "LowRank", "Structure", "Triangular"]


@dataclass(frozen=True, eq=False)
class Structure(ABC):
    """A covariance as kept. Subclasses hold tensors only; `EVENT_DIMS` counts the trailing dimensions of each."""

    EVENT_DIMS: ClassVar[dict[str, int]] = {"variance": 1, "diagonal": 1}

    def tensors(self) -> dict[str, Tensor]:
        """The tensors kept, by name."""
        return dict(vars(self))

    def map(self, function: Callable[[Tensor, int], Tensor]) -> Structure:
        """Apply ``function(tensor, event_dims)`` to each tensor kept, for indexing, expanding and converting."""
        return type(self)(**{k: function(x, self.EVENT_DIMS.get(k, 2)) for k, x in self.tensors().items()})

    @abstractmethod
    def pair(self) -> DoubleDouble:
        """The covariance as high + low, float64, (..., K, K)."""

    @abstractmethod
    def factor(self) -> Tensor:
        """Lower Cholesky factor, float64, (..., K, K)."""


@dataclass(frozen=True, eq=False)
class Full(Structure):
    """Sigma itself; ``low`` holds digits beyond the dtype where a computation knew them, else zeros."""

    covariance: Tensor
    low: Tensor

    def pair(self) -> DoubleDouble:
        """See `Structure.pair`."""
        return self.covariance.double(), self.low.double()

    def factor(self) -> Tensor:
        """See `Structure.factor`."""
        return cholesky("covariance", self.covariance.double())


@dataclass(frozen=True, eq=False)
class Triangular(Structure):
    """Sigma = L L^T with L lower triangular."""

    scale_tril: Tensor

    def pair(self) -> DoubleDouble:
        """See `Structure.pair`."""
        return _gram(self.scale_tril.double())

    def factor(self) -> Tensor:
        """See `Structure.factor`."""
        return self.scale_tril.double()


@dataclass(frozen=True, eq=False)
class Diagonal(Structure):
    """Sigma = diag(variance)."""

    variance: Tensor

    def pair(self) -> DoubleDouble:
        """See `Structure.pair`."""
        high = torch.diag_embed(self.variance.double())
        return high, torch.zeros_like(high)

    def factor(self) -> Tensor:
        """See `Structure.factor`."""
        return torch.diag_embed(self.variance.double().sqrt())


@dataclass(frozen=True, eq=False)
class LowRank(Structure):
    """Sigma = F F^T + diag(d), with F (..., K, R)."""

    loading: Tensor
    diagonal: Tensor

    def pair(self) -> DoubleDouble:
        """See `Structure.pair`."""
        high, low = _gram(self.loading.double())
        high, error = two_sum(high, torch.diag_embed(self.diagonal.double()))
        return two_sum(high, low + error)

    def factor(self) -> Tensor:
        """See `Structure.factor`."""
        return cholesky("covariance", self.pair()[0])


def _gram(factor: Tensor) -> DoubleDouble:
    """``factor @ factor^T`` in double-double, symmetric to the last bit."""
    zero = torch.zeros_like(factor)
    high, low = product((factor, zero), (factor.mT, zero.mT))
    return high.tril() + high.tril(-1).mT, low.tril() + low.tril(-1).mT
