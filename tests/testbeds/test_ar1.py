"""AR(1): windows against their covariance, canonical correlations against a dense analysis of it."""

import numpy as np
import pytest

from rgprobe.errors import OptionError
from rgprobe.testbeds import ar1

CASES = [(0.8, 3, 1, 5), (-0.6, 4, 0, 2), (0.95, 1, 4, 1), (0.3, 7, 2, 3)]


@pytest.mark.parametrize(("phi", "block", "gap", "environment"), CASES)
def test_windows_have_the_exact_covariance(phi, block, gap, environment):
    rows = 20_001
    shape = {"phi": phi, "block": block, "gap": gap, "environment": environment}
    drawn = ar1.sample(rows=rows, seed=2, **shape)
    known = ar1.exact(**shape)
    both = np.concatenate([drawn.block, drawn.environment], axis=1)
    # Gaussian products: variance c_ii c_jj + c_ij^2 = 1 + c_ij^2
    error = np.sqrt((1 + known.covariance**2) / rows)
    assert (abs(both.T @ both / rows - known.covariance) < 4.5 * error).all()


@pytest.mark.parametrize(("phi", "block", "gap", "environment"), CASES)
def test_canonical_analysis_of_the_covariance_finds_the_endpoint(phi, block, gap, environment):
    known = ar1.exact(phi=phi, block=block, gap=gap, environment=environment)
    c = known.covariance
    # whiten with Cholesky factors; singular values of the cross-covariance are the canonical correlations
    left, right = np.linalg.cholesky(c[:block, :block]), np.linalg.cholesky(c[block:, block:])
    u, rho, v = np.linalg.svd(np.linalg.solve(left, c[:block, block:]) @ np.linalg.inv(right).T, full_matrices=False)
    np.testing.assert_allclose(rho, known.canonical_correlations, atol=1e-12)
    assert known.canonical_correlations[0] == pytest.approx(abs(phi) ** (gap + 1))
    for found, planted in (
        (np.linalg.solve(left.T, u[:, 0]), known.block_filter),
        (np.linalg.solve(right.T, v[0]), known.environment_filter),
    ):
        np.testing.assert_allclose(abs(found), planted, atol=1e-10)
    information = -np.log(1 - rho**2).sum() / 2
    assert known.mutual_information == pytest.approx(information, rel=1e-10)
    blocks = np.linalg.slogdet(c[:block, :block])[1] + np.linalg.slogdet(c[block:, block:])[1]
    assert information == pytest.approx((blocks - np.linalg.slogdet(c)[1]) / 2, rel=1e-8)


def test_sample_correlation_of_the_filtered_variables():
    rows = 10_001
    shape = {"phi": 0.9, "block": 5, "gap": 2, "environment": 3}
    drawn, known = ar1.sample(rows=rows, seed=5, **shape), ar1.exact(**shape)
    rho = known.canonical_correlations[0]
    found = np.corrcoef(drawn.block @ known.block_filter, drawn.environment @ known.environment_filter)[0, 1]
    assert abs(found - rho) < 4 * (1 - rho**2) / np.sqrt(rows)
    # no other filter does better: the mean of the block, the usual alternative
    mean = np.corrcoef(drawn.block.mean(1), drawn.environment @ known.environment_filter)[0, 1]
    assert mean < found - 0.02


def test_sampling_is_a_function_of_its_seed():
    shape = {"phi": 0.5, "block": 2, "gap": 0, "environment": 2}
    one, same, other = (ar1.sample(rows=3, seed=s, **shape).block for s in (0, 0, 1))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(
    "options",
    [{"phi": 0.0}, {"phi": 1.0}, {"phi": float("nan")}, {"block": 0}, {"gap": -1}, {"environment": 0}, {"rows": 0}],
)
def test_what_is_no_window_is_refused(options):
    with pytest.raises(OptionError):
        ar1.sample(**{"rows": 2, "phi": 0.5, "block": 2, "gap": 0, "environment": 2, **options})
