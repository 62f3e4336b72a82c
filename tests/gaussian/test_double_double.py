"""Double-double arithmetic against rational arithmetic, which is exact: batches, with rows and columns of any scale."""

from fractions import Fraction

import pytest
import torch
from gaussian_cases import generator, normal

from rgprobe.gaussian.double_double import difference, one_slice, product, slice_bits, sliced_product, two_sum

SHAPES = [((), 1, 1, 1), ((), 3, 5, 2), ((2,), 4, 7, 3), ((3, 2), 1, 9, 5)]


def scaled(seed, *shape):
    """Numbers whose rows and columns differ by up to 12 orders of magnitude."""
    g = generator(seed)
    rows, columns = (10.0 ** (3 * normal(g, size).clamp(-2, 2)) for size in shape[-2:])
    return normal(g, *shape) * rows[:, None] * columns


def pair(seed, *shape):
    """High and low part, the low one below half a unit of the high one's last digit."""
    high = scaled(seed, *shape)
    return high, high * 2.0**-55 * normal(generator(seed + 1), *shape).clamp(-1, 1)


def exactly(number, index):
    """The number that high and low part stand for."""
    high, low = number
    return Fraction(high[index].item()) + Fraction(low[index].item())


def largest_error(found, left, right):
    """Of a batch of products, in units of (row maximum of left) x (column maximum of right)."""
    worst = Fraction(0)
    for index in torch.cartesian_prod(*(torch.arange(n) for n in found[0].shape)).reshape(-1, found[0].ndim).tolist():
        *batch, i, j = index
        rows = [exactly(left, (*batch, i, k)) for k in range(left[0].shape[-1])]
        columns = [exactly(right, (*batch, k, j)) for k in range(right[0].shape[-2])]
        exact = sum((a * b for a, b in zip(rows, columns, strict=True)), Fraction(0))
        scale = max(map(abs, rows)) * max(map(abs, columns))
        worst = max(worst, abs(exactly(found, tuple(index)) - exact) / scale)
    return float(worst)


def test_sum_and_its_rounding_error_are_the_exact_sum():
    a, b = scaled(1, 9, 7), scaled(2, 9, 7)
    found = two_sum(a, b)
    for i in range(9):
        for j in range(7):
            assert exactly(found, (i, j)) == Fraction(a[i, j].item()) + Fraction(b[i, j].item())
    assert torch.equal(found[0], a + b)


def test_difference_of_near_equal_numbers_keeps_their_low_parts():
    a = pair(3, 6, 5)
    b = (a[0] * (1 + 1e-15), a[1] * 3)
    found = difference(a, b)
    for i in range(6):
        for j in range(5):
            exact = exactly(a, (i, j)) - exactly(b, (i, j))
            assert abs(exactly(found, (i, j)) - exact) <= 2.0**-104 * abs(exactly(a, (i, j)))
    assert all((part == 0).all() for part in difference(a, a))


@pytest.mark.parametrize(("inner", "bits"), [(1, 26), (2, 26), (3, 25), (1024, 21), (1025, 21), (4097, 20)])
def test_products_of_slices_fit_into_float64(inner, bits):
    assert slice_bits(inner) == bits
    assert inner * 2 ** (2 * bits) <= 2**53


@pytest.mark.parametrize("shape", SHAPES)
def test_slice_of_a_row_depends_on_that_row_alone(shape):
    """In batches too; on a grid of so many bits below the row's largest entry, no further from the row than half of it."""
    batch, n, inner, _ = shape
    x = scaled(4, *batch, n, inner)
    found = one_slice(x)
    assert found.shape == x.shape
    for row, rounded in zip(x.reshape(-1, inner), found.reshape(-1, inner), strict=True):
        assert torch.equal(one_slice(row[None])[0], rounded)
        unit = Fraction(2) ** (int(torch.frexp(row.abs().max())[1]) - slice_bits(inner))
        for a, b in zip(row.tolist(), rounded.tolist(), strict=True):
            assert (Fraction(b) / unit).denominator == 1
            assert abs(Fraction(a) - Fraction(b)) <= unit / 2


@pytest.mark.parametrize("shape", SHAPES)
def test_products_match_rational_arithmetic(shape):
    """To the four slices that are kept, or to twice the digits of float64."""
    batch, n, inner, m = shape
    left, right = pair(5, *batch, n, inner), pair(6, *batch, inner, m)
    sliced, zero = one_slice(left[0]), torch.zeros_like(left[0])
    kept = 2.0 ** (1 - 4 * slice_bits(inner)) * inner
    assert largest_error(sliced_product(sliced, right), (sliced, zero), right) < kept
    assert largest_error(product(left, right), left, right) < 2.0**-104 * inner
    assert largest_error(product((left[0], zero), right), (left[0], zero), right) < 2.0**-104 * inner


def test_rows_of_zeros_give_zeros():
    zero = torch.zeros(3, 4).double()
    assert torch.equal(one_slice(zero), zero)
    assert all((part == 0).all() for part in product((zero, zero), (zero.mT, zero.mT)))
