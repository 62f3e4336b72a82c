"""Group elements with structure: block-diagonal frames, and the irreducible representations of so(3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Complex128, Float, Float64
from torch import Tensor

from rgprobe.errors import BadInput, OptionError
from rgprobe.gaussian.exponential import matrix_exponential
from rgprobe.gaussian.validation import check_float

__all__ = ["BlockFrames", "so3_generators", "so3_irreps"]


@dataclass(frozen=True, eq=False)
class BlockFrames:
    """Block-diagonal group elements U = U_1 + ... + U_B (direct sum), each from a group of its own.

    Args:
        blocks: U_b, (..., N, K_b, K_b); leading dimensions broadcast.

    Raises:
        BadInput: no block, or one that is not square.

    Example:
        >>> import torch
        >>> frames = BlockFrames((torch.eye(2).expand(5, 2, 2), 3.0 * torch.ones(5, 1, 1)))
        >>> frames.dim, frames.dense()[0].diagonal().tolist()
        (3, [1.0, 1.0, 3.0])
    """

    blocks: tuple[Tensor, ...]

    def __post_init__(self) -> None:
        if not self.blocks:
            raise BadInput("frames", expected="at least one block", received="none", remedy="pass None for no frames")
        for place, block in enumerate(self.blocks):
            check_float(f"frames block {place}", block, 3)
            if block.shape[-1] != block.shape[-2]:
                raise BadInput(
                    f"frames block {place}",
                    expected="shape (..., N, K_b, K_b)",
                    received=f"{tuple(block.shape)}",
                    remedy="group elements are square matrices, one per token",
                )

    @property
    def dim(self) -> int:
        """K, the sum of the blocks' dimensions."""
        return sum(block.shape[-1] for block in self.blocks)

    def dense(self) -> Float[Tensor, "*batch N K K"]:
        """The matrices with their zeros."""
        lead = torch.broadcast_shapes(*(block.shape[:-2] for block in self.blocks))
        rows, before = [], 0
        for block in self.blocks:
            k = block.shape[-1]
            after = self.dim - before - k
            rows.append(torch.nn.functional.pad(block.expand(*lead, k, k), (before, after)))
            before += k
        return torch.cat(rows, -2)


def so3_generators(spin: int) -> Float64[Tensor, "3 D D"]:
    """Generators R_x, R_y, R_z of the real spin-l representation, D = 2 l + 1: [R_x, R_y] = R_z and cyclically.

    Basis: real spherical harmonics, m = -l ... l, so that spin 1 acts on (y, z, x). From the ladder operators
    J_+ |m> = sqrt(l (l + 1) - m (m + 1)) |m + 1>, R = C (-i J) C^dagger (Condon-Shortley phases).

    Example:
        >>> x, y, z = so3_generators(2)
        >>> (x @ y - y @ x - z).abs().max().item() < 1e-14
        True
    """
    if spin < 0:
        raise OptionError("spin", expected="0, 1, 2, ...", received=f"{spin}", remedy="real spins are whole numbers")
    size = 2 * spin + 1
    m = torch.arange(-spin, spin, dtype=torch.float64)
    raising = torch.zeros(size, size, dtype=torch.complex128)
    raising[torch.arange(1, size), torch.arange(size - 1)] = (spin * (spin + 1) - m * (m + 1)).sqrt().to(raising.dtype)
    lowering = raising.mT
    z = torch.diag(torch.arange(-spin, spin + 1, dtype=torch.float64)).to(raising.dtype)
    momenta = torch.stack([(raising + lowering) / 2, (raising - lowering) / 2j, z])
    basis = _real_basis(spin)
    return (basis @ (-1j * momenta) @ basis.mH).real.contiguous()


def so3_irreps(phi: Float[Tensor, "..."], spins: Sequence[int]) -> BlockFrames:
    """One rotation per token in several spin representations at once: U_b = exp(sum_a phi_a R_a) at spin l_b.

    Args:
        phi: rotation vectors (axis times angle in radians), (..., N, 3).
        spins: l_b; a repeated spin is a multiplicity.

    Raises:
        BadInput: phi does not end in 3 coordinates.
        OptionError: a negative spin.

    Example:
        >>> import torch
        >>> [block.shape[-1] for block in so3_irreps(torch.zeros(5, 3), (0, 1, 1, 2)).blocks]
        [1, 3, 3, 5]
    """
    check_float("phi", phi, 2)
    if phi.shape[-1] != 3:
        raise BadInput(
            "phi",
            expected="shape (..., N, 3)",
            received=f"{tuple(phi.shape)}",
            remedy="so(3) has three coordinates; for so(K) use rgprobe.gaussian.frames",
        )
    wide = phi if phi.dtype in (torch.float32, torch.float64) else phi.float()
    elements = {
        spin: matrix_exponential(torch.einsum("...a,aij->...ij", wide, so3_generators(spin).to(wide))).to(phi.dtype)
        for spin in set(spins)
    }
    return BlockFrames(tuple(elements[spin] for spin in spins))


@lru_cache(maxsize=32)
def _real_basis(spin: int) -> Complex128[Tensor, "D D"]:
    """Rows: real spherical harmonics in terms of |m>, m = -l ... l."""
    basis = torch.zeros(2 * spin + 1, 2 * spin + 1, dtype=torch.complex128)
    basis[spin, spin] = 1.0
    for m in range(1, spin + 1):
        sign = (-1.0) ** m
        basis[spin + m, spin - m], basis[spin + m, spin + m] = 0.5**0.5, sign * 0.5**0.5
        basis[spin - m, spin - m], basis[spin - m, spin + m] = 1j * 0.5**0.5, -1j * sign * 0.5**0.5
    # |m> are conjugated by the passage from functions to their coefficients
    return basis.conj().resolve_conj()
