"""Kurtosis of ReLU networks over weights: the closed form against draws, and draws against weight matrices."""

import numpy as np
import pytest
from scipy.stats import ks_2samp

from rgprobe.errors import OptionError
from rgprobe.testbeds import relu_kurtosis


def kurtosis_and_error(x):
    """Excess kurtosis about 0 with known mean, and its standard error by the delta method."""
    square, fourth = (x**2).mean(), (x**4).mean()
    found = fourth / square**2
    influence = x**4 / fourth - 2 * x**2 / square
    return found - 3, found * influence.std() / np.sqrt(len(x))


@pytest.mark.parametrize(("width", "depth"), [(15, 1), (31, 1), (101, 1), (63, 3), (255, 8)])
def test_draws_have_the_exact_kurtosis(width, depth):
    networks = 600_000 // (width * depth)
    outputs = relu_kurtosis.sample(networks=networks, width=width, depth=depth, seed=3)
    found, error = kurtosis_and_error(outputs)
    assert abs(found - relu_kurtosis.exact(width=width, depth=depth)) < 4 * error
    assert abs(outputs.mean()) < 4 * outputs.std() / np.sqrt(networks)
    assert abs((outputs**2).mean() - 1) < 4 * (outputs**2).std() / np.sqrt(networks)


@pytest.mark.parametrize(("width", "depth"), [(7, 1), (31, 2)])
def test_variance_of_the_hidden_layers_carries_the_kurtosis(width, depth):
    # f is N(0, s^2) given the hidden layers: kurtosis 3 Var(s^2), from matrices, without the noise of f itself
    generator = np.random.default_rng(5)
    networks = 3001
    state = np.ones((networks, 1))
    for _ in range(depth):
        weights = generator.standard_normal((networks, width, state.shape[1])) / np.sqrt(state.shape[1])
        state = np.sqrt(2) * np.maximum(np.einsum("kij,kj->ki", weights, state), 0.0)
    variance = (state**2).mean(1)
    relative = variance.var(ddof=1) / variance.mean() ** 2
    moments = (variance - variance.mean()) ** 2
    error = moments.std() / np.sqrt(networks) / variance.mean() ** 2
    assert abs(3 * relative - relu_kurtosis.exact(width=width, depth=depth)) < 5 * 3 * error
    outputs = np.sqrt(variance) * generator.standard_normal(networks)
    drawn = relu_kurtosis.sample(networks=networks, width=width, depth=depth, seed=6)
    assert ks_2samp(outputs, drawn).pvalue > 1e-3


def test_the_catalogue_s_constant():
    assert relu_kurtosis.exact(width=64) == pytest.approx(15 / 64, rel=1e-12)
    # several layers add up to first order in depth over width
    assert relu_kurtosis.exact(width=10_001, depth=7) == pytest.approx(15 * 7 / 10_001, rel=2e-3)


def test_sampling_is_a_function_of_its_seed():
    one, same, other = (relu_kurtosis.sample(networks=5, width=3, seed=s) for s in (0, 0, 1))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("options", [{"networks": 0}, {"width": 0}, {"depth": 0}])
def test_what_is_no_network_is_refused(options):
    with pytest.raises(OptionError):
        relu_kurtosis.sample(**{"networks": 2, "width": 3, **options})
