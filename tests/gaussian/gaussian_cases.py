"""Shared cases: beliefs with a prescribed spectrum, odd sizes, and KL in 60-digit arithmetic."""

from __future__ import annotations

import mpmath
import torch
from torch import Tensor

from rgprobe.gaussian import Gaussian

SIZES = [1, 3, 5, 9, 16]
SPECTRA = ["graded", "one small", "one large"]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(g: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def symmetric(x: Tensor) -> Tensor:
    return (x + x.mT) / 2


def spectrum(k: int, condition: float, kind: str = "graded") -> Tensor:
    if k == 1 or kind == "graded":
        return condition ** -torch.linspace(0.0, 1.0, k, dtype=torch.float64)
    values = torch.full((k,), 1.0 if kind == "one small" else 1.0 / condition, dtype=torch.float64)
    values[0] = 1.0 / condition if kind == "one small" else 1.0
    return values


def rotated(g: torch.Generator, values: Tensor) -> Tensor:
    """A covariance with these eigenvalues in random directions."""
    q, _ = torch.linalg.qr(normal(g, len(values), len(values)))
    return symmetric(q * values @ q.mT)


def random_beliefs(seed: int, *batch: int, k: int = 3) -> Gaussian:
    g = generator(seed)
    a = normal(g, *batch, k, k)
    return Gaussian.from_covariance(normal(g, *batch, k), symmetric(a @ a.mT / k) + 0.3 * torch.eye(k).double())


def exact(x: Tensor) -> mpmath.matrix:
    """A float64 matrix or vector (as a column) as it is, without rounding."""
    rows = x.double().reshape(-1, 1) if x.ndim == 1 else x.double()
    return mpmath.matrix([[mpmath.mpf(v) for v in row] for row in rows.tolist()])


def exact_kl(mean_p: Tensor, cov_p: mpmath.matrix, mean_q: Tensor, cov_q: mpmath.matrix) -> mpmath.mpf:
    """KL(p || q) of the numbers stored, in 60-digit arithmetic."""
    with mpmath.workdps(60):
        factor_p, factor_q = mpmath.cholesky(cov_p), mpmath.cholesky(cov_q)
        k = cov_p.rows
        inverse = cov_q**-1
        ratio = inverse * cov_p
        step = exact(mean_p) - exact(mean_q)
        log_det = 2 * sum(mpmath.log(factor_q[i, i] / factor_p[i, i]) for i in range(k))
        return (sum(ratio[i, i] for i in range(k)) - k + (step.T * inverse * step)[0] + log_det) / 2


def relative_error(value: Tensor, reference: mpmath.mpf) -> float:
    with mpmath.workdps(60):
        return float(abs(mpmath.mpf(value.item()) - reference) / abs(reference))
