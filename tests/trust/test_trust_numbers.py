"""Numbers against 60-digit arithmetic where conditions are bad and beliefs nearly equal, and against themselves.

KL at every condition and structure stands in tests/gaussian; here are the numbers that are made of it or beside it.
"""

import sys

import mpmath
import numpy as np
import pytest
import torch
from gaussian_cases import (
    exact,
    exact_kl,
    generator,
    normal,
    random_beliefs,
    relative_error,
    rotated,
    spectrum,
    symmetric,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from rgprobe import categorical
from rgprobe.condensation import condense
from rgprobe.errors import NumericalRefusal, OptionError
from rgprobe.gaussian import Gaussian, frames, jeffreys, kl, merge, pairwise_kl, pool, pushforward
from rgprobe.models import kl_attention
from rgprobe.probe.operator_spectra import Operator, leading_singular_values

EXAMPLES = 1000 if "--full" in sys.argv else 8
CONDITIONS = (1e3, 1e6, 1e9)


def properties(function):
    return settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None)(function)


def pair(seed, k, condition, size):
    """Two beliefs of this condition whose covariances differ by a relative `size`, with what they hold, exactly."""
    g = generator(seed)
    q, _ = torch.linalg.qr(normal(g, k, k))
    root = q * spectrum(k, condition).sqrt()
    # an exponential is positive definite whatever was drawn; 1 + size * noise is not
    near = symmetric(root @ torch.linalg.matrix_exp(size * symmetric(normal(g, k, k)) / k) @ root.mT)
    covariance, mean = symmetric(root @ root.mT), normal(g, k)
    moved = mean + size * (root @ normal(g, k))
    return [(mean, covariance), (moved, near)]


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("size", [1e-1, 1e-6])
def test_jeffreys_matches_60_digits(condition, size):
    (m, s), (n, t) = pair(1, 5, condition, size)
    reference = exact_kl(m, exact(s), n, exact(t)) + exact_kl(n, exact(t), m, exact(s))
    value = jeffreys(Gaussian.from_covariance(m, s), Gaussian.from_covariance(n, t))
    assert relative_error(value, reference) < 1e-12


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("k", [1, 5, 16])
def test_log_determinant_matches_60_digits(condition, k):
    """The entropy is (k ln(2 pi e) + ln det) / 2: its error is that of ln det."""
    covariance = rotated(generator(k), spectrum(k, condition))
    with mpmath.workdps(60):
        factor = mpmath.cholesky(exact(covariance))
        log_det = 2 * sum(mpmath.log(factor[i, i]) for i in range(k))
        reference = (k * mpmath.log(2 * mpmath.pi * mpmath.e) + log_det) / 2
    value = Gaussian.from_covariance(torch.zeros(k).double(), covariance).entropy()
    with mpmath.workdps(60):
        error = float(abs(mpmath.mpf(value.item()) - reference))
    # a covariance stored in float64 determines ln det to eps times its condition, and no further
    assert error < 1e-16 * condition * k + 1e-13 * float(abs(reference))


@pytest.mark.parametrize(("group", "scale"), [("so", 0.1), ("so", 30.0), ("gl", 0.1), ("gl", 3.0)])
def test_exponential_matches_60_digits(group, scale):
    x = scale * normal(generator(3), 5, 5)
    phi = x - x.mT if group == "so" else x
    with mpmath.workdps(60):
        reference = mpmath.expm(exact(phi), method="taylor")
        largest = max(abs(v) for v in reference)
        value = exact(frames(phi, group))
        error = float(max(abs(v - w) for v, w in zip(value, reference, strict=True)) / largest)
    norm = float(torch.linalg.matrix_norm(phi, 2))
    assert error < 1e-15 * (5 + norm)  # the exponential's own condition grows with the norm


@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("size", [1.0, 1e-5])
def test_merging_matches_60_digits(condition, size):
    cases = pair(2, 4, condition, size)
    beliefs = Gaussian.from_covariance(torch.stack([m for m, _ in cases]), torch.stack([s for _, s in cases]))
    merged = merge(beliefs, torch.tensor([0.25, 0.75], dtype=torch.float64))
    with mpmath.workdps(60):
        w = [mpmath.mpf("0.25"), mpmath.mpf("0.75")]
        means, covs = [exact(m) for m, _ in cases], [exact(s) for _, s in cases]
        mean = w[0] * means[0] + w[1] * means[1]
        expected = sum((w[i] * (covs[i] + (means[i] - mean) * (means[i] - mean).T) for i in range(2)), mpmath.zeros(4))
        value, scale = exact(merged.covariance), max(abs(v) for v in expected)
        error = float(max(abs(v - e) for v, e in zip(value, expected, strict=True)) / scale)
    assert error < 1e-15


@pytest.mark.parametrize("condition", CONDITIONS)
def test_costs_of_merging_near_equal_beliefs_match_60_digits(condition):
    cases = pair(3, 4, condition, 1e-4)
    beliefs = Gaussian.from_covariance(torch.stack([m for m, _ in cases]), torch.stack([s for _, s in cases]))
    tree = condense(beliefs)
    with mpmath.workdps(60):
        means, covs = [exact(m) for m, _ in cases], [exact(s) for _, s in cases]
        mean = (means[0] + means[1]) / 2
        cov = sum(((covs[i] + (means[i] - mean) * (means[i] - mean).T) / 2 for i in range(2)), mpmath.zeros(4))
        reference = sum(_exact_kl(means[i], covs[i], mean, cov) for i in range(2)) / 2
        error = float(abs(mpmath.mpf(float(tree.merge_costs[0])) - reference) / reference)
    assert error < 1e-9


def _exact_kl(mean_p, cov_p, mean_q, cov_q):
    inverse, k = cov_q**-1, cov_p.rows
    ratio, step = inverse * cov_p, mean_p - mean_q
    log_det = mpmath.log(mpmath.det(cov_q)) - mpmath.log(mpmath.det(cov_p))
    return (sum(ratio[i, i] for i in range(k)) - k + (step.T * inverse * step)[0] + log_det) / 2


@pytest.mark.parametrize("condition", CONDITIONS)
def test_jacobian_spectra_match_60_digits(condition):
    g = generator(4)
    left, _ = torch.linalg.qr(normal(g, 6, 6))
    right, _ = torch.linalg.qr(normal(g, 6, 6))
    matrix = left * spectrum(6, condition) @ right
    found = leading_singular_values(Operator.of(matrix), count=6, steps=6, tolerance=1e-14)
    with mpmath.workdps(60):
        reference = sorted((float(v) for v in mpmath.svd_r(exact(matrix), compute_uv=False)), reverse=True)
    # absolute in units of the largest: small singular values are known no better than that from any float64 product
    assert np.abs(found.values.numpy() - reference).max() < 1e-14


def test_categorical_divergence_of_near_equal_rows_matches_60_digits():
    rng = np.random.default_rng(5)
    p = rng.dirichlet(np.ones(50))
    for size in (1e-2, 1e-5, 1e-8):
        q = p * (1 + size * rng.standard_normal(50))
        q /= q.sum()
        a, b = torch.from_numpy(np.log(p)), torch.from_numpy(np.log(q))
        with mpmath.workdps(60):  # of the logarithms as stored, whose exponentials do not quite add up to 1
            pairs = [(mpmath.mpf(u), mpmath.mpf(v)) for u, v in zip(a.tolist(), b.tolist(), strict=True)]
            reference = sum(mpmath.exp(u) * (u - v) - mpmath.exp(u) + mpmath.exp(v) for u, v in pairs)
        assert relative_error(categorical.kl(a, b), reference) < 1e-12


@properties
@given(seed=st.integers(0, 10**6), k=st.integers(1, 6), scale=st.floats(1e-3, 1e3))
def test_divergence_is_affine_invariant(seed, k, scale):
    p, g = random_beliefs(seed, 2, k=k), generator(seed + 1)
    a = scale * (normal(g, k, k) + 3 * torch.eye(k).double())
    moved = pushforward(p, a)
    amplified = float(torch.linalg.cond(a)) ** 2 * 1e-13
    torch.testing.assert_close(kl(moved[0], moved[1]), kl(p[0], p[1]), rtol=1e-10 + amplified, atol=1e-13)


@properties
@given(seed=st.integers(0, 10**6), k=st.integers(1, 6), condition=st.sampled_from([1.0, 1e4, 1e8]))
def test_divergence_is_never_negative_and_zero_of_itself(seed, k, condition):
    (m, s), (n, t) = pair(seed, k, condition, 10.0 ** -(seed % 9))
    p, q = Gaussian.from_covariance(m, s), Gaussian.from_covariance(n, t)
    assert kl(p, p).item() == 0.0
    assert kl(p, q).item() >= 0.0
    assert (pairwise_kl(Gaussian.from_covariance(torch.stack([m, n]), torch.stack([s, t]))) >= 0).all()


@properties
@given(seed=st.integers(0, 10**6), n=st.integers(2, 6), k=st.integers(1, 4))
def test_merging_does_not_depend_on_order(seed, n, k):
    p, g = random_beliefs(seed, n, k=k), generator(seed)
    w, order = torch.rand(n, generator=g).double() + 0.1, torch.randperm(n, generator=g)
    for barycenter in (merge, pool):
        there, back = barycenter(p, w), barycenter(p[order], w[order])
        torch.testing.assert_close(there.mean, back.mean, rtol=1e-11, atol=1e-11)
        torch.testing.assert_close(there.covariance, back.covariance, rtol=1e-11, atol=1e-11)


@properties
@given(seed=st.integers(0, 10**6), k=st.integers(1, 6))
def test_exponential_of_minus_undoes_it(seed, k):
    phi = normal(generator(seed), k, k) / k**0.5
    product = frames(phi, "gl") @ frames(-phi, "gl")
    torch.testing.assert_close(product, torch.eye(k).double(), rtol=0, atol=1e-11)


@properties
@given(seed=st.integers(0, 10**6), n=st.integers(2, 9), v=st.integers(2, 12))
def test_permuting_tokens_permutes_the_tree(seed, n, v):
    rng = np.random.default_rng(seed)
    rows, order = rng.dirichlet(np.ones(v), n), rng.permutation(n)
    there, back = condense(rows), condense(rows[order])
    np.testing.assert_allclose(there.merge_costs, back.merge_costs, rtol=1e-9, atol=1e-12)
    for count in range(1, n + 1):
        a, b = there.cut(n_clusters=count)[order], back.cut(n_clusters=count)
        assert len(set(zip(a.tolist(), b.tolist(), strict=True))) == count


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_low_precision_equals_float64_of_what_was_stored(dtype):
    p = random_beliefs(7, 3, k=4)
    low = Gaussian(p.mean.to(dtype), torch.linalg.cholesky(p.covariance).to(dtype))
    high = Gaussian(low.mean.double(), low.scale_tril.double())
    torch.testing.assert_close(pairwise_kl(low).double(), pairwise_kl(high), rtol=1e-12, atol=0)


MALFORMED = {
    "not positive": [[1.0, 2.0], [2.0, 1.0]], "negative": [[-1.0, 0.0], [0.0, 1.0]], "zero": [[0.0, 0.0], [0.0, 0.0]],
    "asymmetric": [[1.0, 0.5], [0.1, 1.0]], "not a number": [[float("nan"), 0.0], [0.0, 1.0]],
    "infinite": [[float("inf"), 0.0], [0.0, 1.0]], "upper triangle only": [[1.0, 0.9], [0.0, 1.0]],
    "singular": [[1.0, 1.0], [1.0, 1.0]],
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_covariance_is_refused_by_index(name):
    covariance = torch.eye(2).double().repeat(3, 1, 1)
    covariance[1] = torch.tensor(MALFORMED[name])
    with pytest.raises(NumericalRefusal, match=r"\[1\]") as refusal:
        Gaussian.from_covariance(torch.zeros(3, 2).double(), covariance)
    assert refusal.value.exit_code == 4


@pytest.mark.parametrize("kappa", [0.0, -1.0, float("nan"), float("inf"), -float("inf")])
def test_malformed_kappa_is_refused(kappa):
    with pytest.raises(OptionError, match="kappa") as refusal:
        kl_attention(random_beliefs(1, 4, k=2), torch.ones(4, 2).double(), kappa=kappa)
    assert refusal.value.exit_code == 2


@pytest.mark.parametrize("kappa", [1e-300, 1e-30, 1e30, 1e300])
def test_extreme_kappa_neither_overflows_nor_lies(kappa):
    """Cold: the nearest belief takes all, equals share; hot: all alike."""
    beliefs = random_beliefs(2, 5, k=2)
    out, pattern = kl_attention(beliefs, torch.eye(5).double(), kappa=kappa, causal=False, return_pattern=True)
    assert out.isfinite().all()
    torch.testing.assert_close(pattern.sum(-1), torch.ones(5).double())
    expected = torch.eye(5).double() if kappa < 1 else torch.full((5, 5), 0.2).double()
    torch.testing.assert_close(pattern, expected, rtol=0, atol=1e-8)  # a fifth in float32
