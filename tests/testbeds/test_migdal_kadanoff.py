"""Migdal-Kadanoff: constants, and the map as an exact sum over the hierarchical lattice's spins."""

from itertools import product

import numpy as np
import pytest

from rgprobe.errors import OptionError
from rgprobe.testbeds import migdal_kadanoff


def test_the_catalogue_s_constants():
    known = migdal_kadanoff.exact()
    assert known.coupling == pytest.approx(0.304689, abs=5e-7)
    assert known.y == pytest.approx(0.747236, abs=5e-7)
    assert known.nu == pytest.approx(1.33827, abs=5e-6)
    assert known.eigenvalue == pytest.approx(2 * np.tanh(4 * known.coupling), rel=1e-12)


@pytest.mark.parametrize(("dimension", "scale"), [(2, 2), (1, 2), (2, 3), (3, 2), (1, 5)])
@pytest.mark.parametrize("coupling", [-0.7, 0.05, 0.3, 1.1])
def test_one_step_sums_out_the_inner_spins(dimension, scale, coupling):
    # b bonds in series, each b^(d-1) parallel ones: what the inner spins leave between the ends
    inner = np.array(list(product([-1, 1], repeat=scale - 1)))

    def weight(end):
        path = np.column_stack([np.ones(len(inner)), inner, np.full(len(inner), end)])
        return np.exp(scale ** (dimension - 1) * coupling * (path[:, 1:] * path[:, :-1]).sum(1)).sum()

    left = np.log(weight(1) / weight(-1)) / 2
    found = migdal_kadanoff.renormalize(coupling, dimension=dimension, scale=scale)
    assert float(found) == pytest.approx(left, rel=1e-9)


def test_two_dimensions_have_the_textbook_form():
    k = np.linspace(-3, 3, 61)
    np.testing.assert_allclose(migdal_kadanoff.renormalize(k), np.log(np.cosh(4 * k)) / 2, rtol=1e-9, atol=1e-14)


def test_decimation_squares_t_and_halves_the_correlation_length():
    orbit = migdal_kadanoff.sample(couplings=np.array([0.4, 1.3, 2.9]), steps=5, dimension=1)
    t = np.tanh(orbit)
    np.testing.assert_allclose(t[1:], t[:-1] ** 2, rtol=1e-12)
    np.testing.assert_allclose(np.log(t[-1]), 32 * np.log(t[0]), rtol=1e-11)


@pytest.mark.parametrize(("dimension", "scale"), [(2, 2), (2, 3), (3, 2), (4, 3)])
def test_fixed_point_repels_with_its_eigenvalue(dimension, scale):
    known = migdal_kadanoff.exact(dimension=dimension, scale=scale)
    step = 1e-5
    around = known.coupling + np.array([-step, 0.0, step])
    below, at, above = migdal_kadanoff.renormalize(around, dimension=dimension, scale=scale)
    assert at == pytest.approx(known.coupling, abs=1e-13)
    # central difference: error of order (bonds step)^2 plus rounding / step
    error = (scale ** (dimension - 1) * step) ** 2 + 1e-10
    assert (above - below) / (2 * step) == pytest.approx(known.eigenvalue, rel=20 * error)
    assert known.nu * known.y == pytest.approx(1)
    orbit = migdal_kadanoff.sample(
        couplings=known.coupling * np.array([0.99, 1.01]), steps=40 // dimension, scale=scale, dimension=dimension
    )
    assert orbit[-1, 0] < 1e-6
    assert orbit[-1, 1] > 100
    assert (np.diff(orbit[:, 1]) > 0).all()


def test_disorder_and_deep_order_stay_finite():
    np.testing.assert_array_equal(migdal_kadanoff.renormalize(np.array([0.0])), [0.0])
    # deep in the ordered phase K' = 2K - ln(2) / 2
    np.testing.assert_allclose(
        migdal_kadanoff.renormalize(np.array([9.5, 160.0, 400.0])),
        2 * np.array([9.5, 160.0, 400.0]) - np.log(2) / 2,
        rtol=1e-12,
    )


def test_what_is_no_map_is_refused():
    with pytest.raises(OptionError):
        migdal_kadanoff.exact(dimension=1)
    with pytest.raises(OptionError):
        migdal_kadanoff.renormalize(1.0, scale=1)
    with pytest.raises(OptionError):
        migdal_kadanoff.renormalize(1.0, dimension=0)
    with pytest.raises(OptionError):
        migdal_kadanoff.sample(couplings=np.ones(1), steps=-1)
