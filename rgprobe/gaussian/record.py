"""The Gaussian belief: a frozen record that keeps the covariance in the form it was built from."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from rgprobe.errors import BadInput
from rgprobe.gaussian.double_double import two_sum
from rgprobe.gaussian.structures import Diagonal, Full, LowRank, Structure, Triangular
from rgprobe.gaussian.validation import (
    broadcast_shape,
    check_finite,
    check_float,
    check_lower_triangular,
    check_positive,
    check_square,
    check_symmetric,
    cholesky,
    with_jitter,
)

__all__ = ["Gaussian"]

# KL is exact for the numbers stored well beyond this, but here their own rounding to float64 leaves it seven digits.
CONDITION_LIMIT = 1e9


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Gaussian:
    """A batch of beliefs N(mu, Sigma) over R^K.

    The record keeps the representation it was built from: a covariance re-formed as L L^T would cost the KL divergence
    of near-equal beliefs three digits and more. Derived tensors (`covariance`, `precision`, parameters, entropy) are
    float64, whatever the dtype kept.

    Args:
        mean: (..., K), any float dtype.
        scale_tril: (..., K, K), lower Cholesky factor of the covariance; batch dimensions broadcast against the mean's.

    Raises:
        BadInput: in this and every other constructor, shapes that do not fit, or tensors that are not floating point.
        NumericalRefusal: NaN, Inf, an asymmetric or non-positive-definite covariance; names the index.

    Example:
        >>> import torch
        >>> g = Gaussian.from_covariance(torch.zeros(3, 2), torch.eye(2))
        >>> g, g[1:].batch_shape, round(g.entropy()[0].item(), 6)
        (Gaussian(batch_shape=(3,), dim=2, kept=Full, dtype=torch.float32), torch.Size([2]), 2.837877)
    """

    mean: Tensor
    structure: Structure

    def __init__(self, mean: Float[Tensor, "*#batch K"], scale_tril: Float[Tensor, "*#batch K K"]) -> None:
        check_float("scale_tril", scale_tril, 2)
        self._set(mean, Triangular(scale_tril))
        check_square("scale_tril", scale_tril, self.dim)
        check_finite("scale_tril", scale_tril, 2)
        check_lower_triangular("scale_tril", scale_tril)

    @classmethod
    def from_covariance(
        cls, mean: Float[Tensor, "*#batch K"], covariance: Float[Tensor, "*#batch K K"], *, jitter: float = 0.0
    ) -> Gaussian:
        """Belief from its covariance, which is kept as given.

        Args:
            mean: (..., K).
            covariance: (..., K, K), symmetric positive definite.
            jitter: ridge added to the diagonal, in units of variance; only when asked for, and warned about.

        Example:
            >>> import torch
            >>> Gaussian.from_covariance(torch.zeros(2), torch.tensor([[2.0, 0.5], [0.5, 1.0]])).precision[0, 0].item()
            0.571428...
        """
        check_float("covariance", covariance, 2)
        check_float("mean", mean, 1)
        check_square("covariance", covariance, mean.shape[-1])
        check_finite("covariance", covariance, 2)
        check_symmetric("covariance", covariance)
        half, low = two_sum(covariance * 0.5, covariance.mT * 0.5)
        return cls._from_full(mean, with_jitter(half, jitter), low)

    @classmethod
    def _from_full(cls, mean: Tensor, covariance: Tensor, low: Tensor) -> Gaussian:
        """Belief from a covariance kept as high + low, both symmetric."""
        cholesky("covariance", covariance.double())
        return cls._of(mean, Full(covariance, low))

    @classmethod
    def from_diagonal(cls, mean: Float[Tensor, "*#batch K"], variance: Float[Tensor, "*#batch K"]) -> Gaussian:
        """Belief with independent coordinates, Sigma = diag(variance).

        Args:
            mean: (..., K).
            variance: (..., K), positive.
        """
        check_float("variance", variance, 1)
        check_finite("variance", variance, 1)
        check_positive("variance", variance)
        return cls._of(mean, Diagonal(variance))

    @classmethod
    def from_low_rank(
        cls,
        mean: Float[Tensor, "*#batch K"],
        factor: Float[Tensor, "*#batch K R"],
        diagonal: Float[Tensor, "*#batch K"],
    ) -> Gaussian:
        """Belief with Sigma = F F^T + diag(diagonal): R directions beside independent coordinates.

        Args:
            mean: (..., K).
            factor: F, (..., K, R).
            diagonal: (..., K), positive.
        """
        check_float("factor", factor, 2)
        check_float("diagonal", diagonal, 1)
        check_finite("factor", factor, 2)
        check_finite("diagonal", diagonal, 1)
        check_positive("diagonal", diagonal)
        return cls._of(mean, LowRank(factor, diagonal))

    @classmethod
    def from_natural_parameters(cls, eta1: Float[Tensor, "*#batch K"], eta2: Float[Tensor, "*#batch K K"]) -> Gaussian:
        """Belief from eta1 = Lambda mu and eta2 = -Lambda / 2; the inverse of `natural_parameters`.

        Args:
            eta1: (..., K).
            eta2: (..., K, K), symmetric, negative definite.
        """
        check_float("eta1", eta1, 1)
        check_finite("eta1", eta1, 1)
        check_float("eta2", eta2, 2)
        check_finite("eta2", eta2, 2)
        check_symmetric("eta2", eta2)
        factor = cholesky("-eta2", -2.0 * eta2.double())
        mean = torch.cholesky_solve(eta1.double().unsqueeze(-1), factor).squeeze(-1)
        covariance = torch.cholesky_inverse(factor)
        return cls.from_covariance(mean, (covariance + covariance.mT) / 2)

    @classmethod
    def _of(cls, mean: Tensor, structure: Structure) -> Gaussian:
        record = cls.__new__(cls)
        record._set(mean, structure)
        return record

    def _set(self, mean: Tensor, structure: Structure) -> None:
        """Check the mean, bring mean and covariance to one batch shape and dtype, and freeze."""
        check_float("mean", mean, 1)
        check_finite("mean", mean, 1)
        kept = structure.tensors()
        batches = [mean.shape[:-1]]
        for name, x in kept.items():
            event = structure.EVENT_DIMS.get(name, 2)
            if x.shape[x.ndim - event] != mean.shape[-1]:
                raise BadInput(
                    name,
                    expected=f"K = {mean.shape[-1]} as in the mean",
                    received=f"shape {tuple(x.shape)}",
                    remedy="match the belief dimension K of the mean",
                )
            batches.append(x.shape[: x.ndim - event])
        batch = broadcast_shape(batches)
        dtype = mean.dtype
        for x in kept.values():
            dtype = torch.promote_types(dtype, x.dtype)
        object.__setattr__(self, "mean", mean.to(dtype).expand(*batch, -1))
        object.__setattr__(
            self, "structure", structure.map(lambda x, event: x.to(dtype).expand(*batch, *x.shape[x.ndim - event :]))
        )

    @property
    def dim(self) -> int:
        """Belief dimension K."""
        return self.mean.shape[-1]

    @property
    def batch_shape(self) -> torch.Size:
        """Leading dimensions."""
        return self.mean.shape[:-1]

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the tensors kept."""
        return self.mean.dtype

    @property
    def device(self) -> torch.device:
        """Device of the tensors kept."""
        return self.mean.device

    def __len__(self) -> int:
        if not self.batch_shape:
            raise TypeError("a single belief has no length")
        return self.batch_shape[0]

    def __repr__(self) -> str:
        kept = type(self.structure).__name__
        return f"Gaussian(batch_shape={tuple(self.batch_shape)}, dim={self.dim}, kept={kept}, dtype={self.dtype})"

    def __getitem__(self, index: Any) -> Gaussian:
        """Index the batch dimensions, as torch indexes a tensor of shape `batch_shape`."""
        count = math.prod(self.batch_shape)
        where = torch.arange(count, device=self.device).reshape(self.batch_shape)[index]

        def take(x: Tensor, event: int) -> Tensor:
            shape = x.shape[x.ndim - event :]
            return x.reshape(count, *shape)[where.reshape(-1)].reshape(*where.shape, *shape)

        return self._map(take)

    def to(self, *, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> Gaussian:
        """Convert the tensors kept; to a narrower dtype this rounds, and the covariance is checked again."""
        moved = self._map(lambda x, event: x.to(dtype=dtype or x.dtype, device=device))
        factor = moved.structure.factor()
        check_finite("covariance", factor, 2)
        check_positive("covariance factor diagonal", factor.diagonal(dim1=-2, dim2=-1))
        return moved

    def reshape(self, *batch_shape: int) -> Gaussian:
        """Reshape the batch dimensions."""
        where = torch.empty(self.batch_shape).reshape(*batch_shape).shape
        return self._map(lambda x, event: x.reshape(*where, *x.shape[x.ndim - event :]))

    def expand(self, *batch_shape: int) -> Gaussian:
        """Expand the batch dimensions, as `torch.Tensor.expand`, without copying."""
        return self._map(lambda x, event: x.expand(*batch_shape, *x.shape[x.ndim - event :]))

    def _map(self, function: Callable[[Tensor, int], Tensor]) -> Gaussian:
        return self._of(function(self.mean, 1), self.structure.map(function))

    @cached_property
    def scale_tril(self) -> Float[Tensor, "*batch K K"]:
        """Lower Cholesky factor of the covariance, in the dtype kept."""
        if isinstance(self.structure, Triangular):
            return self.structure.scale_tril
        return self.structure.factor().to(self.dtype)

    @cached_property
    def _factor(self) -> Tensor:
        return self.structure.factor()

    @cached_property
    def covariance(self) -> Float64[Tensor, "*batch K K"]:
        """Sigma, float64."""
        return self.structure.pair()[0]

    @cached_property
    def precision(self) -> Float64[Tensor, "*batch K K"]:
        """Lambda = Sigma^-1, float64."""
        if isinstance(self.structure, Diagonal):
            return torch.diag_embed(1.0 / self.structure.variance.double())
        inverse = torch.cholesky_inverse(self._factor)
        return (inverse + inverse.mT) / 2

    def natural_parameters(self) -> tuple[Float64[Tensor, "*batch K"], Float64[Tensor, "*batch K K"]]:
        """eta1 = Lambda mu and eta2 = -Lambda / 2, float64."""
        mean = self.mean.double().unsqueeze(-1)
        return torch.cholesky_solve(mean, self._factor).squeeze(-1), -self.precision / 2

    def mean_parameters(self) -> tuple[Float64[Tensor, "*batch K"], Float64[Tensor, "*batch K K"]]:
        """E[x] = mu and E[x x^T] = Sigma + mu mu^T, float64."""
        mean = self.mean.double()
        return mean, self.covariance + mean.unsqueeze(-1) * mean.unsqueeze(-2)

    def log_det(self) -> Float64[Tensor, "*batch"]:
        """log det Sigma, float64."""
        return 2.0 * self._factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def entropy(self) -> Float64[Tensor, "*batch"]:
        """Differential entropy K/2 (1 + log 2 pi) + 1/2 log det Sigma, nats."""
        return 0.5 * (self.dim * (1.0 + math.log(2.0 * math.pi)) + self.log_det())

    @cached_property
    def condition(self) -> Float64[Tensor, "*batch"]:
        """Condition number of the covariance, largest over smallest eigenvalue (estimate: saturates near 1e15)."""
        if isinstance(self.structure, Diagonal):
            variance = self.structure.variance.double()
            return variance.amax(-1) / variance.amin(-1)
        spread = torch.linalg.svdvals(self._factor)
        return (spread[..., 0] / spread[..., -1]).square()

    @property
    def near_singular(self) -> Bool[Tensor, "*batch"]:
        """Whether `condition` exceeds 1e9: rounding of the stored covariance then limits divergences to about seven digits."""
        return self.condition > CONDITION_LIMIT
