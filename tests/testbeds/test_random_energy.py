"""The random energy model: quadrature against simulation and against its asymptotes."""

import numpy as np
import pytest
from scipy.special import logsumexp

from rgprobe.errors import OptionError
from rgprobe.testbeds import random_energy


@pytest.mark.parametrize("n", [1, 2, 17, 256, 1024])
@pytest.mark.parametrize("beta", [0.05, 0.5, 1.0, 2.0, 4.0, 8.0])
def test_exact_averages_are_those_of_simulated_rows(n, beta):
    rows = 1500
    scores = random_energy.sample(n, beta, rows=rows, seed=n)
    log_z = logsumexp(scores, axis=1)
    alpha = np.exp(scores - log_z[:, None])
    entropy = log_z - (alpha * scores).sum(1)
    found = random_energy.exact(n, beta)
    for name, values in (("log_partition", log_z), ("entropy", entropy)):
        error = values.std(ddof=1) / np.sqrt(rows)
        assert abs(found[name] - values.mean()) < 4 * error + 1e-6, name


@pytest.mark.parametrize("n", [2**14, 2**17])
@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_large_rows_below_half_the_critical_beta_follow_the_annealed_asymptotes(n, fraction):
    beta = fraction * float(random_energy.critical_beta(n))
    found = random_energy.exact(n, beta)
    # ln Z fluctuates by (e^{beta^2} - 1) / n: at half of beta_c that is n^{-1/2} and less
    variance = np.expm1(beta**2) / n
    assert found["log_partition"] == pytest.approx(np.log(n) + beta**2 / 2, abs=variance + 1e-6)
    assert found["entropy"] == pytest.approx(np.log(n) - beta**2 / 2, abs=4 * beta**2 * (variance + 1 / n) + 1e-6)
    assert found["critical_beta"] == pytest.approx(np.sqrt(2 * np.log(n)))


def test_entropy_falls_from_all_keys_to_one():
    betas = np.geomspace(0.02, 30, 25)
    _, entropy = random_energy.log_partition_and_entropy(np.array([2, 64, 4096]), betas)
    assert (np.diff(entropy, axis=1) < 0).all()
    np.testing.assert_allclose(entropy[:, 0], np.log([2, 64, 4096]), atol=1e-3)
    assert (entropy[:, -1] > 0).all()


def test_sampling_is_a_function_of_its_seed():
    one, same, other = (random_energy.sample(5, 2.0, rows=3, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(("n", "beta"), [(0, 1.0), (4, -1.0), (4, float("nan")), (4, float("inf"))])
def test_what_has_no_rows_is_refused(n, beta):
    with pytest.raises(OptionError):
        random_energy.exact(n, beta)
