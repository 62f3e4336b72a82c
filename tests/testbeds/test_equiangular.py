"""Equal angles: the one equation against the moving tokens, against quadrature, and in its limits."""

import numpy as np
import pytest
from scipy.integrate import quad

from rgprobe.errors import OptionError
from rgprobe.testbeds import equiangular

TIMES = np.array([0.0, 0.3, 1.0, 2.5, 4.0])


@pytest.mark.parametrize(("tokens", "dim"), [(2, 2), (5, 7), (17, 33)])
@pytest.mark.parametrize(("cosine", "beta"), [(0.0, 1.0), (0.3, 4.0), (-0.04, 0.0), (0.9, 9.0)])
def test_tokens_keep_equal_angles_and_follow_the_equation(tokens, dim, cosine, beta):
    path = equiangular.sample(tokens=tokens, dim=dim, cosine=cosine, beta=beta, times=TIMES, seed=tokens)
    known = equiangular.exact(tokens=tokens, cosine=cosine, beta=beta, times=TIMES)
    gram = path @ path.transpose(0, 2, 1)
    apart = ~np.eye(tokens, dtype=bool)
    np.testing.assert_allclose(np.diagonal(gram, axis1=1, axis2=2), 1.0, atol=1e-8)
    np.testing.assert_allclose(gram[:, apart], np.repeat(known.cosine[:, None], apart.sum(), axis=1), atol=1e-8)


@pytest.mark.parametrize(("tokens", "cosine", "beta"), [(2, -0.5, 1.0), (33, 0.05, 6.0), (1024, 0.0, 2.0)])
def test_time_is_the_integral_over_the_rate(tokens, cosine, beta):
    known = equiangular.exact(tokens=tokens, cosine=cosine, beta=beta, times=TIMES)

    def waiting(g):
        rate = 2 * np.exp(beta * g) * (1 - g) * (1 + (tokens - 1) * g)
        return (np.exp(beta) + (tokens - 1) * np.exp(beta * g)) / rate

    found = [quad(waiting, cosine, g, epsabs=1e-12, epsrel=1e-11, limit=200)[0] for g in known.cosine]
    np.testing.assert_allclose(found, TIMES, atol=1e-8)


def test_consensus_is_approached_at_rate_two_and_kept_apart_from_rounding():
    known = equiangular.exact(tokens=9, cosine=0.1, beta=3.0, times=np.array([20.0, 21.0, 40.0]))
    np.testing.assert_allclose(np.diff(known.log_separation) / [1.0, 19.0], -2.0, atol=1e-8)
    assert known.cosine[2] == 1.0
    assert known.log_separation[2] < -70


def test_the_simplex_rests_and_consensus_waits_longer_when_colder():
    rest = equiangular.exact(tokens=5, cosine=-0.25, beta=1.0, times=TIMES)
    # an unstable fixed point: rounding grows like e^(rate t), rate = 2 n e^(-beta n/(n-1)) ... below 3
    np.testing.assert_allclose(rest.cosine, -0.25, atol=1e-9)
    slow, fast = (equiangular.exact(tokens=9, cosine=0.0, beta=b, times=np.array([3.0])).cosine[0] for b in (9.0, 1.0))
    assert slow < 0.1
    assert fast > 0.9


def test_time_zero_alone_is_the_start():
    start = equiangular.sample(tokens=3, dim=5, cosine=0.4, beta=1.0, times=np.array([0.0]), seed=1)
    np.testing.assert_allclose(start[0] @ start[0].T, 0.6 * np.eye(3) + 0.4, atol=1e-14)


@pytest.mark.parametrize(
    "options",
    [
        {"tokens": 1},
        {"dim": 2},
        {"cosine": 1.0},
        {"cosine": -0.6},
        {"beta": -1.0},
        {"beta": float("nan")},
        {"times": np.array([1.0, 0.5])},
        {"times": np.array([])},
    ],
)
def test_what_has_no_solution_is_refused(options):
    with pytest.raises(OptionError):
        equiangular.sample(**{"tokens": 3, "dim": 4, "cosine": 0.2, "beta": 1.0, "times": TIMES, **options})
