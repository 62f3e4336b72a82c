"""Random energy model: n independent Gaussian scores of standard deviation beta, the null model of an attention row.

Finite-size effects are severe (at n = 1,024 the row is far from its asymptotic phase diagram), so the exact disorder
average at finite n is used, not the thermodynamic limit. From E[exp(-t Z)] = phi(t)^n, phi(t) = E exp(-t exp(beta x)),

    E ln Z = int (exp(-e^u) - phi(e^u)^n) du,      E S = E ln Z - beta d/dbeta E ln Z,

one-dimensional integrals that quadrature does for every n at once (phi does not depend on n).

Source: Derrida, Phys. Rev. B 24, 2613 (1981); the log-partition integral is Frullani's.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float, Float64

from rgprobe.testbeds.options import require

__all__ = ["critical_beta", "exact", "log_partition_and_entropy", "sample"]


def sample(n: int, beta: float, *, rows: int, seed: int) -> Float64[np.ndarray, "rows n"]:
    """Scores s_j = beta x_j with x_j standard normal, nats."""
    _check(n, beta)
    return beta * np.random.default_rng(seed).standard_normal((rows, n))


def exact(n: int, beta: float) -> dict[str, float]:
    """Disorder averages at finite n: mean log-partition function and entropy, nats, and beta_c = sqrt(2 ln n).

    Example:
        >>> averages = exact(64, 1e-3)
        >>> bool(abs(averages["entropy"] - np.log(64)) < 1e-5)
        True
    """
    _check(n, beta)
    log_partition, entropy = log_partition_and_entropy(np.array([n]), np.array([beta]))
    return {
        "log_partition": float(log_partition[0, 0]),
        "entropy": float(entropy[0, 0]),
        "critical_beta": float(critical_beta(n)),
    }


def critical_beta(n: int | float | np.ndarray) -> Float[np.ndarray, "..."]:
    """beta_c = sqrt(2 ln n): above it a few keys carry the row, in the limit of large n."""
    return np.asarray(np.sqrt(2 * np.log(np.asarray(n, dtype=float))))


def log_partition_and_entropy(
    sizes: np.ndarray, betas: np.ndarray
) -> tuple[Float64[np.ndarray, "sizes betas"], Float64[np.ndarray, "sizes betas"]]:
    """E ln Z and E S, nats, for every size and inverse temperature, by quadrature.

    Args:
        sizes: numbers of keys n, (sizes,).
        betas: standard deviations of the scores, (betas,).
    """
    n = np.asarray(sizes, dtype=float)[:, None]
    columns = [_averages(float(beta), n) for beta in betas]
    return np.stack([c[0] for c in columns], 1), np.stack([c[1] for c in columns], 1)


def _averages(beta: float, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    u, missing, slope = _laplace(beta)
    step = u[1] - u[0]
    phi_n = np.exp(n * np.log1p(-missing))
    # E exp(-e^u Z) stands in for exp(-e^u): both integrals start at 1 and end at 0
    cutoff = np.exp(-np.exp(np.minimum(u, 50.0)))
    log_partition = ((cutoff - phi_n) * step).sum(1)
    # d phi^n / d beta = n phi^(n-1) dphi/dbeta, and E ln Z enters with the opposite sign
    derivative = -(n * phi_n / (1 - missing) * slope * step).sum(1)
    return log_partition, log_partition - beta * derivative


@lru_cache(maxsize=256)
def _laplace(beta: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """u grid, 1 - phi(e^u) and dphi/dbeta at e^u."""
    x = np.linspace(-9.0, 9.0, 80 + int(16 * beta))
    weight = np.exp(-x * x / 2)
    weight /= weight.sum()
    # wide enough for ln Z between its smallest and largest conceivable values
    u = np.linspace(-9.0 * beta - 25.0, 9.0 * beta + 4.0, 120 + int(25 * beta))
    exponent = np.exp(np.minimum(u[:, None] + beta * x, 50.0))
    missing = np.minimum(-np.expm1(-exponent) @ weight, 1 - 1e-16)
    slope = -(exponent * np.exp(-exponent)) @ (weight * x)
    return u, missing, slope


def _check(n: int, beta: float) -> None:
    require(n >= 1, "n", expected="at least 1 key", received=n)
    require(0 <= beta < np.inf, "beta", expected="a finite number >= 0", received=beta)
