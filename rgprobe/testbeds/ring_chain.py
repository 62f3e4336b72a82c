r"""Markov chain on a ring of V states with a chosen correlation length: the shorter its steps, the longer it remembers.

A step of r places around the ring has a probability that falls exponentially with distance,

    P_ij = w(d_ij),   w(d) = exp(-a d) / Z,   d_ij = min(|i - j|, V - |i - j|).

P is circulant and symmetric: its stationary law is uniform, its eigenvectors are the Fourier modes of the ring, and

    lambda_k = sum_r w(r) cos(2 pi k r / V),      xi = -1 / ln lambda_1   tokens.

lambda_1 rises with a from 0 (every step uniform) to 1 (no step at all), so a is found for any xi by bisection.
Two tokens r apart agree with probability (1/V) sum_k lambda_k^r.

Source: eigenvectors of a circulant matrix, e.g. Davis, Circulant Matrices (1979). Chains with 16 states, short
(xi about 1.2) and long (about 6.7), are those on which Haggi-Mani & Rish study the rank of representations
(arXiv:2606.10324, arXiv:2607.15449); their transition matrix is not given in the abstracts, and this is one with the same
states and lengths.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from rgprobe.testbeds.options import require

__all__ = ["RingChain", "chain", "exact", "sample"]


@dataclass(frozen=True, eq=False)
class RingChain:
    """What is known about the chain.

    Attributes:
        transition: P, symmetric and circulant.
        rate: a, per place.
        eigenvalues: lambda_k of the Fourier modes k = 0 ... V - 1; k and V - k are one pair.
        correlation_length: xi = -1 / ln lambda_1, tokens.
    """

    transition: Float64[np.ndarray, "states states"]
    rate: float
    eigenvalues: Float64[np.ndarray, " states"]
    correlation_length: float


def chain(*, states: int = 16, correlation_length: float = 6.7) -> RingChain:
    """The chain with this correlation length.

    Args:
        states: V, at least 3.
        correlation_length: xi, tokens, above 0.

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> built = chain(states=16, correlation_length=1.2)
        >>> round(built.correlation_length, 9), built.eigenvalues[:3].round(3)
        (1.2, array([1.   , 0.435, 0.126]))
    """
    require(states >= 3, "states", expected="an integer >= 3", received=states)
    fits = 0 < correlation_length < np.inf
    require(fits, "correlation_length", expected="a positive number of tokens", received=correlation_length)
    wanted = np.exp(-1 / correlation_length)
    # -ln(1 - lambda_1) is at most the rate plus a constant, so this brackets it
    low, high = 0.0, 10.0 - np.log1p(-wanted)
    for _ in range(200):
        rate = (low + high) / 2
        low, high = (rate, high) if _eigenvalues(rate, states)[1] < wanted else (low, rate)
    eigenvalues = _eigenvalues(rate, states)
    places = np.arange(states)
    transition = _steps(rate, states)[(places[:, None] - places) % states]
    return RingChain(transition, rate, eigenvalues, float(-1 / np.log(eigenvalues[1])))


def sample(built: RingChain, *, rows: int, length: int, seed: int = 0) -> Int64[np.ndarray, "rows length"]:
    """Independent stationary walks.

    Args:
        built: from `chain`.
        rows: number of walks, at least 1.
        length: tokens per walk, at least 1.
        seed: of the generator.

    Raises:
        OptionError: rows or length below 1.

    Example:
        >>> sample(chain(correlation_length=1e6), rows=1, length=5, seed=1)
        array([[7, 7, 7, 7, 7]])
    """
    require(rows >= 1, "rows", expected="an integer >= 1", received=rows)
    require(length >= 1, "length", expected="an integer >= 1", received=length)
    states = len(built.transition)
    generator = np.random.default_rng(seed)
    start = generator.integers(states, size=(rows, 1))
    # steps are independent of the place: the first row of P, drawn by its cumulative sum
    cumulative = np.cumsum(built.transition[0])[:-1]
    steps = np.searchsorted(cumulative, generator.random((rows, length - 1)), side="right")
    return (start + np.concatenate([np.zeros_like(start), np.cumsum(steps, axis=1)], axis=1)) % states


def exact(built: RingChain, *, distances: int) -> Float64[np.ndarray, " distances"]:
    """Connected correlation of one-hot tokens, C(r) / C(0), r = 0 ... `distances` - 1: the mean of lambda_k^r over k >= 1.

    Raises:
        OptionError: distances below 1.

    Example:
        >>> exact(chain(states=3, correlation_length=2.0), distances=3).round(4)
        array([1.    , 0.6065, 0.3679])
    """
    require(distances >= 1, "distances", expected="an integer >= 1", received=distances)
    return (built.eigenvalues[1:] ** np.arange(distances)[:, None]).mean(1)


def _steps(rate: float, states: int) -> np.ndarray:
    """w(d) of the step from place 0 to each place."""
    places = np.arange(states)
    weights = np.exp(-rate * np.minimum(places, states - places))
    return np.asarray(weights / weights.sum())


def _eigenvalues(rate: float, states: int) -> np.ndarray:
    # a circulant matrix is diagonal in the Fourier basis; its first row is even, so the transform is real
    return np.fft.fft(_steps(rate, states)).real
