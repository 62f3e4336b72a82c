"""Ring chain: spectrum against an eigensolver, correlations of samples against the exact curve."""

import numpy as np
import pytest

from rgprobe.errors import OptionError
from rgprobe.testbeds import ring_chain


@pytest.mark.parametrize(("states", "xi"), [(16, 1.2), (16, 6.7), (5, 0.3), (4, 40.0), (3, 2.0)])
def test_spectrum_is_that_of_the_matrix_and_its_length_the_one_asked_for(states, xi):
    built = ring_chain.chain(states=states, correlation_length=xi)
    np.testing.assert_allclose(built.transition.sum(1), 1.0, atol=1e-14)
    np.testing.assert_array_equal(built.transition, built.transition.T)
    found = np.linalg.eigvalsh(built.transition)
    np.testing.assert_allclose(np.sort(built.eigenvalues), found, atol=1e-13)
    assert -1 / np.log(found[-2]) == pytest.approx(xi, rel=1e-9)
    # the rate is the step law's own: one place further is exp(-a) less likely
    assert np.log(built.transition[0, 0] / built.transition[0, 1]) == pytest.approx(built.rate, rel=1e-9)


@pytest.mark.parametrize("xi", [1.2, 6.7])
def test_tokens_of_a_sample_agree_as_often_as_they_should(xi):
    rows = 60_001
    built = ring_chain.chain(states=16, correlation_length=xi)
    tokens = ring_chain.sample(built, rows=rows, length=9, seed=3)
    known = (1 + 15 * ring_chain.exact(built, distances=9)) / 16
    same = (tokens[:, :1] == tokens).mean(0)
    assert (abs(same - known) <= 4 * np.sqrt(known * (1 - known) / rows)).all()
    # every step has the law of a row of P
    moved = np.bincount((tokens[:, 1:] - tokens[:, :-1]).ravel() % 16, minlength=16) / (8 * rows)
    assert (abs(moved - built.transition[0]) <= 4 * np.sqrt(built.transition[0] / (8 * rows))).all()


def test_equal_seeds_give_equal_walks():
    built = ring_chain.chain()
    first, second, other = (ring_chain.sample(built, rows=3, length=7, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


@pytest.mark.parametrize("options", [{"states": 2}, {"correlation_length": 0.0}, {"correlation_length": float("nan")}])
def test_what_is_no_chain_is_refused(options):
    with pytest.raises(OptionError):
        ring_chain.chain(**options)


def test_what_is_no_sample_is_refused():
    built = ring_chain.chain()
    with pytest.raises(OptionError):
        ring_chain.sample(built, rows=0, length=3)
    with pytest.raises(OptionError):
        ring_chain.sample(built, rows=1, length=0)
    with pytest.raises(OptionError):
        ring_chain.exact(built, distances=0)
