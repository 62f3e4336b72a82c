"""What every rung of the ladder is given: the same tokens, frames, beliefs and values, drawn from a seed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from rgprobe.models.bench.truncation import truncate

__all__ = ["Problem", "draw_problem"]

# Largest condition number of a frame.
CONDITION = 100.0
# Samples in a Wishart covariance, per dimension.
SAMPLES = 2


@dataclass(frozen=True, eq=False)
class Problem:
    """Causal attention over N beliefs of dimension K, each in its token's own frame exp(phi).

    Args:
        mean: local means.
        covariance: local covariances.
        phi: gauge algebra elements.
        values: local vectors.
        upstream: gradient of a loss with respect to the output.
        kappa: temperature, tau = kappa sqrt(K).
        rank: of the low-rank approximation.
        window: of the local window.
    """

    mean: Float[Tensor, "N K"]
    covariance: Float[Tensor, "N K K"]
    phi: Float[Tensor, "N K K"]
    values: Float[Tensor, "N K"]
    upstream: Float[Tensor, "N K"]
    kappa: float
    rank: int
    window: int

    @property
    def n_tokens(self) -> int:
        """N."""
        return self.mean.shape[0]

    @property
    def dim(self) -> int:
        """K."""
        return self.mean.shape[1]

    @property
    def tau(self) -> float:
        """kappa sqrt(K)."""
        return self.kappa * math.sqrt(self.dim)

    @property
    def width(self) -> int:
        """Features of a full belief in the common frame."""
        return self.dim + self.dim * (self.dim + 1) // 2 + 1

    @cached_property
    def frames(self) -> Float[Tensor, "N K K"]:
        """exp(phi), computed in float64, for rungs that are given group elements."""
        return torch.linalg.matrix_exp(self.phi.double()).to(self.phi.dtype)

    @cached_property
    def low_rank(self) -> tuple[Float[Tensor, "N K R"], Float[Tensor, "N K"]]:
        """Factor and diagonal of the low-rank approximation; a model that uses it holds these."""
        factor, diagonal = truncate(self.covariance.double(), self.rank)
        return factor.to(self.mean.dtype), diagonal.to(self.mean.dtype)

    @cached_property
    def wide_values(self) -> Float[Tensor, "N W"]:
        """The values padded with zeros to the feature width."""
        return torch.nn.functional.pad(self.values, (0, self.width - self.dim))

    @cached_property
    def wide_features(self) -> tuple[Float[Tensor, "N W"], Float[Tensor, "N W"]]:
        """Queries and keys of the feature width for plain dot-product attention."""
        return self._features(self.width)

    @cached_property
    def narrow_features(self) -> tuple[Float[Tensor, "N K"], Float[Tensor, "N K"]]:
        """Queries and keys of width K."""
        return self._features(self.dim)

    def _features(self, width: int) -> tuple[Tensor, Tensor]:
        """The cost of attention does not depend on what is in them."""
        generator = torch.Generator().manual_seed(width)
        pair = torch.randn(2, self.n_tokens, width, generator=generator, dtype=torch.float64) / math.sqrt(width)
        queries, keys = pair.to(self.mean.dtype)
        return queries, keys

    def to(self, dtype: torch.dtype) -> Problem:
        """The same numbers, rounded to a dtype or exactly raised."""
        names = ("mean", "covariance", "phi", "values", "upstream")
        return replace(self, **{name: getattr(self, name).to(dtype) for name in names})


def draw_problem(
    n_tokens: int,
    dim: int,
    *,
    seed: int = 0,
    kappa: float = 4.0,
    rank: int | None = None,
    window: int = 32,
    dtype: torch.dtype = torch.float32,
) -> Problem:
    """Beliefs that are comparable in the common frame, as those of a trained model, seen in random frames.

    phi = A + S. A is skew with entries of variance 1 / (2 K): rotations by angles of order one. S is symmetric with
    lambda_max - lambda_min = log c, c log-uniform in [1, 100], so that exp(phi) has condition at most c. In the common
    frame the means are N(0, 1) and the covariances Wishart, W_K(1 / 2K, 2K); exp(phi) carries them into the token's frame.

    Args:
        n_tokens: N.
        dim: K.
        seed: of everything drawn.
        kappa: temperature; 4 keeps rows spread over keys at all sizes that are measured.
        rank: of the low-rank approximation; None for K / 4.
        window: of the local window.
        dtype: of the tensors, after drawing in float64.

    Example:
        >>> problem = draw_problem(5, 3)
        >>> problem.covariance.shape, problem.rank, bool(torch.linalg.cond(problem.frames).max() <= 100)
        (torch.Size([5, 3, 3]), 1, True)
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    phi = _algebra(normal(n_tokens, dim, dim), normal(n_tokens, dim, dim), torch.rand(n_tokens, generator=generator))
    frames = torch.linalg.matrix_exp(phi)
    root = frames @ normal(n_tokens, dim, SAMPLES * dim) / math.sqrt(SAMPLES * dim)
    mean = (frames @ normal(n_tokens, dim, 1)).squeeze(-1)
    values, upstream = normal(2, n_tokens, dim)
    problem = Problem(
        mean, root @ root.mT, phi, values, upstream, kappa, max(1, dim // 4) if rank is None else rank, window
    )
    return problem.to(dtype)


def _algebra(skew: Tensor, symmetric: Tensor, uniform: Tensor) -> Tensor:
    symmetric = symmetric + symmetric.mT
    spectrum = torch.linalg.eigvalsh(symmetric)
    # one dimension has no ratio of scales: its frame stays 1
    width = (spectrum[..., -1] - spectrum[..., 0]).clamp_min(torch.finfo(torch.float64).tiny)
    target = uniform.double() * math.log(CONDITION)
    strain = symmetric * (target / width)[:, None, None] if skew.shape[-1] > 1 else torch.zeros_like(symmetric)
    return (skew - skew.mT) / (2.0 * math.sqrt(skew.shape[-1])) + strain
