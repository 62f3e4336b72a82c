"""Merge costs against 50-digit arithmetic, from nearly equal beliefs to distant ones; cheap forms against accurate."""

import mpmath as mp
import numpy as np
import pytest
import torch
from condensation_cases import categorical, gaussian, weights

from rgprobe.condensation.categorical_costs import CategoricalMoment, CategoricalPool, moment_cost, pool_cost
from rgprobe.condensation.gaussian_costs import GaussianMoment, GaussianPool, GaussianShift, _excess
from rgprobe.gaussian import Gaussian

DISTANCES = (1e-9, 1e-6, 1e-3, 0.03, 0.3, 3.0)


@pytest.fixture(autouse=True)
def _fifty_digits():
    with mp.workdps(50):
        yield


def near_rows(distance, seed):
    generator = np.random.default_rng(seed)
    p = generator.dirichlet(np.ones(9))
    q = p * np.exp(distance * generator.normal(size=9))
    return p, q / q.sum()


@pytest.mark.parametrize("distance", DISTANCES)
def test_categorical_moment(distance):
    (p, q), (a, b) = near_rows(distance, 1), (mp.mpf(0.3), mp.mpf(0.9))
    exact = mp.mpf(0)
    for x, y in zip(p.tolist(), q.tolist(), strict=True):
        m = (a * mp.mpf(x) + b * mp.mpf(y)) / (a + b)
        exact += a * x * mp.log(x / m) + b * y * mp.log(y / m)
    assert float(moment_cost(p, 0.3, q[None], np.array([0.9]))[0] / exact - 1) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("distance", DISTANCES)
def test_categorical_pool(distance):
    p, q = near_rows(distance, 2)
    log_p, log_q = np.log(p), np.log(q)
    share = mp.mpf(0.3) / (mp.mpf(0.3) + mp.mpf(0.9))
    p_exact, q_exact = ([mp.exp(mp.mpf(x)) for x in row.tolist()] for row in (log_p, log_q))
    pairs = zip(p_exact, q_exact, strict=True)
    deficit = sum(share * x + (1 - share) * y - x**share * y ** (1 - share) for x, y in pairs)
    exact = -(mp.mpf(0.3) + mp.mpf(0.9)) * mp.log1p(-deficit)
    assert float(pool_cost(log_p, 0.3, log_q[None], np.array([0.9]))[0] / exact - 1) == pytest.approx(0.0, abs=1e-12)


def near_gaussians(distance, condition):
    """Two beliefs whose parameters differ by about ``distance`` in the units of their own spread."""
    generator = torch.Generator().manual_seed(5)
    turn, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    root = turn * torch.logspace(0, np.log10(condition) / 2, 3, dtype=torch.float64)
    tilt = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    other = root @ (torch.eye(3) + distance * 0.2 * tilt).double()
    covariance = torch.stack([root @ root.T, other @ other.T])
    shift = root @ torch.randn(3, generator=generator, dtype=torch.float64)
    mean = torch.stack([torch.zeros(3, dtype=torch.float64), distance * shift])
    return Gaussian.from_covariance(mean, (covariance + covariance.mT) / 2)


def exact_gaussian_cost(beliefs, a, b, centroid):
    """Two textbook divergences to the textbook centroid."""
    s = [mp.matrix(x.tolist()) for x in beliefs.covariance]
    mu = [mp.matrix(x.tolist()) for x in beliefs.mean]
    w = [mp.mpf(a) / (mp.mpf(a) + mp.mpf(b)), mp.mpf(b) / (mp.mpf(a) + mp.mpf(b))]
    if centroid == "moment":
        mean = w[0] * mu[0] + w[1] * mu[1]
        cov = sum((w[i] * (s[i] + (mu[i] - mean) * (mu[i] - mean).T) for i in (0, 1)), mp.zeros(3))
        return a * exact_kl(mu[0], s[0], mean, cov) + b * exact_kl(mu[1], s[1], mean, cov)
    precision = w[0] * s[0] ** -1 + w[1] * s[1] ** -1
    cov = precision**-1
    mean = cov * (w[0] * s[0] ** -1 * mu[0] + w[1] * s[1] ** -1 * mu[1])
    return a * exact_kl(mean, cov, mu[0], s[0]) + b * exact_kl(mean, cov, mu[1], s[1])


def exact_kl(mu_p, s_p, mu_q, s_q):
    inverse = s_q**-1
    product, d = inverse * s_p, mu_p - mu_q
    trace = sum(product[k, k] for k in range(3))
    return (trace - 3 + (d.T * inverse * d)[0] - mp.log(mp.det(product))) / 2


@pytest.mark.parametrize("e", [-0.0199, -1e-3, 1e-8, 0.0199, 0.0201, 3.0])
def test_excess_over_the_logarithm(e):
    """To the last digits where the series serves, and where it hands over; the difference alone would lose four."""
    exact = mp.mpf(e) - mp.log1p(mp.mpf(e))
    assert float(_excess(np.array([e]))[0] / exact - 1) == pytest.approx(0.0, abs=6e-15 if abs(e) < 0.02 else 2e-12)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize(("condition", "tolerance"), [(10.0, 1e-10), (1e6, 1e-8)])
def test_moment_cost_matches_exact_arithmetic_whatever_the_condition(distance, condition, tolerance):
    beliefs = near_gaussians(distance, condition)
    got = GaussianMoment(beliefs, np.array([0.25, 0.75])).costs(0, np.array([1]))[0]
    assert float(got / exact_gaussian_cost(beliefs, 0.25, 0.75, "moment") - 1) == pytest.approx(0.0, abs=tolerance)


@pytest.mark.parametrize("distance", [d for d in DISTANCES if d >= 1e-6])
def test_pool_cost_matches_exact_arithmetic_to_1e_8(distance):
    """Precisions are inverses, so near-equal beliefs have lost the digits that inversion costs: stated, not hidden."""
    beliefs = near_gaussians(distance, 10.0)
    got = GaussianPool(beliefs, np.array([0.25, 0.75])).costs(0, np.array([1]))[0]
    assert float(got / exact_gaussian_cost(beliefs, 0.25, 0.75, "pool") - 1) == pytest.approx(0.0, abs=1e-8)


@pytest.mark.parametrize("slots", [CategoricalMoment, CategoricalPool, GaussianMoment, GaussianPool])
def test_cheap_form_equals_accurate_form(slots):
    beliefs = categorical(17, v=63) if "Categorical" in slots.__name__ else gaussian(17)
    w = weights(17) / weights(17).sum()
    state = slots(beliefs, w)
    others = np.arange(1, 17)
    total = (w[0] + w[others],) if "Categorical" in slots.__name__ else ()
    cheap = state._cheap(0, others, *total)
    np.testing.assert_allclose(cheap, state._accurate(0, others), rtol=1e-11)


@pytest.mark.parametrize("slots", [CategoricalMoment, CategoricalPool, GaussianMoment, GaussianPool])
def test_blocks_change_nothing(slots):
    beliefs = categorical(17, v=63) if "Categorical" in slots.__name__ else gaussian(17)
    w = np.full(17, 1 / 17)
    whole, parts = slots(beliefs, w), slots(beliefs, w)
    parts._step = 5
    others = np.array([0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 16])
    np.testing.assert_allclose(parts.costs(3, others), whole.costs(3, others), rtol=1e-13)


@pytest.mark.parametrize("slots", [CategoricalMoment, CategoricalPool, GaussianMoment, GaussianPool, GaussianShift])
def test_a_list_of_pairs_costs_what_its_rows_cost(slots):
    beliefs = categorical(17, v=63) if "Categorical" in slots.__name__ else gaussian(17)
    state = slots(beliefs, weights(17) / weights(17).sum())
    a, b = np.triu_indices(17, 1)
    row = np.concatenate([state.costs(i, np.arange(i + 1, 17)) for i in range(16)])
    np.testing.assert_allclose(state.costs(a, b), row, rtol=1e-12)
    np.testing.assert_allclose(state.costs(b, a), row, rtol=1e-12)
