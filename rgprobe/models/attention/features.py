"""Gaussian beliefs in the common frame as exponential-family features, whose dot product is minus the KL divergence.

    -KL(q_i || q_j) = <eta_i, theta_j> - A(theta_j) + (terms of i alone)

eta_i = (mu, Sigma + mu mu^T), theta_j = (Lambda mu, -Lambda / 2), A = (mu^T Lambda mu - log det Lambda) / 2. A symmetric
matrix is packed by its lower triangle, row by row: eta as it is, theta with the off-diagonal entries doubled, so that
the dot product of the packed vectors is the trace of the product of the matrices.

The expanded form cancels for near-equal beliefs. It is for attention; `rgprobe.gaussian.kl` is for measurement.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function

from rgprobe.models.attention.priors import HIDDEN
from rgprobe.models.attention.products import matvec

__all__ = ["Block", "DenseBlock", "DiagonalBlock", "IsotropicBlock", "attention_features", "score_rounding"]


class Block(ABC):
    """Independent coordinates of a belief: KL divergences add over blocks."""

    @property
    @abstractmethod
    def widths(self) -> tuple[int, int]:
        """Number of linear and of quadratic features."""

    @abstractmethod
    def mean_parameters(self) -> tuple[Tensor, Tensor]:
        """Linear (..., N, K) and quadratic (..., N, Q) part of eta."""

    @abstractmethod
    def natural_parameters(self) -> tuple[Tensor, Tensor, Tensor]:
        """Linear and quadratic part of theta, and A (..., N)."""


@dataclass(frozen=True, eq=False)
class DenseBlock(Block):
    """Full matrices in the common frame: K + K (K + 1) / 2 features.

    Args:
        mean: (..., N, K).
        covariance: (..., N, K, K).
        precision: its inverse.
        log_det_precision: log det Lambda, (..., N).

    Example:
        >>> import torch
        >>> eye = torch.eye(2).expand(3, 2, 2)
        >>> block = DenseBlock(torch.zeros(3, 2), eye, eye, torch.zeros(3))
        >>> [part[0].tolist() for part in block.mean_parameters()]
        [[0.0, 0.0], [-0.5, -0.0, -0.5]]
    """

    mean: Float[Tensor, "*batch N K"]
    covariance: Float[Tensor, "*batch N K K"]
    precision: Float[Tensor, "*batch N K K"]
    log_det_precision: Float[Tensor, "*batch N"]

    @property
    def widths(self) -> tuple[int, int]:
        """See `Block`."""
        k = self.mean.shape[-1]
        return k, k * (k + 1) // 2

    def mean_parameters(self) -> tuple[Tensor, Tensor]:
        """See `Block`."""
        second = self.covariance + self.mean.unsqueeze(-1) * self.mean.unsqueeze(-2)
        return self.mean, _Pack.apply(second, -0.5, -1.0)

    def natural_parameters(self) -> tuple[Tensor, Tensor, Tensor]:
        """See `Block`."""
        linear = matvec(self.precision, self.mean)
        normaliser = 0.5 * ((self.mean * linear).sum(-1) - self.log_det_precision)
        return linear, _Pack.apply(self.precision, 1.0, 1.0), normaliser


@dataclass(frozen=True, eq=False)
class DiagonalBlock(Block):
    """Diagonal in the common frame: 2 K features."""

    mean: Float[Tensor, "*batch N K"]
    variance: Float[Tensor, "*batch N K"]

    @property
    def widths(self) -> tuple[int, int]:
        """See `Block`."""
        k = self.mean.shape[-1]
        return k, k

    def mean_parameters(self) -> tuple[Tensor, Tensor]:
        """See `Block`."""
        return self.mean, self.variance + self.mean.square()

    def natural_parameters(self) -> tuple[Tensor, Tensor, Tensor]:
        """See `Block`."""
        precision = self.variance.reciprocal()
        linear = precision * self.mean
        normaliser = 0.5 * (self.mean * linear + self.variance.log()).sum(-1)
        return linear, -0.5 * precision, normaliser


@dataclass(frozen=True, eq=False)
class IsotropicBlock(Block):
    """Sigma = s I in the common frame: K + 1 features; s is (..., N, 1)."""

    mean: Float[Tensor, "*batch N K"]
    variance: Float[Tensor, "*batch N 1"]

    @property
    def widths(self) -> tuple[int, int]:
        """See `Block`."""
        k = self.mean.shape[-1]
        return k, 1

    def mean_parameters(self) -> tuple[Tensor, Tensor]:
        """See `Block`."""
        return self.mean, self.mean.shape[-1] * self.variance + self.mean.square().sum(-1, keepdim=True)

    def natural_parameters(self) -> tuple[Tensor, Tensor, Tensor]:
        """See `Block`."""
        precision = self.variance.reciprocal()
        linear = precision * self.mean
        normaliser = 0.5 * ((self.mean * linear).sum(-1) + self.mean.shape[-1] * self.variance.squeeze(-1).log())
        return linear, -0.5 * precision, normaliser


def attention_features(
    blocks: Sequence[Block], inverse_tau: float | Tensor, log_prior: Tensor | None = None
) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
    """Queries and keys whose plain dot product is log pi_j - KL(q_i || q_j) / tau, up to terms of i alone.

    Args:
        blocks: the beliefs in the common frame, one block or independent ones; batch (..., N).
        inverse_tau: 1 / tau, a number or a tensor that broadcasts against (..., N, 1).
        log_prior: log pi_j per key, (..., N).

    Returns:
        Queries and keys (..., N, W), W the features of all blocks and one for log pi_j - A_j / tau.

    Example:
        >>> import torch
        >>> block = DiagonalBlock(torch.tensor([[0.0], [1.0]]), torch.ones(2, 1))
        >>> queries, keys = attention_features([block], 1.0)
        >>> scores = queries @ keys.T
        >>> (scores - scores.diagonal()[:, None]).tolist()  # KL(N(0,1) || N(1,1)) = 1/2
        [[0.0, -0.5], [-0.5, 0.0]]
    """
    etas = [part for block in blocks for part in block.mean_parameters()]
    naturals = [block.natural_parameters() for block in blocks]
    normaliser = sum((parts[2] for parts in naturals[1:]), naturals[0][2]).unsqueeze(-1)
    last = -normaliser * inverse_tau
    if log_prior is not None:
        last = last + log_prior.unsqueeze(-1)
    thetas = [part for parts in naturals for part in parts[:2]]
    ones = torch.ones((), dtype=last.dtype, device=last.device)
    queries = _concatenate([part * inverse_tau for part in etas], ones.expand_as(last))
    return queries, _concatenate(thetas, last)


def score_rounding(
    blocks: Sequence[Block], queries: Float[Tensor, "*batch N W"], keys: Float[Tensor, "*batch N W"]
) -> float:
    """Bound on how far scores summed in float32 may round, in nats over tau: eps32 sum_b max_i |q_ib| max_j |k_jb|.

    Example:
        >>> import torch
        >>> block = DiagonalBlock(torch.zeros(2, 1), torch.ones(2, 1))
        >>> score_rounding([block], *attention_features([block], 1.0)) < 1e-7
        True
    """
    widths = [width for block in blocks for width in block.widths]
    q, k = queries.detach()[..., :-1].split(widths, -1), keys.detach()[..., :-1].split(widths, -1)
    size = sum((x.norm(dim=-1).amax() * y.norm(dim=-1).amax() for x, y in zip(q, k, strict=True)), keys.new_zeros(()))
    last = keys.detach()[..., -1].abs()
    size = size + last.masked_fill(last >= -0.5 * HIDDEN, 0.0).amax()
    return 0.5 * torch.finfo(torch.float32).eps * float(size)


def _concatenate(parts: list[Tensor], last: Tensor) -> Tensor:
    """Join along features after bringing the leading dimensions to one shape."""
    lead = torch.broadcast_shapes(*(x.shape[:-1] for x in parts), last.shape[:-1])
    return torch.cat([x.expand(*lead, x.shape[-1]) for x in (*parts, last)], -1)


class _Pack(Function):
    """Lower triangle, row by row, with one weight on the diagonal and one below; the matrix is taken as symmetric.

    Its backward gathers too: scattering into a zero matrix is several times slower on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, diagonal: float, below: float) -> Tensor:
        k = matrix.shape[-1]
        ctx.k, ctx.weights = k, (diagonal, below)
        flat = matrix.reshape(*matrix.shape[:-2], k * k)
        packed = _take(flat, _lower(k, matrix.device))
        if diagonal == below == 1.0:
            return packed
        return packed.mul_(_lower_weights(k, diagonal, below, matrix.dtype, matrix.device))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        diagonal, below = ctx.weights
        return _Unpack.apply(grads[0], ctx.k, diagonal, 0.5 * below), None, None


class _Unpack(Function):
    """Symmetric matrix from a packed lower triangle; weights as in `_Pack`, one half of each pair above and below."""

    @staticmethod
    def forward(ctx: Any, packed: Tensor, k: int, diagonal: float, below: float) -> Tensor:
        ctx.weights = (diagonal, below)
        weighted = packed * _lower_weights(k, diagonal, below, packed.dtype, packed.device)
        return _take(weighted, _symmetric(k, packed.device)).reshape(*packed.shape[:-1], k, k)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        diagonal, below = ctx.weights
        both = 0.5 * (grads[0] + grads[0].mT)
        return _Pack.apply(both, diagonal, 2.0 * below), None, None, None


def _take(x: Tensor, index: Tensor) -> Tensor:
    """x[..., index]; as a gather, which on a CPU takes a fifth of the time of selecting along the last dimension."""
    return torch.gather(x, -1, index.expand(*x.shape[:-1], -1))


@lru_cache(maxsize=64)
def _lower(k: int, device: torch.device) -> Tensor:
    rows, columns = torch.tril_indices(k, k, device=device)
    return rows * k + columns


@lru_cache(maxsize=64)
def _symmetric(k: int, device: torch.device) -> Tensor:
    """Where entry (a, b) of a symmetric matrix lies in its packed lower triangle, flattened."""
    index = torch.arange(k, device=device)
    high, low = torch.maximum(index[:, None], index), torch.minimum(index[:, None], index)
    return (high * (high + 1) // 2 + low).flatten()


@lru_cache(maxsize=64)
def _lower_weights(k: int, diagonal: float, below: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    rows, columns = torch.tril_indices(k, k, device=device)
    values = torch.tensor([below, diagonal], dtype=dtype, device=device)
    return values[(rows == columns).long()]
