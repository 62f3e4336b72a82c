"""Two barycenters of Gaussian beliefs: moment matching and log-linear pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rgprobe.gaussian.arguments import check_gaussian
from rgprobe.gaussian.record import Gaussian
from rgprobe.gaussian.structures import Diagonal
from rgprobe.gaussian.validation import cholesky, normalised_weights

__all__ = ["merge", "pool"]

Weights: TypeAlias = Float[Tensor, "*#batch N"] | np.ndarray | Sequence[float] | None


def merge(p: Gaussian, weights: Weights = None) -> Gaussian:
    r"""Moment-matched Gaussian of a mixture of beliefs, over the last batch dimension.

    .. math:: \mu = \sum_i w_i \mu_i, \qquad \Sigma = \sum_i w_i (\Sigma_i + (\mu_i - \mu)(\mu_i - \mu)^T)

    It minimises sum_i w_i KL(p_i || m) over Gaussians m (moment matching). The spread of the means belongs to the
    covariance.

    Args:
        p: batch shape (..., N).
        weights: (..., N), non-negative, a tensor, an array or a list; scaled to sum to one. None means equal weights.

    Returns:
        Belief of batch shape (...), float64.

    Raises:
        BadInput, OptionError: see `rgprobe.gaussian.validation.normalised_weights`.

    Example:
        >>> import torch
        >>> p = Gaussian.from_diagonal(torch.tensor([[-1.0], [1.0]]), torch.ones(2, 1))
        >>> merge(p, torch.tensor([0.5, 0.5])).covariance.item()
        2.0
    """
    check_gaussian("p", p)
    w = normalised_weights(weights, p.batch_shape, p.mean)
    means = p.mean.double()
    mean = torch.einsum("...n,...nk->...k", w, means)
    spread = (means - mean.unsqueeze(-2)) * w.sqrt().unsqueeze(-1)
    covariance = torch.einsum("...n,...nkl->...kl", w, p.covariance) + spread.mT @ spread
    return Gaussian.from_covariance(mean, (covariance + covariance.mT) / 2)


def pool(p: Gaussian, weights: Weights = None) -> Gaussian:
    r"""Log-linear pool (geometric mean, weighted product of experts) of beliefs, over the last batch dimension.

    .. math:: \Lambda = \sum_i w_i \Lambda_i, \qquad \Lambda \mu = \sum_i w_i \Lambda_i \mu_i

    Averages natural parameters, hence the precision-weighted mean; it minimises sum_i w_i KL(q || p_i) over q.

    Args:
        p: batch shape (..., N).
        weights: (..., N), non-negative, a tensor, an array or a list; scaled to sum to one. None means equal weights.

    Returns:
        Belief of batch shape (...), float64; diagonal if all beliefs are.

    Raises:
        BadInput, OptionError: see `rgprobe.gaussian.validation.normalised_weights`.

    Example:
        >>> import torch
        >>> p = Gaussian.from_diagonal(torch.tensor([[0.0], [3.0]]), torch.tensor([[1.0], [0.5]]))
        >>> q = pool(p, torch.tensor([0.5, 0.5]))
        >>> q.mean.item(), q.precision.item()
        (2.0, 1.5)
    """
    check_gaussian("p", p)
    w = normalised_weights(weights, p.batch_shape, p.mean)
    if isinstance(p.structure, Diagonal):
        precision = w.unsqueeze(-1) / p.structure.variance.double()
        total = precision.sum(-2)
        return Gaussian.from_diagonal((precision * p.mean.double()).sum(-2) / total, 1.0 / total)
    return _pool_full(p, w)


def _pool_full(p: Gaussian, w: Tensor) -> Gaussian:
    """Pool in the frame whitened by the average covariance, where beliefs that agree are well conditioned."""
    means = p.mean.double()
    centre = torch.einsum("...n,...nk->...k", w, means)
    frame = cholesky("covariance", torch.einsum("...n,...nkl->...kl", w, p.covariance))
    frames = frame.unsqueeze(-3)
    factors = torch.linalg.solve_triangular(frames, p.structure.factor(), upper=False)
    inverse = torch.linalg.solve_triangular(factors, torch.eye(p.dim, dtype=w.dtype, device=w.device), upper=False)
    offsets = torch.linalg.solve_triangular(frames, (means - centre.unsqueeze(-2)).unsqueeze(-1), upper=False)
    precisions = w[..., None, None] * (inverse.mT @ inverse)
    total = cholesky("pooled precision", precisions.sum(-3))
    shift = torch.cholesky_solve((precisions @ offsets).sum(-3), total)
    half = (
        frame @ torch.linalg.solve_triangular(total, torch.eye(p.dim, dtype=w.dtype, device=w.device), upper=False).mT
    )
    covariance = half @ half.mT
    return Gaussian.from_covariance(centre + (frame @ shift).squeeze(-1), (covariance + covariance.mT) / 2)
