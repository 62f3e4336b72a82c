r"""A linear flow of couplings around a fixed point, layer by layer, with noise: what a closed description must find.

    g_(l+1) = g* + M (g_l - g*) + sigma noise,      g_0 = g* + s noise,

with M = V diag(lambda) V^-1 of planted eigenvalues: |lambda| > 1 is relevant, |lambda| < 1 irrelevant. The beta function is
(M - 1)(g - g*). Who knows M errs by sigma^2 per coupling; who says that nothing changes errs by

    sigma^2 + diag[(M - 1) C_l (M - 1)^T],      C_(l+1) = M C_l M^T + sigma^2,   C_0 = s^2.

Source: linearised renormalization-group flow, Wilson & Kogut, Phys. Rep. 12, 75 (1974); second moments derived above.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from rgprobe.testbeds.options import require

__all__ = ["CouplingFlow", "CouplingFlowTruth", "exact", "sample"]


@dataclass(frozen=True, eq=False)
class CouplingFlow:
    """Couplings of each prompt, from the input end to the output end."""

    paths: Float64[np.ndarray, "prompts states couplings"]


@dataclass(frozen=True, eq=False)
class CouplingFlowTruth:
    """What is known about the flow.

    Attributes:
        matrix: M.
        fixed_point: g*.
        variance: of each coupling at the start of each layer, C_l.
        flow_error: mean squared error of the map, sigma^2, by layer and coupling.
        persistence_error: mean squared error of saying that nothing changes.
    """

    matrix: Float64[np.ndarray, "couplings couplings"]
    fixed_point: Float64[np.ndarray, " couplings"]
    variance: Float64[np.ndarray, "layers couplings"]
    flow_error: Float64[np.ndarray, "layers couplings"]
    persistence_error: Float64[np.ndarray, "layers couplings"]


def sample(
    *,
    prompts: int,
    layers: int,
    eigenvalues: tuple[float, ...] = (1.1, 0.8, 0.5),
    spread: float = 1.0,
    noise: float = 0.1,
    seed: int = 0,
) -> CouplingFlow:
    """Independent prompts.

    Args:
        prompts, layers: at least 1.
        eigenvalues: of M, real.
        spread: s, of the couplings at the input end, > 0.
        noise: sigma, >= 0.
        seed: of eigenvectors, fixed point and noise.

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> sample(prompts=3, layers=4).paths.shape
        (3, 5, 3)
    """
    require(prompts >= 1, "prompts", expected="an integer >= 1", received=prompts)
    truth = exact(layers=layers, eigenvalues=eigenvalues, spread=spread, noise=noise, seed=seed)
    generator = np.random.default_rng((seed, 1))
    deviation = [spread * generator.standard_normal((prompts, len(eigenvalues)))]
    for _ in range(layers):
        deviation.append(deviation[-1] @ truth.matrix.T + noise * generator.standard_normal(deviation[0].shape))
    return CouplingFlow(truth.fixed_point + np.stack(deviation, 1))


def exact(
    *,
    layers: int,
    eigenvalues: tuple[float, ...] = (1.1, 0.8, 0.5),
    spread: float = 1.0,
    noise: float = 0.1,
    seed: int = 0,
) -> CouplingFlowTruth:
    """The map, its fixed point and both errors.

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> known = exact(layers=2, eigenvalues=(0.5,), noise=0.1)
        >>> known.matrix, known.persistence_error.round(6).ravel()
        (array([[0.5]]), array([0.26 , 0.075]))
    """
    require(layers >= 1, "layers", expected="an integer >= 1", received=layers)
    require(len(eigenvalues) >= 1, "eigenvalues", expected="at least one", received=eigenvalues)
    require(0 < spread < np.inf, "spread", expected="a finite number > 0", received=spread)
    require(0 <= noise < np.inf, "noise", expected="a finite number >= 0", received=noise)
    generator = np.random.default_rng(seed)
    k = len(eigenvalues)
    # not orthogonal, as couplings are not, but far from singular
    vectors = np.linalg.qr(generator.standard_normal((k, k)))[0] + 0.3 * generator.uniform(-1, 1, (k, k)) / k
    matrix = vectors @ np.diag(eigenvalues) @ np.linalg.inv(vectors)
    fixed_point = generator.standard_normal(k)
    covariance, step = spread**2 * np.eye(k), matrix - np.eye(k)
    variance, persistence = [], []
    for _ in range(layers):
        variance.append(np.diag(covariance).copy())
        persistence.append(noise**2 + np.diag(step @ covariance @ step.T))
        covariance = matrix @ covariance @ matrix.T + noise**2 * np.eye(k)
    return CouplingFlowTruth(
        matrix, fixed_point, np.array(variance), np.full((layers, k), noise**2), np.array(persistence)
    )
