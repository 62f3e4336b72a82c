"""Singular values, eigenvalues and moments from products, against dense algebra and scipy's svds."""

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import LinearOperator, svds

from rgprobe.errors import OptionError
from rgprobe.probe.operator_spectra import Operator, leading_eigenvalue, leading_singular_values, operator_moments
from rgprobe.testbeds import linear_flow

SHAPES = [(1, 1), (7, 7), (63, 63), (40, 63), (63, 40)]


def drawn(rows, columns, seed=0):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_leading_singular_values_are_those_of_the_dense_matrix(rows, columns):
    matrix = drawn(rows, columns)
    found = leading_singular_values(Operator.of(matrix), count=6)
    expected = torch.linalg.svdvals(matrix)[:6]
    torch.testing.assert_close(found.values, expected, rtol=1e-6, atol=0)
    assert bool(((found.values - expected).abs() <= found.bounds + 1e-12).all())


def test_they_agree_with_scipy():
    matrix = drawn(120, 95, seed=1)
    dense = matrix.numpy()
    products = LinearOperator(dense.shape, matvec=lambda v: dense @ v, rmatvec=lambda u: dense.T @ u)
    expected = np.sort(svds(products, k=8, return_singular_vectors=False))[::-1]
    found = leading_singular_values(Operator.of(matrix), count=8, steps=95, tolerance=1e-10)
    np.testing.assert_allclose(found.values, expected, rtol=1e-8)


def test_a_steep_spectrum_takes_few_steps_and_a_bound_holds_before_convergence():
    planted = 0.5 ** torch.arange(63.0, dtype=torch.float64)
    matrix = linear_flow.sample(singular_values=planted[None], frames="independent").weights[0]
    found = leading_singular_values(Operator.of(matrix), count=3)
    assert found.steps < 15
    torch.testing.assert_close(found.values, planted[:3], rtol=1e-6, atol=0)
    early = leading_singular_values(Operator.of(drawn(63, 63)), count=4, steps=9)
    exact = torch.linalg.svdvals(drawn(63, 63))
    gaps = (early.values[:, None] - exact).abs().min(1).values
    assert early.steps == 9
    assert bool((gaps <= early.bounds).all())
    assert float(early.bounds.max()) > 1e-3


@pytest.mark.parametrize(("values", "count"), [([1.0] * 9, 4), ([3.0, 3.0, 3.0, 1.0, 1.0], 4), ([0.0, 0.0, 2.0], 3)])
def test_multiple_values_are_found_as_often_as_they_occur(values, count):
    matrix = torch.diag(torch.tensor(values, dtype=torch.float64))
    found = leading_singular_values(Operator.of(matrix), count=count)
    torch.testing.assert_close(found.values.sort().values, torch.tensor(values).double().sort().values[-count:])


@pytest.mark.parametrize("size", [1, 2, 7, 63])
def test_the_leading_eigenvalue_is_that_of_the_dense_matrix(size):
    matrix = drawn(size, size)
    expected = torch.linalg.eigvals(matrix).abs().max()
    found = leading_eigenvalue(Operator.of(matrix), steps=size, tolerance=1e-12)
    assert abs(found.value) == pytest.approx(float(expected), rel=1e-9)


def test_eigenvalues_of_a_triangular_operator_are_not_its_singular_values():
    shift = torch.diag(torch.ones(8, dtype=torch.float64), -1) + 0.5 * torch.eye(9, dtype=torch.float64)
    assert abs(leading_eigenvalue(Operator.of(shift), steps=9).value) == pytest.approx(0.5, abs=0.02)  # defective
    assert float(leading_singular_values(Operator.of(shift), count=1).values[0]) > 1.4


def dense_moments(matrix):
    size = len(matrix)
    d = matrix - matrix.trace() / size * torch.eye(size, dtype=torch.float64)
    inner, outer = d.T @ d, d @ d.T
    sigma = torch.linalg.svdvals(matrix)
    nonnormality = (inner - outer).norm() / (2**0.5 * inner.norm())
    return sigma.square().mean(), sigma.square().sum() ** 2 / (size * (sigma**4).sum()), nonnormality


@pytest.mark.parametrize("residual", [0.0, 1.0])
def test_moments_converge_to_those_of_the_dense_matrix(residual):
    matrix = drawn(63, 63, seed=2) / 63**0.5 + residual * torch.eye(63, dtype=torch.float64)
    found = operator_moments(Operator.of(matrix), draws=20_000)
    for value, expected in zip(
        (found.mean_square, found.effective_rank, found.nonnormality), dense_moments(matrix), strict=True
    ):
        assert value == pytest.approx(float(expected), rel=3e-3)


def test_few_draws_are_enough_where_there_are_many_dimensions():
    matrix = drawn(500, 500, seed=3) / 500**0.5 + torch.eye(500, dtype=torch.float64)
    found = operator_moments(Operator.of(matrix), draws=4)
    expected = dense_moments(matrix)
    assert found.mean_square == pytest.approx(float(expected[0]), rel=0.05)
    assert found.nonnormality == pytest.approx(float(expected[2]), rel=0.05)


def test_nonnormality_is_zero_for_normal_operators_one_for_a_shift_and_free_of_scale():
    turn = torch.linalg.qr(drawn(9, 9))[0]
    symmetric = drawn(9, 9) + drawn(9, 9).T
    for normal in (turn, symmetric):
        assert operator_moments(Operator.of(normal)).nonnormality < 1e-7
    nilpotent = torch.zeros(2, 2, dtype=torch.float64)
    nilpotent[0, 1] = 1.0
    assert operator_moments(Operator.of(nilpotent), draws=7).nonnormality == pytest.approx(
        1.0, abs=1e-3
    )  # its trace is drawn too
    matrix = drawn(9, 9, seed=5)
    scaled = operator_moments(Operator.of(3 * matrix + 2 * torch.eye(9, dtype=torch.float64)), draws=50)
    assert scaled.nonnormality == pytest.approx(operator_moments(Operator.of(matrix), draws=50).nonnormality, rel=1e-9)


def test_options_outside_their_domain_are_refused():
    operator = Operator.of(drawn(3, 3))
    for call in (
        lambda: leading_singular_values(operator, count=0),
        lambda: leading_eigenvalue(operator, steps=0),
        lambda: operator_moments(operator, draws=0),
    ):
        with pytest.raises(OptionError):
            call()
