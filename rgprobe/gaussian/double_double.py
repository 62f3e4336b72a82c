"""Matrix products with twice the digits of float64, from float64 operations alone.

A number is kept as an unevaluated sum ``high + low`` of two float64 numbers (about 32 decimal digits). Products are
split into slices of so few bits that a float64 matrix product of two slices commits no rounding error at all, whatever
the order in which the library sums; the slice products are then added without loss. The work stays in the fast matrix
product, and results do not depend on threads, fused multiply-add or device.

Sources: T. J. Dekker, Numer. Math. 18 (1971) 224; D. E. Knuth, TAOCP 2, 4.2.2 (`two_sum`); K. Ozaki, T. Ogita, S. Oishi
    and S. M. Rump, Numer. Algorithms 59 (2012) 95 (error-free slicing of matrix products).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float64
from torch import Tensor

__all__ = ["DoubleDouble", "difference", "one_slice", "product", "slice_bits", "sliced_product", "two_sum"]

DoubleDouble = tuple[Tensor, Tensor]

# Four slices of 21 (K = 1,024) to 26 bits (K = 1): truncation at 2^-84 or better, against the 2^-53 of float64.
SLICES = 4


def two_sum(a: Tensor, b: Tensor) -> DoubleDouble:
    """Return ``s = fl(a + b)`` and the rounding error ``e``, so that ``a + b = s + e`` exactly.

    Example:
        >>> import torch
        >>> s, e = two_sum(torch.tensor(1.0, dtype=torch.float64), torch.tensor(1e-20, dtype=torch.float64))
        >>> s.item(), e.item()
        (1.0, 1e-20)
    """
    s = a + b
    b_seen = s - a
    return s, (a - (s - b_seen)) + (b - b_seen)


def difference(a: DoubleDouble, b: DoubleDouble) -> DoubleDouble:
    """Return ``a - b``, exact to about 2^-106 of the operands; equal operands give exact zeros."""
    high, error = two_sum(a[0], -b[0])
    return two_sum(high, error + (a[1] - b[1]))


def slice_bits(inner: int) -> int:
    """Bits per slice such that ``inner`` products of two slices sum to less than 2^53 units."""
    return (53 - math.ceil(math.log2(max(inner, 1)))) // 2


def _power_of_two_above(x: Tensor, dim: int) -> Tensor:
    """Smallest power of two not below max|x| along ``dim`` (1 where all entries vanish)."""
    largest = x.detach().abs().amax(dim, keepdim=True)
    mantissa, exponent = torch.frexp(largest)
    exponent = exponent - (mantissa == 0.5).to(exponent.dtype)
    return torch.where(largest > 0, torch.ldexp(torch.ones_like(largest), exponent), torch.ones_like(largest))


def _round_to(x: Tensor, unit: Tensor) -> Tensor:
    """Round to a multiple of ``unit``, a power of two: 1.5 * 2^52 units push the finer digits off the mantissa."""
    shift = unit * (1.5 * 2.0**52)
    return (x + shift) - shift


def one_slice(x: Float64[Tensor, "*batch n inner"]) -> Float64[Tensor, "*batch n inner"]:
    """Round each row to the bits of one slice, so that it enters `sliced_product` without error."""
    return _round_to(x, _power_of_two_above(x, dim=-1) * 2.0 ** -slice_bits(x.shape[-1]))


def _slices(x: DoubleDouble, dim: int, inner: int, count: int = SLICES) -> list[Tensor]:
    """Split ``high + low`` into ``count`` slices on a grid common to all entries along ``dim``."""
    rest, low = x
    bits = slice_bits(inner)
    unit = _power_of_two_above(rest, dim) * 2.0**-bits
    parts = []
    for k in range(count):
        if k == 2:
            rest = rest + low
        parts.append(_round_to(rest, unit))
        rest = rest - parts[-1]
        unit = unit * 2.0**-bits
    return parts


def _accumulate(terms: Iterator[Tensor]) -> DoubleDouble:
    """Add the terms, largest first, keeping what each addition rounds off."""
    high = next(terms)
    low = torch.zeros_like(high)
    for term in terms:
        high, error = two_sum(high, term)
        low = low + error
    return two_sum(high, low)


def sliced_product(left: Tensor, right: DoubleDouble) -> DoubleDouble:
    """Return ``left @ right`` in double-double, where ``left`` went through `one_slice`.

    Each entry errs by about 2^-84 of (row maximum of left) x (column maximum of right), against 2^-53 for float64.

    Args:
        left: (..., n, inner), float64, a single slice per row.
        right: (..., inner, m) as high and low part.

    Returns:
        High and low part, (..., n, m).
    """
    inner = left.shape[-1]
    return _accumulate(left @ part for part in _slices(right, dim=-2, inner=inner))


def product(left: DoubleDouble, right: DoubleDouble) -> DoubleDouble:
    """Return ``left @ right`` in double-double for any two double-double matrices, (..., n, inner) and (..., inner, m).

    Example:
        >>> import torch
        >>> a = torch.tensor([[1.0, 2.0**-40]], dtype=torch.float64)
        >>> zero = torch.zeros_like(a)
        >>> high, low = product((a, zero), (a.mT, zero.mT))
        >>> high.item(), low.item() == 2.0**-80
        (1.0, True)
    """
    inner = left[0].shape[-1]
    lefts, rights = _slices(left, -1, inner, SLICES + 1), _slices(right, -2, inner, SLICES + 1)
    # Slices i and j meet at 2^-(i + j) x bits: pairs beyond the last slice lie under the truncation and are left out.
    return _accumulate(lefts[i] @ rights[d - i] for d in range(SLICES + 1) for i in range(d + 1))
