"""Separation of scales: closed forms against the joint covariance, and against samples."""

import numpy as np
import pytest

from rgprobe.errors import OptionError
from rgprobe.testbeds import scale_separation

CASES = [(0.0, 1.0), (0.3, 0.0), (0.3, 1.0), (-1.5, 0.7), (0.8, -2.0)]


def log_det(matrix, *names):
    keep = [("micro", "macro", "output").index(name) for name in names]
    return np.linalg.slogdet(matrix[np.ix_(keep, keep)])[1]


@pytest.mark.parametrize(("coefficient", "overlap"), CASES)
@pytest.mark.parametrize("dim", [1, 3])
def test_informations_are_those_of_the_joint_covariance(coefficient, overlap, dim):
    # rows: micro, macro, output in terms of macro, residual, noise
    mixing = np.array([[overlap, 1.0, 0.0], [1.0, 0.0, 0.0], [1.0, coefficient, 1.0]])
    c = mixing @ mixing.T
    conditional = (
        log_det(c, "micro", "macro") + log_det(c, "output", "macro") - log_det(c, "macro")
        - log_det(c, "micro", "macro", "output")
    ) / 2  # fmt: skip
    total = (log_det(c, "micro") + log_det(c, "output") - log_det(c, "micro", "output")) / 2
    known = scale_separation.exact(coefficient=coefficient, overlap=overlap, dim=dim)
    assert known.conditional_information == pytest.approx(dim * conditional, abs=1e-13)
    assert known.unconditional_information == pytest.approx(dim * total, abs=1e-13)
    precision = np.linalg.inv(c)
    partial = -precision[0, 2] / np.sqrt(precision[0, 0] * precision[2, 2])
    assert known.partial_correlation == pytest.approx(partial, abs=1e-13)


def test_the_catalogue_s_constant():
    assert scale_separation.exact(coefficient=0.3).conditional_information == pytest.approx(0.043, abs=5e-4)
    assert scale_separation.exact(coefficient=0.0).conditional_information == 0.0


@pytest.mark.parametrize(("coefficient", "overlap"), CASES)
@pytest.mark.parametrize("dim", [1, 3])
def test_samples_have_the_information(coefficient, overlap, dim):
    rows = 20_001
    drawn = scale_separation.sample(rows=rows, coefficient=coefficient, overlap=overlap, dim=dim, seed=4)
    known = scale_separation.exact(coefficient=coefficient, overlap=overlap, dim=dim)
    micro, output = (
        x - drawn.macro @ np.linalg.lstsq(drawn.macro, x, rcond=None)[0] for x in (drawn.micro, drawn.output)
    )
    q = [np.linalg.qr(x)[0] for x in (micro, output)]
    rho = np.linalg.svd(q[0].T @ q[1], compute_uv=False)
    found = -np.log1p(-(rho**2)).sum() / 2
    # 2 n I is chi^2 of dim^2 degrees shifted: bias dim^2 / 2n; standard error of I is sqrt(sum rho^2 / n), plus that bias
    error = np.sqrt(dim * known.partial_correlation**2 / rows)
    assert abs(found - known.conditional_information - dim**2 / (2 * rows)) < 4 * error + 4 * dim / rows


def test_sampling_is_a_function_of_its_seed():
    one, same, other = (scale_separation.sample(rows=3, coefficient=1.0, dim=2, seed=s).output for s in (0, 0, 1))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("options", [{"rows": 0}, {"coefficient": float("nan")}, {"overlap": float("inf")}, {"dim": 0}])
def test_what_has_no_scales_is_refused(options):
    with pytest.raises(OptionError):
        scale_separation.sample(**{"rows": 2, "coefficient": 0.3, **options})
