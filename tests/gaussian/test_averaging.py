"""Barycenters: moments of the mixture, associativity, and the minimum each one is."""

import pytest
import torch
from gaussian_cases import generator, normal, random_beliefs, rotated, spectrum, symmetric
from hypothesis import given, settings
from hypothesis import strategies as st

from rgprobe.errors import BadInput, OptionError
from rgprobe.gaussian import Gaussian, kl, merge, pool


def weights_of(seed, *shape):
    return torch.rand(*shape, generator=generator(seed)).double() + 0.05


def test_merge_has_the_moments_of_the_mixture():
    p, w = random_beliefs(1, 4, 5), weights_of(1, 4, 5)
    m, share = merge(p, w), w / w.sum(-1, keepdim=True)
    first, second = p.mean_parameters()
    torch.testing.assert_close(m.mean, torch.einsum("bn,bnk->bk", share, first), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(
        m.mean_parameters()[1], torch.einsum("bn,bnkl->bkl", share, second), rtol=1e-13, atol=1e-13
    )


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 7), k=st.integers(1, 5))
def test_merge_is_associative(seed, n, k):
    p, w = random_beliefs(seed, n, k=k), weights_of(seed, n)
    cut = 1 + seed % (n - 1)
    halves = [merge(p[:cut], w[:cut]), merge(p[cut:], w[cut:])]
    pair = Gaussian.from_covariance(torch.stack([h.mean for h in halves]), torch.stack([h.covariance for h in halves]))
    two_steps, one_step = merge(pair, torch.stack([w[:cut].sum(), w[cut:].sum()])), merge(p, w)
    torch.testing.assert_close(two_steps.mean, one_step.mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(two_steps.covariance, one_step.covariance, rtol=1e-12, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 7), k=st.integers(1, 5))
def test_pool_is_associative(seed, n, k):
    p, w = random_beliefs(seed, n, k=k), weights_of(seed, n)
    rest = pool(p[1:], w[1:])
    pair = Gaussian.from_covariance(
        torch.stack([p[0].mean, rest.mean]), torch.stack([p[0].covariance, rest.covariance])
    )
    two_steps, one_step = pool(pair, torch.stack([w[0], w[1:].sum()])), pool(p, w)
    torch.testing.assert_close(two_steps.mean, one_step.mean, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(two_steps.covariance, one_step.covariance, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("barycenter", "into"), [(merge, True), (pool, False)])
def test_each_barycenter_minimises_its_divergence(barycenter, into):
    """`merge` minimises sum w KL(p_i || m), `pool` sum w KL(m || p_i): stationary, and neighbours are worse."""
    p, w = random_beliefs(5, 6), weights_of(5, 6)
    w = w / w.sum()
    centre = barycenter(p, w)

    def loss(mean, covariance):
        m = Gaussian.from_covariance(mean, covariance)
        return (w * (kl(p, m) if into else kl(m, p))).sum()

    mean, covariance = centre.mean.requires_grad_(), centre.covariance.requires_grad_()
    value = loss(mean, covariance)
    for gradient in torch.autograd.grad(value, (mean, covariance)):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-12)
    g = generator(6)
    for _ in range(10):
        step = symmetric(normal(g, 3, 3)) * 1e-2
        assert loss(mean + 1e-2 * normal(g, 3), covariance + step) > value


def test_pool_averages_natural_parameters():
    p, w = random_beliefs(9, 2, 5), weights_of(9, 2, 5)
    share = w / w.sum(-1, keepdim=True)
    eta1, eta2 = p.natural_parameters()
    pooled1, pooled2 = pool(p, w).natural_parameters()
    torch.testing.assert_close(pooled1, torch.einsum("bn,bnk->bk", share, eta1), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(pooled2, torch.einsum("bn,bnkl->bkl", share, eta2), rtol=1e-11, atol=1e-11)
    diagonal = Gaussian.from_diagonal(p.mean, p.mean.exp())
    full = Gaussian.from_covariance(p.mean, diagonal.covariance)
    torch.testing.assert_close(pool(diagonal, w).mean, pool(full, w).mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(pool(diagonal, w).covariance, pool(full, w).covariance, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("barycenter", [merge, pool])
def test_equal_beliefs_average_to_themselves_at_high_condition(barycenter):
    k = 5
    g = generator(2)
    belief = Gaussian.from_covariance(normal(g, k), rotated(g, spectrum(k, 1e9)))
    assert kl(barycenter(belief.expand(3), torch.tensor([0.2, 0.3, 0.5])), belief).item() < 1e-13


@pytest.mark.parametrize("barycenter", [merge, pool])
def test_weights_default_to_equal_and_may_vanish(barycenter):
    p = random_beliefs(4, 3)
    equal = barycenter(p, torch.full((3,), 7.0))
    torch.testing.assert_close(barycenter(p).covariance, equal.covariance, rtol=1e-13, atol=1e-13)
    alone = barycenter(p, torch.tensor([0.0, 2.0, 0.0]))
    torch.testing.assert_close(alone.covariance, p[1].covariance, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("barycenter", [merge, pool])
def test_bad_weights_are_refused_by_index(barycenter):
    p = random_beliefs(4, 2, 3)
    for bad in (-1.0, torch.nan, torch.inf):
        w = torch.ones(2, 3)
        w[1, 2] = bad
        with pytest.raises(OptionError, match=r"weights\[1, 2\]"):
            barycenter(p, w)
    with pytest.raises(OptionError, match="positive sum"):
        barycenter(p, torch.zeros(3))
    with pytest.raises(BadInput, match=r"\(\.\.\., 3\)"):
        barycenter(p, torch.ones(4))
    with pytest.raises(BadInput, match="batch dimension"):
        barycenter(p[0, 0], torch.ones(1))
