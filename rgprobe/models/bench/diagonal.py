"""The diagonal projection: transport a covariance to each query's frame and keep its diagonal there.

diag(Omega_ij Sigma_j Omega_ij^T)_a = u_ia^T C_j u_ia, u_ia row a of U_i and C_j = U_j^-1 Sigma_j U_j^-T: one product of
packed symmetric matrices for all pairs, and no pair is ever a matrix. That is several times less work than published code,
which forms Omega_ij. The projection depends on the basis, so it is not gauge invariant.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rgprobe.gaussian.exponential import matrix_exponential

__all__ = ["prepare_projection", "projected"]


def prepare_projection(mean: Tensor, covariance: Tensor, phi: Tensor, values: Tensor) -> tuple[Tensor, ...]:
    """Per token: local mean and variances, U, and mean, values and packed covariance in the common frame."""
    k = mean.shape[-1]
    frames, inverses = matrix_exponential(torch.stack([phi, -phi]))
    common = inverses @ covariance @ inverses.mT
    i, j = torch.tril_indices(k, k)
    weight = torch.where(i == j, 1.0, 2.0).to(mean.dtype)
    squares = (frames[..., i] * frames[..., j]).flatten(0, 1)
    moved = inverses @ torch.stack([mean, values], -1)
    variance = covariance.diagonal(dim1=-2, dim2=-1)
    return mean, variance, frames, squares, common[..., i, j] * weight, moved[..., 0], moved[..., 1]


def projected(
    tau: float, shared: tuple[Tensor, ...], rows: slice, keys: slice, hidden: Tensor
) -> tuple[Tensor, Tensor]:
    """KL between N(mu_i, diag Sigma_i) and N(Omega mu_j, diag(Omega Sigma_j Omega^T)); pair tensors (rows, K, keys)."""
    mean, variance, frames, squares, packed, moved, carried = shared
    k = mean.shape[-1]
    there = (squares[rows.start * k : rows.stop * k] @ packed[keys].T).unflatten(0, (-1, k))
    step = (frames[rows].flatten(0, 1) @ moved[keys].T).unflatten(0, (-1, k)) - mean[rows].unsqueeze(-1)
    doubled = ((variance[rows].unsqueeze(-1) + step.square()) / there + there.log()).sum(1)
    beta = torch.softmax((doubled / (-2.0 * tau)).masked_fill(hidden, -torch.inf), -1)
    return (frames[rows] @ (beta @ carried[keys]).unsqueeze(-1)).squeeze(-1), beta
