"""A full covariance as low rank plus diagonal: the approximation that a low-rank belief would make of it."""

from __future__ import annotations

import torch
from jaxtyping import Float64
from torch import Tensor

__all__ = ["truncate"]

ITERATIONS = 8


def truncate(
    covariance: Float64[Tensor, "*batch K K"], rank: int
) -> tuple[Float64[Tensor, "*batch K R"], Float64[Tensor, "*batch K"]]:
    """Sigma ~ F F^T + D by maximum-likelihood factor analysis, which minimises KL(N(0, Sigma) || N(0, F F^T + D)).

    Alternates F = D^1/2 V_r (lambda_r - 1)^1/2, from the leading eigenpairs of D^-1/2 Sigma D^-1/2, with D = diag(Sigma -
    F F^T) (Joreskog 1967), starting at D = lambda_min / 2. The diagonal of Sigma is kept; rank K is exact.

    Example:
        >>> import torch
        >>> factor, diagonal = truncate(torch.diag(torch.tensor([4.0, 1.0]).double()), 2)
        >>> (factor @ factor.T + diagonal.diag()).round(decimals=12).tolist()
        [[4.0, 0.0], [0.0, 1.0]]
    """
    variance = covariance.diagonal(dim1=-2, dim2=-1)
    least = 0.5 * torch.linalg.eigvalsh(covariance)[..., :1]
    diagonal = least.expand_as(variance)
    factor = _factor(covariance, diagonal, rank)
    for _ in range(ITERATIONS):
        # D never falls below its start: a coordinate without noise of its own (Heywood case) has no density
        diagonal = torch.maximum(variance - factor.square().sum(-1), least)
        factor = _factor(covariance, diagonal, rank)
    return factor, torch.maximum(variance - factor.square().sum(-1), least)


def _factor(covariance: Tensor, diagonal: Tensor, rank: int) -> Tensor:
    scale = diagonal.sqrt()
    values, vectors = torch.linalg.eigh(covariance / (scale.unsqueeze(-1) * scale.unsqueeze(-2)))
    loading = (values[..., -rank:] - 1.0).clamp_min(0.0).sqrt()
    return scale.unsqueeze(-1) * vectors[..., -rank:] * loading.unsqueeze(-2)
