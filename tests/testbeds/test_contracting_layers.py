"""Contracting layers: angles are planted exactly, second-order quantities fall twice as fast."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.special import log_softmax

from rgprobe.errors import OptionError
from rgprobe.testbeds import contracting_layers


def angles(states):
    # 2 arcsin(|a - b| / 2): arccos loses small angles
    return 2 * np.arcsin(np.linalg.norm(np.diff(states, axis=0), axis=-1) / 2)


def one_minus_cka(a, b):
    a, b = (x - x.mean(0) for x in (a, b))
    return 1 - np.linalg.norm(a.T @ b) ** 2 / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b))


def slope(curve):
    return np.polyfit(np.arange(len(curve)), np.log(curve), 1)[0]


@pytest.mark.parametrize(("tokens", "dim"), [(1, 2), (7, 5), (33, 65)])
@pytest.mark.parametrize("ratio", [0.3, 0.8, 1.0])
def test_states_are_unit_vectors_at_the_planted_angles(tokens, dim, ratio):
    states = contracting_layers.sample(tokens=tokens, dim=dim, layers=9, ratio=ratio, seed=3)
    known = contracting_layers.exact(layers=9, ratio=ratio)
    np.testing.assert_allclose(np.linalg.norm(states, axis=-1), 1.0, atol=1e-14)
    np.testing.assert_allclose(angles(states), np.repeat(known.angles[:, None], tokens, 1), rtol=1e-10, atol=1e-15)
    cosine = 1 - ((states[1:] - states[:-1]) ** 2).sum(-1) / 2
    np.testing.assert_allclose(1 - cosine, np.repeat(known.one_minus_cosine[:, None], tokens, 1), atol=1e-14)


@pytest.mark.parametrize("ratio", [0.5, 0.7, 0.9])
def test_slopes_of_angle_cka_and_kl(ratio):
    states = contracting_layers.sample(tokens=65, dim=33, layers=7, ratio=ratio, amplitude=0.02, seed=5)
    known = contracting_layers.exact(layers=7, ratio=ratio, amplitude=0.02)
    assert slope(angles(states).mean(1)) == pytest.approx(known.angle_slope, rel=1e-9)
    # relative corrections are of the order of the angle, 2%, and fall with it
    cka = [one_minus_cka(a, b) for a, b in pairwise(states)]
    assert slope(cka) == pytest.approx(known.second_order_slope, rel=0.02)
    readout = np.random.default_rng(1).standard_normal((33, 51))
    log_p = log_softmax(states @ readout, axis=-1)
    kl = (np.exp(log_p[:-1]) * (log_p[:-1] - log_p[1:])).sum(-1).mean(1)
    assert slope(kl) == pytest.approx(known.second_order_slope, rel=0.02)
    assert slope(known.one_minus_cosine) == pytest.approx(known.second_order_slope, rel=1e-4)


def test_the_identity_has_no_step_and_no_slope():
    states = contracting_layers.sample(tokens=5, dim=3, layers=4, ratio=1.0)
    assert np.array_equal(states, np.broadcast_to(states[:1], states.shape))
    known = contracting_layers.exact(layers=4, ratio=1.0)
    assert (known.angles == 0).all()
    assert np.isnan([known.angle_slope, known.second_order_slope]).all()


@pytest.mark.parametrize(
    "options",
    [{"tokens": 0}, {"dim": 1}, {"layers": 0}, {"ratio": 0.0}, {"ratio": 1.1}, {"amplitude": -0.1}, {"amplitude": 2.0}],
)
def test_what_does_not_contract_is_refused(options):
    with pytest.raises(OptionError):
        contracting_layers.sample(**{"tokens": 3, "dim": 3, "layers": 3, "ratio": 0.5, **options})
