"""Coordinates of a population of states, and the covariance estimate that beliefs share."""

import math

import pytest
import torch
from sklearn.covariance import ledoit_wolf

from rgprobe.probe.coordinates import RIDGE, population_coordinates
from rgprobe.probe.shrinkage import noise_floor, shrunk_covariance


def cloud(n, d, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, generator=generator, dtype=torch.float64) * torch.logspace(0, -2, d, dtype=torch.float64)
    return torch.randn(n, d, generator=generator, dtype=torch.float64) @ mix.T + 3.0


@pytest.mark.parametrize(("n", "d"), [(63, 7), (9, 31), (17, 17)])
@pytest.mark.parametrize("rank", [None, 5])
def test_the_population_has_covariance_one_but_for_the_ridge(n, d, rank):
    x = cloud(n, d)
    coordinates = population_coordinates(x, rank=rank)
    kept = min(rank or d, d, n - 1)
    z = coordinates.of(x)
    assert z.shape == (n, kept)
    variances = torch.linalg.eigvalsh(torch.cov(x.T, correction=0)).flip(0)[:kept]
    expected = torch.diag(variances / (variances + RIDGE * variances.mean()))
    torch.testing.assert_close(torch.cov(z.T, correction=0).reshape(kept, kept), expected, atol=1e-9, rtol=0)
    torch.testing.assert_close(coordinates.lower @ coordinates.lift.T, torch.eye(kept, dtype=torch.float64))
    if rank is None:
        torch.testing.assert_close(z @ coordinates.lift + coordinates.centre, x)


def test_gradients_pull_back_as_the_chain_rule_says():
    x = cloud(9, 6)
    coordinates = population_coordinates(x, rank=3)
    z = coordinates.of(x[:1]).requires_grad_()
    (expected,) = torch.autograd.grad((coordinates.centre + z @ coordinates.lift).pow(3).sum(), z)
    at = coordinates.centre + z.detach() @ coordinates.lift
    torch.testing.assert_close(coordinates.pull_back(3 * at.square()), expected)


def test_turning_keeps_distances_and_drops_what_is_left_out():
    x = cloud(20, 6)
    coordinates = population_coordinates(x)
    axes = torch.linalg.qr(cloud(6, 6, seed=1)).Q
    torch.testing.assert_close(
        torch.cdist(*2 * [coordinates.turned(axes).of(x)]), torch.cdist(*2 * [coordinates.of(x)])
    )
    assert coordinates.turned(axes[:2]).of(x).shape == (20, 2)


@pytest.mark.parametrize("states", [torch.full((1, 4), 2.0), torch.ones(5, 4), torch.zeros(3, 4)])
def test_a_population_without_spread_has_one_coordinate(states):
    coordinates = population_coordinates(states)
    assert coordinates.lift.shape == (1, 4)
    assert coordinates.lift.isfinite().all()
    assert coordinates.of(states).abs().max() == 0


def test_shrinkage_is_that_of_scikit_learn_and_symmetric():
    samples = cloud(3 * 41, 5).reshape(3, 41, 5)
    for centred in (False, True):
        found = shrunk_covariance(samples, centred=centred)
        for one, rows in zip(found, samples, strict=True):
            torch.testing.assert_close(one, torch.from_numpy(ledoit_wolf(rows.numpy(), assume_centered=centred)[0]))
        assert torch.equal(found, found.mT)


def test_the_noise_floor_adds_up():
    assert math.isclose(noise_floor(7, 500), noise_floor(7, 500, mean=False) + 7 / 500)
