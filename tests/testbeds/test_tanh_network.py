"""Random tanh network: mean-field constants, and the exponent measured at finite width."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from rgprobe.errors import OptionError
from rgprobe.testbeds import tanh_network


def test_the_catalogue_s_constant():
    assert tanh_network.exact(sigma_w=1.5).exponent == pytest.approx(0.0652, abs=5e-5)


@pytest.mark.parametrize(("sigma_w", "sigma_b"), [(1.5, 0.0), (1.1, 0.3), (2.5, 0.05), (0.7, 0.4), (4.0, 1.0)])
def test_fixed_point_and_chi_solve_their_equations(sigma_w, sigma_b):
    known = tanh_network.exact(sigma_w=sigma_w, sigma_b=sigma_b)

    def average(f):
        # adaptive quadrature: a second way to the Gaussian averages
        return quad(
            lambda z: np.exp(-z * z / 2) / np.sqrt(2 * np.pi) * f(np.sqrt(known.variance) * z),
            -12,
            12,
            limit=200,
            points=[0.0],
        )[0]

    again = sigma_w**2 * average(lambda h: np.tanh(h) ** 2) + sigma_b**2
    assert known.variance == pytest.approx(again, rel=1e-7)
    assert known.chi == pytest.approx(sigma_w**2 * average(lambda h: np.cosh(h) ** -4.0), rel=1e-7)


def test_without_chaos_and_biases_the_network_contracts():
    known = tanh_network.exact(sigma_w=0.8)
    assert (known.variance, known.exponent) == (0.0, pytest.approx(np.log(0.8)))
    assert tanh_network.exact(sigma_w=1.001).variance > 0


def test_inputs_keep_the_variance_of_the_fixed_point():
    width = 301
    network = tanh_network.sample(width=width, depth=1, sigma_w=1.5, sigma_b=0.3, inputs=101, seed=2)
    known = tanh_network.exact(sigma_w=1.5, sigma_b=0.3)
    # over inputs and units: relative error sqrt(2 / (101 x 301)) before, sqrt(2 / 301) after, where units share weights
    assert network.inputs.var().item() == pytest.approx(known.variance, rel=4 * np.sqrt(2 / (101 * width)))
    assert network.layer(0, network.inputs).var().item() == pytest.approx(known.variance, rel=4 * np.sqrt(2 / width))


@pytest.mark.parametrize(("sigma_w", "sigma_b"), [(1.5, 0.0), (2.5, 0.2), (0.9, 0.5)])
def test_measured_exponent_is_the_mean_field_one(sigma_w, sigma_b):
    width, depth = 301, 40
    network = tanh_network.sample(width=width, depth=depth, sigma_w=sigma_w, sigma_b=sigma_b, inputs=5, seed=11)
    measured = tanh_network.lyapunov_exponents(network).mean().item()
    # one step's log growth has variance v = (3 E phi'^4 / (E phi'^2)^2 - 1) / (4 n): its mean lies v below ln(chi) / 2,
    # its average over the depth has standard error sqrt(v / depth) at least (inputs share weights); with the
    # fluctuations of q, which are of the same order, 6 errors and 4 biases bound it
    known = tanh_network.exact(sigma_w=sigma_w, sigma_b=sigma_b)
    h = np.sqrt(known.variance) * np.random.default_rng(0).standard_normal(100_001)
    slope = 1 - np.tanh(h) ** 2
    v = (3 * (slope**4).mean() / (slope**2).mean() ** 2 - 1) / (4 * width)
    assert abs(measured - known.exponent) < 6 * np.sqrt(v / depth) + 4 * v


def test_leading_exponents_descend_and_sum_to_the_volume():
    network = tanh_network.sample(width=9, depth=60, seed=3)
    exponents = tanh_network.lyapunov_exponents(network, count=9)[0]
    assert (torch.diff(exponents) < 0).all()
    x, volume = network.inputs, 0.0
    for index in range(60):
        jacobian = network.weights[index] * (1 - torch.tanh(x[0]) ** 2)
        volume += torch.linalg.slogdet(jacobian)[1].item() / 60
        x = network.layer(index, x)
    assert exponents.sum().item() == pytest.approx(volume, rel=1e-10)


def test_sampling_is_a_function_of_its_seed():
    one, same, other = (tanh_network.sample(width=5, depth=2, seed=s).weights for s in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(
    "options",
    [{"width": 0}, {"depth": 0}, {"inputs": 0}, {"sigma_w": 0.0}, {"sigma_w": float("nan")}, {"sigma_b": -1.0}],
)
def test_what_is_no_network_is_refused(options):
    with pytest.raises(OptionError):
        tanh_network.sample(**{"width": 3, "depth": 2, **options})


def test_more_exponents_than_units_are_refused():
    with pytest.raises(OptionError, match="from 1 to 3"):
        tanh_network.lyapunov_exponents(tanh_network.sample(width=3, depth=2), count=4)
