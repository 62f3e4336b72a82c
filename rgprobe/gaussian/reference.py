"""The slow, obvious textbook forms, one pair at a time, for the tests to compare with. Not for measurement.

They lose digits for near-equal and near-singular beliefs, as the textbook formula does.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from rgprobe.gaussian.record import Gaussian

__all__ = ["pairwise_kl_loop", "textbook_kl", "transported_kl_loop"]


def textbook_kl(
    mean_p: Float[Tensor, " K"],
    covariance_p: Float[Tensor, "K K"],
    mean_q: Float[Tensor, " K"],
    covariance_q: Float[Tensor, "K K"],
) -> Float64[Tensor, ""]:
    r"""KL(p || q) = 1/2 [tr(Sigma_q^-1 Sigma_p) - K + d^T Sigma_q^-1 d + log(|Sigma_q| / |Sigma_p|)], d = mu_q - mu_p.

    Example:
        >>> import torch
        >>> one = torch.ones(1, 1)
        >>> round(textbook_kl(torch.zeros(1), one, torch.ones(1), 4 * one).item(), 9)  # ln 2 - 1/4
        0.443147181
    """
    sp, sq, step = covariance_p.double(), covariance_q.double(), mean_q.double() - mean_p.double()
    precision = torch.linalg.inv(sq)
    trace = torch.trace(precision @ sp) - len(step)
    return 0.5 * (trace + step @ precision @ step + torch.logdet(sq) - torch.logdet(sp))


def pairwise_kl_loop(p: Gaussian, q: Gaussian) -> Float64[Tensor, "N M"]:
    """KL(p_i || q_j) by a double loop; batch shapes (N,) and (M,)."""
    rows = [[textbook_kl(a.mean, a.covariance, b.mean, b.covariance) for b in _each(q)] for a in _each(p)]
    return torch.stack([torch.stack(row) for row in rows])


def transported_kl_loop(p: Gaussian, frames: Float[Tensor, "N K K"]) -> Float64[Tensor, "N N"]:
    """KL(q_i || Omega_ij q_j), Omega_ij = U_i U_j^-1: every belief transported to every other, one pair at a time."""
    u = frames.double()
    rows = []
    for i, a in enumerate(_each(p)):
        row = []
        for j, b in enumerate(_each(p)):
            omega = u[i] @ torch.linalg.inv(u[j])
            moved = omega @ b.covariance @ omega.mT
            row.append(textbook_kl(a.mean, a.covariance, omega @ b.mean.double(), moved))
        rows.append(torch.stack(row))
    return torch.stack(rows)


def _each(p: Gaussian) -> list[Gaussian]:
    return [p[i] for i in range(len(p))]
