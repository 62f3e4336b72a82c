r"""D14 on a hierarchical grammar: how far the exchange of an expansion for a synonym still moves a state.

.. math:: d_l = \|x_l - x'_l\| / s_l, \qquad s_l^2 = E \|x_l(a) - x_l(b)\|^2 = 2 \operatorname{tr} \operatorname{Cov} x_l,

x' the state after the exchange, a and b different sentences. A synonym keeps every symbol above it, so its level is a degree of
freedom that a coarse-graining may forget: d falls to 0 where it has. An exchange at a lower level also changes fewer tokens,
so d rises with the level in *any* network, at the input and after random weights: only the difference from a null says what
training did, and the *suppression* is that of logarithms,

.. math:: \text{suppression} = \ln d^{\text{null}} - \ln d,

the factor by which training shrank the exchange, because a fraction of a small distance and of a large one are alike.
Functions alone: exchanges need the grammar, which a trace does not know; `analyses/synonym_swaps.py` makes them.

Source: the sensitivity to synonymic exchanges of Cagnetta et al., Phys. Rev. X 14, 031001 (2024) (arXiv:2307.02129), here as
distances instead of squares, and against random initialisations.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64

from rgprobe.errors import NumericalRefusal

__all__ = ["log_suppression", "random_pair_spread", "swap_distances"]


def random_pair_spread(states: Float[np.ndarray, "samples *depths width"]) -> Float64[np.ndarray, "*depths"]:
    """Root mean square distance between the states of two different samples, in units of the states.

    Raises:
        NumericalRefusal: fewer than two samples.

    Example:
        >>> random_pair_spread(np.array([[0.0, 0.0], [3.0, 4.0]]))
        array(5.)
    """
    if len(states) < 2:
        raise NumericalRefusal(
            "states", expected="at least 2 samples, a pair", received=f"{len(states)}", remedy="pass more samples"
        )
    return np.asarray(np.sqrt(2 * states.astype(float).var(0, ddof=1).sum(-1)))


def swap_distances(
    states: Float[np.ndarray, "samples *depths width"], swapped: Float[np.ndarray, "samples *depths width"]
) -> Float64[np.ndarray, "samples *depths"]:
    """Distance of each state from its exchanged twin, over the random-pair spread; NaN where states never differ.

    Args:
        states: of the sentences.
        swapped: of the same sentences after one exchange each, row by row.

    Raises:
        NumericalRefusal: fewer than two samples.

    Example:
        >>> states = np.random.default_rng(0).normal(size=(2000, 1, 50))
        >>> swap_distances(states, states + 0.1).mean().round(2)  # sqrt(50 x 0.01) / sqrt(2 x 50)
        np.float64(0.07)
    """
    spread = random_pair_spread(states)
    distances = np.linalg.norm(states.astype(float) - swapped.astype(float), axis=-1)
    return np.divide(
        distances, spread, out=np.full(distances.shape, np.nan), where=np.broadcast_to(spread > 0, distances.shape)
    )


def log_suppression(
    distances: Float64[np.ndarray, "samples *entries"], null: Float64[np.ndarray, "seeds samples *entries"]
) -> Float64[np.ndarray, "*entries"]:
    """ln of the mean distance in untrained networks, averaged over seeds, less ln of the mean distance; nats.

    Positive where training made exchanges matter less; NaN where either mean is 0 or undefined.

    Example:
        >>> log_suppression(np.full((3, 1), 0.1), np.full((2, 3, 1), 0.2)).round(3)
        array([0.693])
    """
    mean, means = distances.mean(0), null.mean(1)
    defined = (mean > 0) & (means > 0).all(0)
    logs = np.log(np.where(means > 0, means, 1.0)).mean(0) - np.log(np.where(mean > 0, mean, 1.0))
    return np.where(defined, logs, np.nan)
