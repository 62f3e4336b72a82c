"""Power-law spectrum: variances in the planted basis, and what samples show of the participation ratio."""

import numpy as np
import pytest

from rgprobe.errors import OptionError
from rgprobe.testbeds import power_law_spectrum


@pytest.mark.parametrize(("rows", "dim", "alpha"), [(2001, 33, 1.0), (501, 101, 0.5), (4001, 7, 2.5)])
def test_samples_have_the_planted_spectrum(rows, dim, alpha):
    x = power_law_spectrum.sample(rows=rows, dim=dim, alpha=alpha, seed=3)
    known = power_law_spectrum.exact(rows=rows, dim=dim, alpha=alpha)
    # invariants of the rotation: traces of the first two powers, with the errors of Wishart moments
    second = x.T @ x / rows
    trace = known.eigenvalues.sum()
    assert abs(np.trace(second) - trace) < 4 * np.sqrt(2 * (known.eigenvalues**2).sum() / rows)
    square = (known.eigenvalues**2).sum()
    expected = square * (1 + 1 / rows) + trace**2 / rows
    # var tr S^2 is led by 8 sum lambda^4 / n
    error = np.sqrt(8 * (known.eigenvalues**4).sum() / rows + 4 * square**2 / rows**2)
    assert abs((second**2).sum() - expected) < 4.5 * error
    # the largest eigenvalue, separated by its gap: lambda (1 + sqrt(2/n) z) and a bias of order dim/n
    largest = np.linalg.eigvalsh(second)[-1]
    bias = (known.eigenvalues[1:] / (1 - known.eigenvalues[1:])).sum() / rows
    assert abs(largest - 1 - bias) < 4.5 * np.sqrt(2 / rows) + bias


@pytest.mark.parametrize(("rows", "dim", "alpha"), [(31, 65, 0.0), (101, 33, 1.0), (401, 17, 0.3)])
def test_participation_ratio_of_samples_is_the_predicted_one(rows, dim, alpha):
    known = power_law_spectrum.exact(rows=rows, dim=dim, alpha=alpha)
    first, second = [], []
    for seed in range(101):
        x = power_law_spectrum.sample(rows=rows, dim=dim, alpha=alpha, seed=seed)
        covariance = np.cov(x, rowvar=False)
        first.append(np.trace(covariance) ** 2)
        second.append((covariance**2).sum())
    # ratio of means, error by the delta method
    a, b = np.array(first), np.array(second)
    ratio = a.mean() / b.mean()
    error = (a / a.mean() - b / b.mean()).std(ddof=1) * ratio / np.sqrt(101)
    assert abs(ratio - known.sampled_participation_ratio) < 4 * error
    assert known.sampled_participation_ratio < known.participation_ratio


def test_white_data_have_the_catalogue_s_ratio():
    for rows, dim in ((1001, 64), (257, 256), (10_001, 3)):
        known = power_law_spectrum.exact(rows=rows, dim=dim, alpha=0.0)
        assert known.participation_ratio == pytest.approx(dim)
        assert known.sampled_participation_ratio == pytest.approx(dim / (1 + dim / (rows - 1)), rel=2 / (rows - 1))


def test_exponent_one_is_recovered_over_the_middle_of_the_spectrum():
    slopes = []
    for seed in range(5):
        x = power_law_spectrum.sample(rows=2001, dim=101, alpha=1.0, seed=seed)
        spectrum = np.sort(np.linalg.eigvalsh(np.cov(x, rowvar=False)))[::-1]
        ranks = np.arange(2, 30)
        slopes.append(-np.polyfit(np.log(ranks), np.log(spectrum[ranks - 1]), 1)[0])
    # at 20 rows per dimension sampling steepens the spectrum by a few per cent
    assert np.mean(slopes) == pytest.approx(1.0, abs=0.04)


@pytest.mark.parametrize("options", [{"rows": 0}, {"dim": 0}, {"alpha": -1.0}, {"alpha": float("nan")}])
def test_what_has_no_spectrum_is_refused(options):
    with pytest.raises(OptionError):
        power_law_spectrum.sample(**{"rows": 2, "dim": 2, "alpha": 1.0, **options})


def test_one_row_has_no_covariance():
    with pytest.raises(OptionError):
        power_law_spectrum.exact(rows=1, dim=2, alpha=1.0)
