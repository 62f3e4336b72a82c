"""Gram kernel of random ReLU networks: the closed form against quadrature, networks and its own asymptote."""

import numpy as np
import pytest
from scipy.integrate import dblquad

from rgprobe.errors import OptionError
from rgprobe.testbeds import gaussian_gram

GRAM = np.array([[1.0, 0.2, -0.5], [0.2, 2.0, 0.3], [-0.5, 0.3, 0.7]])


@pytest.mark.parametrize("cosine", [-0.8, 0.0, 0.6])
def test_one_layer_is_the_gaussian_average(cosine):
    root = np.linalg.cholesky([[1.0, cosine], [cosine, 1.0]])

    def integrand(y, x):
        u, v = root @ [x, y]
        return 2 * max(u, 0) * max(v, 0) * np.exp(-(x * x + y * y) / 2) / (2 * np.pi)

    # the corner of the positive quadrant in whitened coordinates: x > 0 and y above the line v = 0
    found = dblquad(integrand, 0, 9, lambda x: -cosine * x / root[1, 1], lambda x: 9 + abs(cosine * x / root[1, 1]))[0]
    known = gaussian_gram.exact(gram=np.array([[1.0, cosine], [cosine, 1.0]]), layers=1)
    assert known.kernels[1, 0, 1] == pytest.approx(found, rel=1e-7)


def test_networks_have_the_kernel_on_average():
    width, layers, networks = 151, 3, 61
    known = gaussian_gram.exact(gram=GRAM, layers=layers).kernels
    states = np.stack([gaussian_gram.sample(gram=GRAM, width=width, layers=layers, seed=s) for s in range(networks)])
    found = states @ states.swapaxes(-1, -2) / width
    np.testing.assert_allclose(found[:, 0], np.broadcast_to(GRAM, found[:, 0].shape), atol=1e-12)
    error = found.std(0, ddof=1)[1:] / np.sqrt(networks)
    # the first layer is unbiased; deeper ones by the curvature of the map times a variance of 5 l / width at most
    bias = np.arange(layers)[:, None, None] * 5 / (2 * width) * abs(known[1:])
    assert (abs(found.mean(0) - known)[1:] < 4.5 * error + bias).all()
    # fluctuations are of the stated order: relative variance 5 l / width on the diagonal
    spread = found.var(0, ddof=1)[1:, 0, 0]
    np.testing.assert_allclose(spread * width / 5, np.arange(1, layers + 1), rtol=4 * np.sqrt(2 / networks) + 0.05)


def test_one_layer_keeps_the_mean_square_to_a_percent():
    # orthogonal tokens have independent preactivations: tokens x width squares of mean 1 and variance 5
    tokens = 701
    states = gaussian_gram.sample(gram=np.eye(tokens), width=tokens, layers=1, seed=4)
    assert abs((states[1] ** 2).mean() - 1) < 4 * np.sqrt(5 / tokens**2)


def test_diagonals_stay_and_cosines_rise_to_one_by_a_power_law():
    known = gaussian_gram.exact(gram=GRAM, layers=2000).kernels
    np.testing.assert_allclose(np.diagonal(known, axis1=1, axis2=2), np.tile(np.diagonal(GRAM), (2001, 1)), rtol=1e-9)
    norms = np.sqrt(np.diagonal(GRAM))
    cosine = known[:, 0, 2] / (norms[0] * norms[2])
    assert (np.diff(cosine) > 0).all()
    # corrections are of order ln(l) / l
    assert (1 - cosine[2000]) * 2000**2 == pytest.approx(9 * np.pi**2 / 2, rel=0.05)


def test_distances_are_those_between_kernels():
    known = gaussian_gram.exact(gram=GRAM, layers=5)
    flat = known.kernels.reshape(6, -1)
    cosine = (flat[1:] * flat[:-1]).sum(1) / np.linalg.norm(flat[1:], axis=1) / np.linalg.norm(flat[:-1], axis=1)
    np.testing.assert_allclose(known.distances, 1 - cosine, atol=1e-14)
    assert (np.diff(known.distances) < 0).all()


def test_equal_tokens_stay_equal():
    known = gaussian_gram.exact(gram=np.ones((2, 2)), layers=3)
    np.testing.assert_allclose(known.kernels, 1.0, atol=1e-12)
    np.testing.assert_allclose(known.distances, 0.0, atol=1e-15)


@pytest.mark.parametrize("gram", [[[1.0, 2.0], [2.0, 1.0]], [[1.0, 0.5], [0.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]])
def test_what_is_no_gram_matrix_is_refused(gram):
    with pytest.raises(OptionError, match="gram"):
        gaussian_gram.sample(gram=np.array(gram), width=5, layers=1)
    with pytest.raises(OptionError, match="gram"):
        gaussian_gram.exact(gram=np.array(gram), layers=1)


@pytest.mark.parametrize("options", [{"width": 2}, {"layers": 0}])
def test_what_is_no_network_is_refused(options):
    with pytest.raises(OptionError):
        gaussian_gram.sample(**{"gram": GRAM, "width": 5, "layers": 1, **options})
