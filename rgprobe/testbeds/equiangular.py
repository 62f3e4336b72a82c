r"""Tokens at equal angles under self-attention on the sphere: their common cosine obeys one differential equation.

Unit tokens x_1 ... x_n move by

    dx_i/dt = P_i sum_j A_ij x_j,      A_ij = softmax_j(beta <x_i, x_j>),      P_i = I - x_i x_i^T.

If all pairs have the cosine gamma they keep equal angles by symmetry. A token gives itself the weight e^beta / Z and each
other one e^(beta gamma) / Z, Z = e^beta + (n - 1) e^(beta gamma), and d<x_i, x_j>/dt = 2 <P_i sum_k A_ik x_k, x_j> is

    dgamma/dt = 2 e^(beta gamma) (1 - gamma) (1 + (n - 1) gamma) / (e^beta + (n - 1) e^(beta gamma)).

gamma = 1 (consensus) attracts, 1 - gamma ~ e^(-2t) whatever beta and n; gamma = -1/(n - 1), the regular simplex, repels.
At large beta consensus waits for a time of order e^(beta (1 - gamma)) / n: metastability.

Source: Geshkovski, Letrouit, Polyanskiy, Rigollet, Bull. AMS 62, 427 (2025) (arXiv:2312.10794).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.integrate import solve_ivp
from scipy.special import softmax

from rgprobe.errors import NumericalRefusal
from rgprobe.testbeds.options import require

__all__ = ["EquiangularTruth", "exact", "sample"]


@dataclass(frozen=True, eq=False)
class EquiangularTruth:
    """The solution at the asked times.

    Attributes:
        cosine: gamma(t).
        log_separation: ln(1 - gamma(t)), kept apart because the cosine rounds to 1.
    """

    cosine: Float64[np.ndarray, " times"]
    log_separation: Float64[np.ndarray, " times"]


def sample(
    *, tokens: int, dim: int, cosine: float, beta: float, times: Float64[np.ndarray, " times"], seed: int = 0
) -> Float64[np.ndarray, "times tokens dim"]:
    """The tokens themselves, integrated from a randomly turned equiangular frame.

    Args:
        tokens: n, at least 2.
        dim: at least n.
        cosine: gamma(0), from -1/(n - 1) to below 1.
        beta: inverse temperature, >= 0.
        times: ascending, from 0 on, units in which attention moves a token by its own length.
        seed: of the rotation.

    Raises:
        OptionError: an option outside its domain.
        NumericalRefusal: the integrator gave up.

    Example:
        >>> path = sample(tokens=3, dim=4, cosine=0.2, beta=1.0, times=np.array([0.0, 1.0]))
        >>> (path @ path.transpose(0, 2, 1))[:, 0, 1].round(4)
        array([0.2   , 0.7241])
    """
    _check(tokens, cosine, beta, times)
    require(dim >= tokens, "dim", expected=f"an integer >= {tokens}", received=dim)
    frame, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((dim, tokens)))
    # square root of (1 - gamma) I + gamma 11^T: eigenvalue 1 + (n - 1) gamma along the constant, 1 - gamma elsewhere
    along, across = np.sqrt(np.maximum(1 + (tokens - 1) * cosine, 0.0)), np.sqrt(1 - cosine)
    root = across * np.eye(tokens) + (along - across) / tokens
    start = root @ frame.T

    def velocity(_: float, flat: np.ndarray) -> np.ndarray:
        x = flat.reshape(start.shape)
        pull = softmax(beta * x @ x.T, axis=1) @ x
        return (pull - (pull * x).sum(1, keepdims=True) * x).ravel()

    return _integrate(velocity, start.ravel(), times).T.reshape(-1, tokens, dim)


def exact(*, tokens: int, cosine: float, beta: float, times: Float64[np.ndarray, " times"]) -> EquiangularTruth:
    """gamma(t), by integrating the equation in ln(1 - gamma), which is smooth up to consensus.

    Args:
        tokens: n, at least 2.
        cosine: gamma(0), from -1/(n - 1) to below 1.
        beta: inverse temperature, >= 0.
        times: ascending, from 0 on.

    Raises:
        OptionError: an option outside its domain.
        NumericalRefusal: the integrator gave up.

    Example:
        >>> known = exact(tokens=3, cosine=0.2, beta=1.0, times=np.array([0.0, 1.0, 30.0]))
        >>> known.cosine.round(4), known.log_separation[2].round(3)
        (array([0.2   , 0.7241, 1.    ]), np.float64(-58.975))
    """
    _check(tokens, cosine, beta, times)

    def rate(_: float, y: np.ndarray) -> np.ndarray:
        separation = np.exp(y)
        return -2 * (1 + (tokens - 1) * (1 - separation)) / (np.exp(beta * separation) + tokens - 1)

    y = _integrate(rate, np.array([np.log1p(-cosine)]), times)[0]
    return EquiangularTruth(-np.expm1(y), y)


def _integrate(rate: object, start: np.ndarray, times: np.ndarray) -> np.ndarray:
    if times[-1] == 0:
        return np.repeat(start[:, None], len(times), axis=1)
    solved = solve_ivp(rate, (0.0, times[-1]), start, method="DOP853", t_eval=times, rtol=1e-11, atol=1e-12)
    if not solved.success:
        remedy = "ask for shorter times or a smaller beta"
        raise NumericalRefusal("times", expected="a solution", received=str(solved.message), remedy=remedy)
    return np.asarray(solved.y)


def _check(tokens: int, cosine: float, beta: float, times: np.ndarray) -> None:
    require(tokens >= 2, "tokens", expected="an integer >= 2", received=tokens)
    least = -1 / (tokens - 1)
    require(least <= cosine < 1, "cosine", expected=f"a number from {least:g} to below 1", received=cosine)
    require(0 <= beta < np.inf, "beta", expected="a finite number >= 0", received=beta)
    ascending = len(times) > 0 and times[0] >= 0 and bool((np.diff(times) > 0).all() and np.isfinite(times).all())
    require(bool(ascending), "times", expected="ascending times >= 0", received=times)
