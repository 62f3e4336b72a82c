"""The slow, obvious textbook form, one pair of tokens at a time, for the tests and benchmarks to compare with."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["kl_attention_loop"]


def kl_attention_loop(
    mean: Float[Tensor, "N K"],
    covariance: Float[Tensor, "N K K"],
    values: Float[Tensor, "N D"],
    frames: Float[Tensor, "N K K"] | None = None,
    *,
    kappa: float | Float[Tensor, ""] = 1.0,
    visible: Bool[Tensor, "N N"],
    log_prior: Float[Tensor, "N N"] | None = None,
    transport_values: bool = True,
) -> tuple[Float[Tensor, "N D"], Float[Tensor, "N N"]]:
    r"""output_i = sum_j beta_ij Omega_ij v_j, with every belief transported to every other.

    score_ij = log pi_ij - KL(q_i || Omega_ij q_j) / tau,   Omega_ij = U_i U_j^-1,   tau = kappa sqrt(K)
    KL = 1/2 [tr(S_j^-1 S_i) - K + d^T S_j^-1 d + log det S_j - log det S_i],   S_j = Omega_ij Sigma_j Omega_ij^T

    Args:
        mean: local means.
        covariance: local covariances.
        values: local vectors.
        frames: U_i; None for trivial frames.
        kappa: temperature.
        visible: which key each query sees; a query that sees none gets NaN.
        log_prior: log pi_ij.
        transport_values: carry v_j into the frame of i.

    Returns:
        Output and beta, in the dtype of the means.

    Example:
        >>> import torch
        >>> mean, covariance = torch.tensor([[0.0], [1.0]]), torch.ones(2, 1, 1)
        >>> out, beta = kl_attention_loop(mean, covariance, mean, visible=torch.ones(2, 2, dtype=torch.bool))
        >>> round((beta[0, 1] / beta[0, 0]).log().item(), 6)  # -KL(N(0,1) || N(1,1)) = -1/2
        -0.5
    """
    n, k = mean.shape
    tau = kappa * math.sqrt(k)
    outputs, patterns = [], []
    for i in range(n):
        scores, carried = [], []
        for j in range(n):
            if not visible[i, j]:
                scores.append(mean.new_tensor(-torch.inf))
                carried.append(torch.zeros_like(values[j]))
                continue
            omega = torch.eye(k, dtype=mean.dtype) if frames is None else frames[i] @ torch.linalg.inv(frames[j])
            moved = omega @ covariance[j] @ omega.mT
            step = omega @ mean[j] - mean[i]
            sharp = torch.linalg.inv(moved)
            quadratic = torch.trace(sharp @ covariance[i]) - k + step @ sharp @ step
            divergence = 0.5 * (quadratic + torch.logdet(moved) - torch.logdet(covariance[i]))
            prior = 0.0 if log_prior is None else log_prior[i, j]
            scores.append(prior - divergence / tau)
            carried.append(omega @ values[j] if transport_values and frames is not None else values[j])
        row = torch.stack(scores)
        beta = torch.softmax(row, 0) if visible[i].any() else torch.full_like(row, torch.nan)
        patterns.append(beta)
        outputs.append(beta @ torch.stack(carried))
    return torch.stack(outputs), torch.stack(patterns)
