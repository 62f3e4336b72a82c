"""Gauge frames of tokens: U_i = exp(phi(token_i)) R(position_i), a rotation that all heads share but for R's planes.

Transport from j to i is Omega_ij = U_i U_j^-1 = exp(phi_i) R(i - j) exp(-phi_j): only relative positions enter. The two
factors are applied one after the other, so that the product is never formed where nobody asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["Frames", "rotary_phase", "skew"]

ROTARY_BASE = 10_000.0


@dataclass(frozen=True, eq=False)
class Frames:
    """U_i of every token, as its two factors; each may be missing, which stands for the identity.

    Args:
        token: exp(phi), rotations shared by the heads.
        phase: cosines and sines of the angles by which R(position) turns plane (k, k + K/2), P = K/2.

    Example:
        >>> import torch
        >>> frames = Frames(None, rotary_phase(3, 4, torch.device("cpu"), torch.float64))
        >>> x = torch.randn(1, 3, 2, 4, dtype=torch.float64)
        >>> torch.allclose(frames.to_local(frames.to_common(x)), x)
        True
    """

    token: Float[Tensor, "B N K K"] | None = None
    phase: tuple[Float[Tensor, "N P"], Float[Tensor, "N P"]] | None = None

    def to_common(self, local: Float[Tensor, "B N H K"]) -> Float[Tensor, "B N H K"]:
        """U_i^-1 x_i, head by head."""
        if self.token is not None:
            local = local @ self.token  # rows times T is T^T times columns, and T^T = T^-1
        if self.phase is None:
            return local
        cos, sin = self.phase
        return _turn(local, cos, -sin)

    def to_local(self, common: Float[Tensor, "B N H K"]) -> Float[Tensor, "B N H K"]:
        """U_i x_i, head by head."""
        if self.phase is not None:
            common = _turn(common, *self.phase)
        return common if self.token is None else common @ self.token.mT

    def dense(self, like: Float[Tensor, "B N H K"]) -> Float[Tensor, "B N K K"]:
        """The group elements themselves, in the dtype and for the tokens of `like`."""
        b, n, _, k = like.shape
        columns = torch.eye(k, dtype=like.dtype, device=like.device).expand(b, n, k, k)  # row k is basis vector k
        return self.to_local(columns).mT


def rotary_phase(n: int, k: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines of position * omega_p, omega_p = 10,000^(-2 p / K), each (N, K/2): phi is linear in position.

    Example:
        >>> import torch
        >>> cos, sin = rotary_phase(2, 4, torch.device("cpu"), torch.float32)
        >>> cos[0].tolist(), round(sin[1, 0].item(), 4)
        ([1.0, 1.0], 0.8415)
    """
    omega = ROTARY_BASE ** (-torch.arange(0, k, 2, device=device, dtype=torch.float64) / k)
    angle = torch.outer(torch.arange(n, device=device, dtype=torch.float64), omega)  # float64: positions are large
    return angle.cos().to(dtype), angle.sin().to(dtype)


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


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate plane (k, k + K/2) of every head by the angle of its token."""
    first, second = x.chunk(2, -1)  # (B, N, H, K/2) each
    cos, sin = cos.unsqueeze(-2), sin.unsqueeze(-2)  # (N, 1, K/2)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], -1)
