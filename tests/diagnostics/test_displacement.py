"""How far a run has moved: exponents of walks that are known, intervals that cover them, clocks that matter."""

import numpy as np
import pytest

from rgprobe.diagnostics.displacement import diffusive_spread, displacement_exponent, noise_driven_displacement
from rgprobe.errors import NumericalRefusal
from rgprobe.testbeds import fractional_walk

STEPS = np.unique(np.geomspace(1, 4000, 13).round().astype(int))


def squared(hurst, *, groups=24, width=30, seed=0):
    walk = fractional_walk.sample(times=STEPS.astype(float), coordinates=groups * width, hurst=hurst, seed=seed)
    return (walk.reshape(len(STEPS), groups, width) ** 2).sum(-1)


@pytest.mark.parametrize("hurst", [0.1, 0.3, 0.5, 0.8, 1.0])
def test_the_exponent_of_a_known_walk(hurst):
    found = displacement_exponent(STEPS, squared(hurst))
    assert abs(found.exponent - hurst) < 0.02
    rounding = 1e-12  # at H = 1 every group moves alike, and the interval has no width
    assert found.low - rounding <= hurst <= found.high + rounding
    assert found.is_diffusive == (hurst == 0.5)
    assert abs(found.curvature) < 0.05
    assert found.decades == pytest.approx(np.log10(4000))


def test_the_interval_covers():
    inside = [
        found.low <= 0.5 <= found.high
        for found in (displacement_exponent(STEPS, squared(0.5, width=3, seed=seed)) for seed in range(400))
    ]
    assert 0.92 < np.mean(inside) < 0.98


def test_the_exponent_is_a_least_squares_slope():
    values = squared(0.4)
    x, y = np.log(STEPS), 0.5 * np.log(values.sum(1))
    assert displacement_exponent(STEPS, values).exponent == pytest.approx(np.polyfit(x, y, 1)[0], rel=1e-10)


def test_a_decaying_rate_slows_a_random_walk_and_its_own_clock_sees_through_it():
    rng = np.random.default_rng(0)
    rates = 1e-3 * (0.1 + 0.9 * 0.5 * (1 + np.cos(np.pi * np.arange(4000) / 4000)))
    walk = (rates[:, None] * rng.standard_normal((4000, 600))).cumsum(0)[STEPS - 1]
    values = (walk.reshape(len(STEPS), 20, 30) ** 2).sum(-1)
    assert not displacement_exponent(STEPS[-8:], values[-8:]).is_diffusive
    assert displacement_exponent(STEPS[-8:], values[-8:], learning_rates=rates).is_diffusive


def test_the_spread_of_random_walks_narrows_with_their_coordinates_and_holds_the_exponent():
    few, many = (diffusive_spread(STEPS, coordinates=count) for count in (3, 300))
    assert few[0] < many[0] < 0.5 < many[1] < few[1]
    exponents = [
        displacement_exponent(STEPS, squared(0.5, groups=10, width=30, seed=seed)).exponent for seed in range(200)
    ]
    assert 0.91 < np.mean([many[0] <= each <= many[1] for each in exponents]) < 0.99


def test_a_bend_shows():
    saturating = squared(0.5) / (1 + squared(0.5) / squared(0.5)[6])
    assert displacement_exponent(STEPS, saturating).curvature < -0.2


@pytest.mark.parametrize(
    ("steps", "values", "words"),
    [
        (STEPS[:3], squared(0.5)[:3], "4 checkpoints over a decade"),
        (STEPS, squared(0.5, groups=4), "5 groups"),
        (np.arange(20, 30), np.ones((10, 6)), "over a factor 1.45"),
        (np.array([0, 1, 10, 100]), np.ones((4, 6)), "positive and increasing"),
        (STEPS, np.zeros((len(STEPS), 6)), "positive after the first step"),
    ],
)
def test_what_has_no_exponent_is_refused(steps, values, words):
    with pytest.raises(NumericalRefusal, match=words):
        displacement_exponent(steps, values)


def test_too_few_learning_rates_are_refused():
    with pytest.raises(NumericalRefusal, match="one for each of 4000 updates"):
        displacement_exponent(STEPS, squared(0.5), learning_rates=np.ones(100))


def adam_by_torch(rates, gradients):
    import torch

    weight = torch.zeros(gradients.shape[1:], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([weight], lr=1.0, betas=(0.9, 0.95), eps=0.0)
    path = []
    for rate, gradient in zip(rates, gradients, strict=True):
        optimizer.param_groups[0]["lr"] = float(rate)
        weight.grad = torch.from_numpy(gradient)
        optimizer.step()
        path.append(weight.detach().numpy().copy())
    return np.array(path)


def test_noise_driven_weights_are_those_of_adam():
    rates = np.linspace(0.1, 1.0, 30)
    steps = np.array([1, 7, 30])
    found = noise_driven_displacement(steps, rates, groups=3, coordinates=5, seed=4)
    generator = np.random.default_rng(4)
    path = adam_by_torch(rates, np.array([generator.standard_normal((3, 5)) for _ in rates]))
    np.testing.assert_allclose(found, (path[steps - 1] ** 2).sum(-1), rtol=1e-10)


def test_noise_diffuses_on_the_clock_of_the_learning_rates_whatever_these_are():
    steps = np.array([200, 400, 800, 1600, 3200])  # momentum is forgotten
    for rates in (np.ones(3200), np.linspace(0.3, 1.0, 3200)):
        squared = noise_driven_displacement(steps, rates, groups=5, coordinates=400)
        assert displacement_exponent(steps, squared, learning_rates=rates).exponent == pytest.approx(0.5, abs=0.03)


def test_too_few_learning_rates_of_noise_are_refused():
    with pytest.raises(NumericalRefusal, match="learning_rates: expected one for each of 5 updates"):
        noise_driven_displacement(np.array([1, 5]), np.ones(4))
