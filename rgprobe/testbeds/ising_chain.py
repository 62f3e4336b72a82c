r"""Ising chain: spins +-1 with energy -J sum_t s_t s_(t+1), the standard system of one correlation length.

With free ends the bonds t = s_t s_(t+1) are independent and the transfer matrix has eigenvalues 2 cosh K and 2 sinh K,
K = beta J, so that for any chain length

    E[s_t s_(t+r)] = tanh(K)^r = exp(-r / xi),      xi = -1 / ln tanh K  (tokens).

Two spins of correlation c share I(c) = [(1 + c) ln(1 + c) + (1 - c) ln(1 - c)] / 2 = c^2 / 2 + O(c^4) nats: the mutual
information decays with half the correlation length.

Source: Ising, Z. Phys. 31, 253 (1925); Baxter, Exactly Solved Models in Statistical Mechanics, section 2.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int8

from rgprobe.testbeds.options import require

__all__ = ["IsingChain", "coupling_for", "exact", "sample", "spin_information"]


@dataclass(frozen=True, eq=False)
class IsingChain:
    """What is known about a chain.

    Attributes:
        correlation: E[s_t s_(t+r)] for r = 0 ... R.
        correlation_length: xi, tokens.
        mutual_information: I(s_t; s_(t+r)) for r = 0 ... R, nats.
        mutual_information_length: xi / 2, tokens: the decay length of the mutual information at large r.
    """

    correlation: Float64[np.ndarray, " distances"]
    correlation_length: float
    mutual_information: Float64[np.ndarray, " distances"]
    mutual_information_length: float


def sample(
    *, length: int, chains: int, coupling: float, beta: float = 1.0, seed: int = 0
) -> Int8[np.ndarray, "chains length"]:
    """Independent chains with free ends, exact samples: no burn-in, no mixing.

    The first spin is fair; each next one keeps the sign of its neighbour with probability e^K / (2 cosh K), the ratio
    of transfer-matrix entries.

    Args:
        length: spins per chain, at least 1.
        chains: number of chains, at least 1.
        coupling: J, finite, of either sign.
        beta: inverse temperature, >= 0.
        seed: of the generator.

    Raises:
        OptionError: length or chains below 1, a coupling or beta outside its domain.

    Example:
        >>> sample(length=5, chains=2, coupling=9.0, seed=1).sum(1)
        array([ 5, -5])
    """
    k = _reduced(coupling, beta)
    require(length >= 1, "length", expected="an integer >= 1", received=length)
    require(chains >= 1, "chains", expected="an integer >= 1", received=chains)
    uniform = np.random.default_rng(seed).random((chains, length))
    flips = np.where(uniform < 1 / (1 + np.exp(2 * k)), -1, 1).astype(np.int8)
    flips[:, 0] = np.where(uniform[:, 0] < 0.5, -1, 1)
    return np.cumprod(flips, axis=1, dtype=np.int8)


def exact(*, coupling: float, beta: float = 1.0, max_distance: int = 32) -> IsingChain:
    """Correlation and mutual information by distance, and their decay lengths.

    Args:
        coupling: J, finite.
        beta: inverse temperature, >= 0.
        max_distance: R, at least 0.

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> chain = exact(coupling=coupling_for(5.0), max_distance=10)
        >>> round(chain.correlation_length, 9), round(chain.mutual_information_length, 9)
        (5.0, 2.5)
        >>> chain.correlation[[0, 5, 10]].round(4)
        array([1.    , 0.3679, 0.1353])
    """
    k = _reduced(coupling, beta)
    require(max_distance >= 0, "max_distance", expected="an integer >= 0", received=max_distance)
    t = np.tanh(k)
    correlation = t ** np.arange(max_distance + 1, dtype=float)
    xi = _correlation_length(abs(k))
    return IsingChain(correlation, xi, spin_information(correlation), xi / 2)


def coupling_for(correlation_length: float) -> float:
    """The coupling K = artanh(exp(-1/xi)) that has correlation length xi (tokens).

    Raises:
        OptionError: xi is not a positive finite number.

    Example:
        >>> round(coupling_for(5.0), 6)
        1.152955
    """
    fits = 0 < correlation_length < np.inf
    require(fits, "correlation_length", expected="a finite number > 0", received=correlation_length)
    return float(np.arctanh(np.exp(-1 / correlation_length)))


def spin_information(correlation: Float64[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    """Mutual information, nats, of two fair spins with E[s s'] = c: the sum over both signs of (1+-c) ln(1+-c) / 2."""
    signed = np.stack([1 + correlation, 1 - correlation])
    return np.asarray((signed * np.log(np.where(signed > 0, signed, 1.0))).sum(0) / 2)


def _correlation_length(k: float) -> float:
    if k == 0:
        return 0.0
    # tanh K rounds to 1 from K = 19 on; -ln tanh K = 2 artanh(e^(-2K)) does not
    return float(-1 / np.log(np.tanh(k)) if k < 1 else 0.5 / np.arctanh(np.exp(-2 * k)))


def _reduced(coupling: float, beta: float) -> float:
    require(bool(np.isfinite(coupling)), "coupling", expected="a finite number", received=coupling)
    require(bool(beta >= 0 and np.isfinite(beta)), "beta", expected="a finite number >= 0", received=beta)
    return beta * coupling
