"""The matrix exponential, with a gradient that costs little more than itself.

`torch.linalg.matrix_exp` differentiates through matrices of twice the size, at four to seven times its forward pass. Scaling
and squaring over a Taylor polynomial is nothing but products, which differentiate at about twice their cost, to any order.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["matrix_exponential"]

# Powers of the argument held at once (q): a polynomial of degree q^2 - 1 then takes 2 (q - 1) products
POWERS = (2, 3, 4, 5)


def matrix_exponential(matrix: Float[Tensor, "*batch K K"]) -> Float[Tensor, "*batch K K"]:
    """exp(A) = P(A / 2^s)^(2^s), P the Taylor polynomial of degree q^2 - 1 by the scheme of Paterson and Stockmeyer.

    s is the least that brings the largest row sum |A / 2^s| of the batch below the point where the first term left out,
    |A / 2^s|^(q^2) / (q^2)!, falls under the unit of the dtype. q is the one that takes the fewest products, and of several
    the largest: squaring doubles an error, so a batch is as accurate as its largest member allows, units times 2^s.

    Args:
        matrix: float32 or float64; NaN passes through.

    Source: Moler and Van Loan (2003), method 3; Paterson and Stockmeyer (1973).

    Example:
        >>> import torch
        >>> a = torch.randn(7, 5, 5, dtype=torch.float64)
        >>> torch.allclose(matrix_exponential(a), torch.linalg.matrix_exp(a), rtol=1e-12, atol=1e-12)
        True
    """
    largest = float(matrix.detach().abs().sum(-1).amax()) if matrix.numel() else 0.0
    q, halvings = _plan(largest, torch.finfo(matrix.dtype).eps)
    powers = [torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device), matrix / 2**halvings]
    for _ in range(2, q + 1):
        powers.append(powers[-1] @ powers[1])
    result = _block(powers, q - 1)
    for block in reversed(range(q - 1)):
        result = _block(powers, block) + powers[q] @ result
    for _ in range(halvings):
        result = result @ result
    return result


def _plan(largest: float, unit: float) -> tuple[int, int]:
    """Powers and halvings for a row sum; what is not finite passes through any."""
    plans = []
    for q in POWERS:
        allowed = (unit * math.factorial(q * q)) ** (1 / (q * q))
        plans.append((q, max(0, math.frexp(largest / allowed)[1]) if math.isfinite(largest) else 0))
    return min(plans, key=lambda plan: (2 * (plan[0] - 1) + plan[1], -plan[0]))


def _block(powers: list[Tensor], block: int) -> Tensor:
    """sum over k < q of x^k / (q block + k)!."""
    q = len(powers) - 1
    total = powers[0] / math.factorial(q * block)
    for k in range(1, q):
        total = torch.add(total, powers[k], alpha=1 / math.factorial(q * block + k))
    return total
