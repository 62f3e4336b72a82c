"""Rungs that transport a belief for each of the N^2 pairs: batched, as fast as that can be done with torch.

KL(q_i || Omega_ij q_j) = 1/2 [tr(S^-1 Sigma_i) - K + d^T S^-1 d + log det S - log det Sigma_i],
S = Omega_ij Sigma_j Omega_ij^T, d = Omega_ij mu_j - mu_i. Terms of i alone are left out: they cancel in the softmax.
Pair tensors are laid out (keys, rows, K, K): one product per key serves all rows of a chunk.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rgprobe.gaussian.exponential import matrix_exponential
from rgprobe.models.attention.inverses import spd_inverse

__all__ = ["cached", "first_order", "prepare_algebra", "prepare_exponentials", "repeated"]

# 1 + phi_i - phi_j can be singular, as no exponential is: a ridge, in units of rounding of the trace.
RIDGE = 32.0


def prepare_exponentials(mean: Tensor, covariance: Tensor, phi: Tensor, values: Tensor) -> tuple[Tensor, ...]:
    """exp(phi) and exp(-phi), once per token."""
    exponentials = matrix_exponential(torch.stack([phi, -phi]))
    return mean, covariance, values, exponentials[0], exponentials[1]


def prepare_algebra(mean: Tensor, covariance: Tensor, phi: Tensor, values: Tensor) -> tuple[Tensor, ...]:
    """Nothing is computed per token."""
    return mean, covariance, values, phi


def repeated(tau: float, shared: tuple[Tensor, ...], rows: slice, keys: slice, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Omega_ij = exp(phi_i) exp(-phi_j), both exponentials taken anew for every pair."""
    mean, covariance, values, phi = shared
    k, here, there = phi.shape[-1], phi[rows], phi[keys]
    lead = (there.shape[0], here.shape[0], k, k)
    both = torch.stack([here.expand(lead), -there.unsqueeze(1).expand(lead)])
    out_of, into = matrix_exponential(both)
    return _attend(tau, (out_of @ into).flatten(1, 2), mean, covariance, values, rows, keys, hidden)


def cached(tau: float, shared: tuple[Tensor, ...], rows: slice, keys: slice, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Omega_ij = U_i U_j^-1 from exponentials that are at hand."""
    mean, covariance, values, frames, inverses = shared
    omega = frames[rows].flatten(0, 1) @ inverses[keys]
    return _attend(tau, omega, mean, covariance, values, rows, keys, hidden)


def first_order(
    tau: float, shared: tuple[Tensor, ...], rows: slice, keys: slice, hidden: Tensor
) -> tuple[Tensor, Tensor]:
    """Omega_ij = 1 + phi_i - phi_j: no exponential, exact only as phi vanishes."""
    mean, covariance, values, phi = shared
    eye = torch.eye(phi.shape[-1], dtype=phi.dtype)
    omega = ((eye + phi[rows]) - phi[keys].unsqueeze(1)).flatten(1, 2)
    return _attend(tau, omega, mean, covariance, values, rows, keys, hidden, ridge=RIDGE)


def _attend(
    tau: float,
    omega: Tensor,
    mean: Tensor,
    covariance: Tensor,
    values: Tensor,
    rows: slice,
    keys: slice,
    hidden: Tensor,
    ridge: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """From Omega (keys, rows K, K) to outputs (rows, K) and weights (rows, keys)."""
    k = mean.shape[-1]
    half = (omega @ covariance[keys]).unflatten(1, (-1, k))
    transported = half @ omega.unflatten(1, (-1, k)).mT
    if ridge:
        trace = transported.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
        eye = torch.eye(k, dtype=mean.dtype)
        transported = transported + (ridge * torch.finfo(mean.dtype).eps) * trace * eye
    precision, log_det = spd_inverse(transported)
    moved = (omega @ torch.stack([mean[keys], values[keys]], -1)).unflatten(1, (-1, k))
    step, carried = (moved[..., 0] - mean[rows]), moved[..., 1]
    # tr(S^-1 (Sigma_i + d d^T)), in one pass over the precision
    second = covariance[rows] + step.unsqueeze(-1) * step.unsqueeze(-2)
    doubled = (precision * second).sum((-2, -1)) + log_det
    beta = torch.softmax((doubled / (-2.0 * tau)).T.masked_fill(hidden, -torch.inf), -1)
    return torch.einsum("ij,jik->ik", beta, carried), beta
