r"""AR(1) process cut into block, gap and environment: the system of real-space mutual information.

x_t = phi x_(t-1) + sqrt(1 - phi^2) noise has unit variance and correlation phi^|r|. It is Markov, so all that a block
knows of what comes later is in its last variable, and all that the environment knows of the block in its first one. With
`gap` variables left out between them, the only non-zero canonical correlation is that of these two,

    rho = |phi|^(gap + 1),      I(block; environment) = -ln(1 - rho^2) / 2  nats,

and the filter that keeps most mutual information with the environment is the block's endpoint: decimation.

Source: Koch-Janusz & Ringel, Nature Physics 14, 578 (2018); Gordon, Banerjee, Koch-Janusz, Ringel, Phys. Rev. Lett. 126,
240601 (2021) for Gaussian systems, where the optimum is a canonical correlation analysis.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from rgprobe.testbeds.options import require

__all__ = ["AR1Truth", "AR1Windows", "correlated", "exact", "sample"]


@dataclass(frozen=True, eq=False)
class AR1Windows:
    """Independent windows of the process: a block and, `gap` variables later, its environment."""

    block: Float64[np.ndarray, "rows block"]
    environment: Float64[np.ndarray, "rows environment"]


@dataclass(frozen=True, eq=False)
class AR1Truth:
    """What is known about the windows.

    Attributes:
        canonical_correlations: descending; all but the first are zero.
        block_filter: optimal filter, of unit variance, sign free: the last variable of the block.
        environment_filter: its partner, the first variable of the environment.
        mutual_information: I(block; environment), nats.
        covariance: of the window's block, then environment.
    """

    canonical_correlations: Float64[np.ndarray, " pairs"]
    block_filter: Float64[np.ndarray, " block"]
    environment_filter: Float64[np.ndarray, " environment"]
    mutual_information: float
    covariance: Float64[np.ndarray, "variables variables"]


def sample(*, rows: int, phi: float, block: int, gap: int, environment: int, seed: int = 0) -> AR1Windows:
    """Stationary windows, exact samples.

    Args:
        rows: number of windows, at least 1.
        phi: correlation of neighbours, 0 < |phi| < 1.
        block: variables of the block, at least 1.
        gap: variables left out, at least 0.
        environment: variables of the environment, at least 1.
        seed: of the generator.

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> windows = sample(rows=4, phi=0.8, block=3, gap=1, environment=5)
        >>> windows.block.shape, windows.environment.shape
        ((4, 3), (4, 5))
    """
    _check(phi, block, gap, environment)
    require(rows >= 1, "rows", expected="an integer >= 1", received=rows)
    x = correlated(np.random.default_rng(seed).standard_normal((block + gap + environment, rows)), phi)
    return AR1Windows(x[:block].T, x[block + gap :].T)


def exact(*, phi: float, block: int, gap: int, environment: int) -> AR1Truth:
    """Canonical correlations, filters and mutual information.

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> known = exact(phi=0.8, block=3, gap=1, environment=5)
        >>> known.canonical_correlations.round(12), known.block_filter, round(known.mutual_information, 6)
        (array([0.64, 0.  , 0.  ]), array([0., 0., 1.]), 0.263478)
    """
    _check(phi, block, gap, environment)
    rho = abs(phi) ** (gap + 1)
    places = np.concatenate([np.arange(block), block + gap + np.arange(environment)])
    covariance = phi ** np.abs(places[:, None] - places).astype(float)
    correlations = np.zeros(min(block, environment))
    correlations[0] = rho
    ends = np.eye(block)[-1], np.eye(environment)[0]
    return AR1Truth(correlations, *ends, float(-0.5 * np.log1p(-(rho**2))), covariance)


def correlated(noise: Float64[np.ndarray, "times *series"], phi: float) -> Float64[np.ndarray, "times *series"]:
    """The process itself, stationary and of unit variance, out of independent standard normal numbers; |phi| < 1.

    Example:
        >>> correlated(np.array([1.0, 1.0, 0.0]), 0.6).round(12).tolist()
        [1.0, 1.4, 0.84]
    """
    x = noise.copy()
    x[1:] *= np.sqrt(1 - phi**2)
    for t in range(1, len(x)):
        x[t] += phi * x[t - 1]
    return x


def _check(phi: float, block: int, gap: int, environment: int) -> None:
    require(0 < abs(phi) < 1, "phi", expected="a number with 0 < |phi| < 1", received=phi)
    require(block >= 1, "block", expected="an integer >= 1", received=block)
    require(gap >= 0, "gap", expected="an integer >= 0", received=gap)
    require(environment >= 1, "environment", expected="an integer >= 1", received=environment)
