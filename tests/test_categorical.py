"""Categorical divergences against 60-digit arithmetic and the termwise form, near-equal rows and zeros included."""

import math

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rgprobe import categorical
from rgprobe.categorical import (
    coarse_grain,
    entropy,
    jeffreys,
    jensen_shannon,
    kl,
    log_normalise,
    pairwise_jeffreys,
    pairwise_kl,
    top_classes,
)
from rgprobe.errors import BadInput, OptionError


def rows(seed, *shape, spread=3.0):
    g = torch.Generator().manual_seed(seed)
    return log_normalise(spread * torch.randn(*shape, generator=g, dtype=torch.float64))


def exact_kl(a, b):
    """Sum of p log(p/q) - p + q of the logarithms stored, in 60-digit arithmetic."""
    with mpmath.workdps(60):
        total = mpmath.mpf(0)
        for x, y in zip(a.tolist(), b.tolist(), strict=True):
            p, q = mpmath.exp(x), mpmath.exp(y)
            total += q if p == 0 else p * (mpmath.mpf(x) - mpmath.mpf(y)) - p + q
        return total


def relative_error(value, reference):
    with mpmath.workdps(60):
        return float(abs(mpmath.mpf(value.item()) - reference) / reference)


@pytest.mark.parametrize("size", [1.0, 1e-2, 1e-4, 1e-6, 1e-8])
@pytest.mark.parametrize("classes", [2, 7, 501])
def test_kl_matches_60_digits_also_for_near_equal_rows(classes, size):
    g = torch.Generator().manual_seed(classes)
    a = rows(1, classes)
    b = log_normalise(a + size * torch.randn(classes, generator=g, dtype=torch.float64))
    reference = exact_kl(a, b)
    assert relative_error(kl(a, b), reference) < 1e-13
    # Above the threshold the matrix product answers, with an absolute error near 1e-15.
    assert relative_error(pairwise_kl(a[None], b[None])[0, 0], reference) < (1e-8 if reference > 5e-7 else 1e-13)


@pytest.mark.parametrize("sizes", [(1, 1, 2), (5, 3, 63), (32, 32, 1025)])
def test_pairwise_equals_the_termwise_form(sizes):
    n, m, v = sizes
    a = rows(1, n, v)
    b = torch.cat([a[: m // 2] + 1e-7 * rows(2, m // 2, v), rows(3, m - m // 2, v)])
    slow = kl(a.unsqueeze(-2), b)
    assert slow.min() < 1e-6 or m == 1
    torch.testing.assert_close(pairwise_kl(a, b), slow, rtol=1e-8, atol=0)


def test_pairwise_batches_and_blocks(monkeypatch):
    a = rows(4, 2, 3, 5, 9, spread=1e-4)
    whole = pairwise_kl(a)
    assert whole.shape == (2, 3, 5, 5)
    torch.testing.assert_close(whole, kl(a.unsqueeze(-2), a.unsqueeze(-3)), rtol=1e-12, atol=0)
    monkeypatch.setattr(categorical, "BLOCK_BYTES", 1)
    assert torch.equal(pairwise_kl(a), whole)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), exponent=st.floats(-12, 1.5))
def test_divergence_is_never_negative_and_zero_only_for_equal_rows(seed, exponent):
    a = log_normalise(rows(seed, 17) + 10**exponent * rows(seed + 1, 6, 17))
    table = pairwise_kl(a)
    assert (table >= 0).all()
    assert (table.diagonal() == 0).all()
    assert (kl(a, a) == 0).all()
    assert (pairwise_kl(a, a.clone()).diagonal() == 0).all()


def test_missing_support_gives_infinite_kl():
    a = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.25, 0.25, 0.5]]).double().log()
    expected = torch.tensor(
        [
            [0.0, math.inf, math.log(2)],
            [math.log(2), 0.0, math.log(4)],
            [math.inf, math.inf, 0.0],
        ],
        dtype=torch.float64,
    )
    torch.testing.assert_close(pairwise_kl(a), expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(kl(a.unsqueeze(-2), a), expected, rtol=1e-12, atol=0)
    near = torch.tensor([[0.5 + 1e-7, 0.5 - 1e-7, 0.0]], dtype=torch.float64).log()
    assert 0 < pairwise_kl(near, a)[0, 0] < 1e-12
    assert entropy(a).tolist() == pytest.approx([math.log(2), 0.0, 1.5 * math.log(2)])


def test_jeffreys_is_the_sum_of_both_directions():
    a, b = rows(5, 4, 11), rows(6, 6, 11)
    table = pairwise_jeffreys(a, b)
    torch.testing.assert_close(table, kl(a.unsqueeze(-2), b) + kl(b, a.unsqueeze(-2)), rtol=1e-12, atol=0)
    torch.testing.assert_close(table[1, 2], jeffreys(a[1], b[2]), rtol=1e-12, atol=0)
    own = pairwise_jeffreys(a)
    torch.testing.assert_close(own, own.mT, rtol=0, atol=0)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), share=st.floats(0.01, 10.0))
def test_jensen_shannon_is_the_entropy_gained_by_mixing(seed, share):
    a, b = rows(seed, 13), rows(seed + 1, 13)
    w = share / (share + 1.0)
    mixture = (w * a.exp() + (1 - w) * b.exp()).log()
    gained = (share + 1.0) * (entropy(mixture) - w * entropy(a) - (1 - w) * entropy(b))
    torch.testing.assert_close(jensen_shannon(a, b, (share, 1.0)), gained, rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(jensen_shannon(a, b, (share, 1.0)), jensen_shannon(b, a, (1.0, share)))


def test_jensen_shannon_of_equal_rows_and_of_disjoint_ones():
    a = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).double().log()
    assert jensen_shannon(a[0], a[1]).item() == pytest.approx(math.log(2), rel=1e-15)
    assert jensen_shannon(rows(1, 9), rows(1, 9)).item() < 1e-30
    for bad in ((0.0, 1.0), (1.0, -1.0), (math.nan, 1.0), (math.inf, 1.0)):
        with pytest.raises(OptionError, match="weights"):
            jensen_shannon(a[0], a[1], bad)


def test_coarse_graining_keeps_mass_and_loses_information():
    a = rows(8, 6, 50)
    keep = top_classes(a, 7)
    assert keep.tolist() == sorted(a.exp().mean(0).topk(7).indices.tolist())
    reduced = coarse_grain(a, keep)
    assert reduced.shape == (6, 8)
    torch.testing.assert_close(reduced.exp().sum(-1), torch.ones(6).double(), rtol=1e-14, atol=0)
    assert torch.equal(reduced[:, :-1], a[:, keep])
    assert (pairwise_kl(reduced) <= pairwise_kl(a) + 1e-14).all()
    everything = coarse_grain(a, torch.arange(50))
    torch.testing.assert_close(pairwise_kl(everything), pairwise_kl(a), rtol=1e-12, atol=1e-14)


def test_ties_of_top_classes_go_to_the_lower_index():
    assert top_classes(torch.zeros(3, 5).log_softmax(-1), 2).tolist() == [0, 1]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_low_precision_equals_float64_on_the_upcast_input(dtype):
    a = rows(9, 4, 33).to(dtype)
    assert torch.equal(pairwise_kl(a), pairwise_kl(a.double()))
    assert torch.equal(log_normalise(a), log_normalise(a.double()))


def test_bad_rows_and_options_are_refused():
    bad = torch.zeros(2, 3, 4)
    bad[1, 2, 0] = torch.nan
    with pytest.raises(BadInput, match=r"logits\[1, 2\]"):
        log_normalise(bad)
    with pytest.raises(BadInput, match="logits"):
        log_normalise(torch.full((3,), -torch.inf))
    with pytest.raises(BadInput, match="keep"):
        coarse_grain(rows(1, 5), torch.tensor([1, 1]))
    with pytest.raises(BadInput, match="keep"):
        coarse_grain(rows(1, 5), torch.tensor([5]))
    with pytest.raises(OptionError, match="k: expected 1 to 5"):
        top_classes(rows(1, 2, 5), 6)
