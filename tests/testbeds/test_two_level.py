"""Two-level scores: closed forms against sums over the drawn rows."""

import numpy as np
import pytest
from scipy.special import softmax

from rgprobe.errors import OptionError
from rgprobe.testbeds import two_level


@pytest.mark.parametrize(("keys", "ratio"), [(64, 1.205), (256, 1.121), (1024, 1.079)])
def test_the_catalogue_s_constants(keys, ratio):
    assert two_level.exact(keys=keys, rho=0.3).peak_ratio == pytest.approx(ratio, abs=5e-4)


@pytest.mark.parametrize("keys", [2, 3, 17, 1025])
@pytest.mark.parametrize("rho", [-0.5, 0.0, 0.9])
@pytest.mark.parametrize("beta", [0.0, 0.7, 5.0, 40.0])
def test_drawn_rows_have_the_exact_statistics(keys, rho, beta):
    drawn = two_level.sample(keys=keys, rho=rho, beta=beta, rows=5, seed=keys)
    known = two_level.exact(keys=keys, rho=rho, beta=beta)
    alpha = softmax(drawn.scores, axis=1)
    np.testing.assert_allclose(alpha[np.arange(5), drawn.own], known.own_weight, rtol=1e-12)
    positive = np.where(alpha > 0, alpha, 1.0)
    np.testing.assert_allclose(-(alpha * np.log(positive)).sum(1), known.entropy, rtol=1e-9, atol=1e-14)
    centred = drawn.scores - (alpha * drawn.scores).sum(1, keepdims=True)
    np.testing.assert_allclose((alpha * centred**2).sum(1), known.heat_capacity, rtol=1e-9, atol=1e-18)


@pytest.mark.parametrize("keys", [2, 3, 17, 64, 10_001])
def test_peak_is_the_largest_heat_capacity_there_is(keys):
    known = two_level.exact(keys=keys, rho=0.25)
    betas = known.peak_beta * np.linspace(0.02, 4, 400)
    sweep = np.array([two_level.exact(keys=keys, rho=0.25, beta=b).heat_capacity for b in betas])
    assert (sweep <= known.peak_heat_capacity * (1 + 1e-12)).all()
    at = two_level.exact(keys=keys, rho=0.25, beta=known.peak_beta)
    assert at.heat_capacity == pytest.approx(known.peak_heat_capacity, rel=1e-12)
    if keys > 2:
        half = two_level.exact(keys=keys, rho=0.25, beta=known.half_weight_beta)
        assert half.own_weight == pytest.approx(0.5, rel=1e-12)


def test_entropy_is_beta_s_derivative_of_the_heat_capacity():
    betas = np.linspace(0.5, 12, 2001)
    known = [two_level.exact(keys=33, rho=0.2, beta=b) for b in betas]
    slope = np.gradient([k.entropy for k in known], np.log(betas), edge_order=2)
    # C = -dS / d ln beta; the grid's second-order error is largest, 1e-3, at the coarse end
    np.testing.assert_allclose(-slope[5:-5], [k.heat_capacity for k in known[5:-5]], rtol=2e-3, atol=1e-6)


def test_own_places_are_uniform():
    drawn = two_level.sample(keys=7, rho=0.0, beta=1.0, rows=7001, seed=1)
    counts = np.bincount(drawn.own, minlength=7)
    assert (abs(counts - 7001 / 7) < 4 * np.sqrt(7001 * 6 / 49)).all()


@pytest.mark.parametrize("options", [{"keys": 1}, {"rho": 1.0}, {"rho": float("nan")}, {"beta": -1.0}, {"rows": 0}])
def test_what_has_no_two_levels_is_refused(options):
    with pytest.raises(OptionError):
        two_level.sample(**{"keys": 3, "rho": 0.0, "beta": 1.0, "rows": 2, **options})
