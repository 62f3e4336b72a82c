"""Gauge frames of tokens: U_i = exp(phi(token_i)) R(position_i), one rotation for all heads.

Transport from j to i is Omega_ij = U_i U_j^-1 = exp(phi_i) R(i - j) exp(-phi_j): only relative positions enter. U is
formed once for all blocks; carrying a vector is then one small product.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["Frames", "rotary_matrix", "skew"]

ROTARY_BASE = 10_000.0


@dataclass(frozen=True, eq=False)
class Frames:
    """U_i of every token.

    Args:
        matrix: rotations, (B, N, K, K), or (N, K, K) where they depend on position alone; None stands for the identity.

    Example:
        >>> import torch
        >>> frames = Frames(rotary_matrix(3, 4, torch.device("cpu"), torch.float64))
        >>> x = torch.randn(1, 3, 2, 4, dtype=torch.float64)
        >>> torch.allclose(frames.to_local(frames.to_common(x)), x)
        True
    """

    matrix: Float[Tensor, "*#batch N K K"] | None = None

    def to_common(self, local: Float[Tensor, "B N H K"]) -> Float[Tensor, "B N H K"]:
        """U_i^-1 x_i, head by head."""
        return local if self.matrix is None else local @ self.matrix  # rows times U is U^T = U^-1 times columns

    def to_local(self, common: Float[Tensor, "B N H K"]) -> Float[Tensor, "B N H K"]:
        """U_i x_i, head by head."""
        return common if self.matrix is None else common @ self.matrix.mT

    def dense(self, like: Float[Tensor, "B N H K"]) -> Float[Tensor, "B N K K"]:
        """The group elements themselves, for the tokens of `like`."""
        b, n, _, k = like.shape
        matrix = torch.eye(k, dtype=like.dtype, device=like.device) if self.matrix is None else self.matrix
        return matrix.expand(b, n, k, k)


def rotary_matrix(n: int, k: int, device: torch.device, dtype: torch.dtype) -> Float[Tensor, "N K K"]:
    """R(position): plane (p, p + K/2) is turned by position * omega_p, omega_p = 10,000^(-2 p / K).

    Example:
        >>> import torch
        >>> rotary_matrix(2, 2, torch.device("cpu"), torch.float64)[1].round(decimals=4).tolist()  # one radian
        [[0.5403, -0.8415], [0.8415, 0.5403]]
    """
    omega = ROTARY_BASE ** (-torch.arange(0, k, 2, device=device, dtype=torch.float64) / k)
    angle = torch.outer(torch.arange(n, device=device, dtype=torch.float64), omega)  # float64: positions are large
    cos, sin = torch.diag_embed(angle.cos()), torch.diag_embed(angle.sin())  # (N, K/2, K/2)
    return torch.cat([torch.cat([cos, -sin], -1), torch.cat([sin, cos], -1)], -2).to(dtype)


def skew(coordinates: Float[Tensor, "*batch M"], k: int) -> Float[Tensor, "*batch K K"]:
    """Skew-symmetric matrices from their M = K (K - 1) / 2 entries below the diagonal, row by row.

    A gather rather than a scatter, which is several times slower on a CPU.

    Example:
        >>> import torch
        >>> skew(torch.tensor([2.0]), 2).tolist()
        [[0.0, -2.0], [2.0, 0.0]]
    """
    rows, columns = torch.tril_indices(k, k, -1, device=coordinates.device)
    index = torch.zeros(k, k, dtype=torch.long, device=coordinates.device)
    index[rows, columns] = torch.arange(len(rows), device=coordinates.device)
    sign = torch.zeros(k, k, dtype=coordinates.dtype, device=coordinates.device)
    sign[rows, columns] = 1.0
    matrix = coordinates.index_select(-1, (index + index.T).flatten()).unflatten(-1, (k, k))
    return matrix * (sign - sign.T)
