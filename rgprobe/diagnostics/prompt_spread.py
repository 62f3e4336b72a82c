"""s_l: how far states of different prompts lie apart at each layer, the unit in which perturbations are measured."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64

from rgprobe.diagnostics.pooling import MINIMUM_POOLED, Estimates

__all__ = ["prompt_spread"]


def prompt_spread(states: Float[np.ndarray, "prompts states positions width"]) -> Estimates | None:
    """ln s_l, s_l the root mean square distance between states of different prompts at layer l; None below five prompts.

        s_l^2 = mean over pairs of prompts p != q of the mean over tokens i of p, j of q of |x_pi - x_qj|^2

    Every pair of prompts counts alike, whatever its tokens. Distances within a prompt do not enter. The sums need the mean
    and the mean square of each prompt only: s^2 = 2 [mean_p a_p - (|sum_p m_p|^2 - sum_p |m_p|^2) / (P (P - 1))].

    Args:
        states: of the recorded tokens; NaN where a prompt has none.

    Returns:
        ln s_l of all prompts and of all but one, (states,) and (prompts, states); NaN where all states are equal.

    Example:
        >>> x = np.eye(5)[:, None, None, :].repeat(3, axis=2)  # each prompt three times its own corner
        >>> bool(np.isclose(np.exp(prompt_spread(x).full[0]), np.sqrt(2)))
        True
    """
    count = len(states)
    if count < MINIMUM_POOLED:
        return None
    means, squares = _moments(states)
    full = _mean_square_distance(squares.sum(0), means.sum(0), _square(means).sum(0), count)
    deleted = _mean_square_distance(
        squares.sum(0) - squares, means.sum(0) - means, _square(means).sum(0) - _square(means), count - 1
    )
    return Estimates(_half_log(full), _half_log(deleted))


def _moments(
    states: Float[np.ndarray, "prompts states positions width"],
) -> tuple[Float64[np.ndarray, "prompts states width"], Float64[np.ndarray, "prompts states"]]:
    """Mean and mean square of each prompt, about the mean of all, which distances do not see and cancellation does."""
    here = np.isfinite(states[..., :1])
    count = here.sum(2)
    x = np.where(here, states, 0).astype(np.float64)
    centre = (x.sum(2) / count).mean(0)[None, :, None, :]
    x = np.where(here, x - centre, 0)
    return x.sum(2) / count, (x**2).sum((2, 3)) / count[..., 0]


def _mean_square_distance(squares: np.ndarray, means: np.ndarray, squared_means: np.ndarray, count: int) -> np.ndarray:
    crossed = (_square(means) - squared_means) / (count * (count - 1))
    return np.maximum(2 * (squares / count - crossed), 0.0)


def _half_log(squares: np.ndarray) -> np.ndarray:
    apart = squares > 0
    return np.where(apart, 0.5 * np.log(np.where(apart, squares, 1.0)), np.nan)


def _square(vectors: np.ndarray) -> np.ndarray:
    return (vectors**2).sum(-1)
