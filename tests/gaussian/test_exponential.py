"""The matrix exponential against 60-digit arithmetic, and its gradients."""

import mpmath
import numpy as np
import pytest
import torch
from gaussian_cases import generator, normal

from rgprobe.gaussian.exponential import matrix_exponential


def algebra(size, kind, dtype=torch.float64, k=5, count=3):
    x = normal(generator(0), count, k, k) * size / k**0.5
    return (x - x.mT if kind == "so" else x).to(dtype)


def exact(matrix):
    with mpmath.workdps(60):
        return torch.tensor(np.array(mpmath.expm(mpmath.matrix(matrix.tolist())).tolist(), dtype=float))


@pytest.mark.parametrize("kind", ["so", "gl"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [0.0, 1e-6, 0.3, 2.0, 12.0])
def test_it_is_exact_to_rounding(size, dtype, kind):
    matrices = algebra(size, kind, dtype)
    for found, one in zip(matrix_exponential(matrices), matrices, strict=True):
        expected = exact(one.double())
        # the condition of exp is |A| for a normal matrix, and not much more for these
        bound = 8 * (1 + float(matrices.abs().sum(-1).max())) * torch.finfo(dtype).eps
        assert (found.double() - expected).norm() <= bound * torch.linalg.matrix_norm(expected, 2)


def test_a_batch_keeps_the_accuracy_of_its_largest_member():
    small, large = algebra(1e-3, "so"), algebra(12.0, "so")
    together = matrix_exponential(torch.cat([small, large]))
    torch.testing.assert_close(together[:3], matrix_exponential(small), rtol=0, atol=2e-14)


@pytest.mark.parametrize("kind", ["so", "gl"])
def test_gradients_of_first_and_second_order(kind):
    matrix = algebra(1.5, kind, k=3, count=2).requires_grad_()
    assert torch.autograd.gradcheck(matrix_exponential, matrix)
    assert torch.autograd.gradgradcheck(matrix_exponential, matrix)
    weight = normal(generator(1), 2, 3, 3)
    own, reference = (
        torch.autograd.grad((f(matrix) * weight).sum(), matrix)[0]
        for f in (matrix_exponential, torch.linalg.matrix_exp)
    )
    torch.testing.assert_close(own, reference, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_is_not_finite_stays_so(bad):
    matrix = torch.zeros(2, 2).double()
    matrix[0, 1] = bad
    assert not matrix_exponential(matrix).isfinite().all()


def test_an_empty_batch_stays_empty():
    assert matrix_exponential(torch.empty(0, 3, 3)).shape == (0, 3, 3)
