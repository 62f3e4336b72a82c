"""Rows of D6 to D8: Ising chains, whose correlations have one length, and broadcast trees, whose correlations have none."""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np
from jaxtyping import Float64

from rgprobe.diagnostics import correlation, correlation_length, mutual_information
from rgprobe.diagnostics.pooling import Estimates
from rgprobe.planted_trace import planted_trace
from rgprobe.testbeds import broadcast_tree, ising_chain
from rgprobe.validation.record import Check

__all__ = ["CHECKS"]

LENGTH = 512
PAIR = 0.6  # correlation of the Gaussian pairs
SHARE = 0.2  # of the variance, which a prompt's own mean has


@lru_cache
def _spins(xi: float, chains: int, length: int = LENGTH) -> Float64[np.ndarray, "chains length 1"]:
    coupling = ising_chain.coupling_for(xi)
    return ising_chain.sample(length=length, chains=chains, coupling=coupling, seed=0)[..., None].astype(float)


@lru_cache
def _tree() -> Float64[np.ndarray, "trees leaves 1"]:
    return broadcast_tree.sample(depth=9, theta=0.8, samples=64, seed=0)[..., None].astype(float)


@lru_cache
def _shuffled() -> Float64[np.ndarray, "chains length 1"]:
    # long ones: a shuffle keeps a chain's magnetisation, whose square is 2 xi / length on average
    return np.random.default_rng(0).permuted(_spins(5.0, 50, 8192), axis=1)


def _correlation(spins: np.ndarray, distance: int) -> float:
    found = correlation.correlation(planted_trace(sketches=spins[:, None])).values
    return float(found[f"correlation_{distance}"].mean())


def _chain_correlation(xi: float, distance: int) -> float:
    return _correlation(_spins(xi, 400, 1024), distance)


def _decay(curve: Estimates) -> correlation_length.Decay:
    return correlation_length.decay([curve], LENGTH)


def _length(xi: float) -> float:
    return float(_decay(correlation.connected_correlation(_spins(xi, 64))).xi.full[0])


def _evidence() -> float:
    return float(_decay(correlation.connected_correlation(_tree())).power_evidence.full[0])


def _exponent() -> float:
    return float(_decay(correlation.connected_correlation(_tree())).eta.full[0])


def _above_a_floor() -> correlation_length.Decay:
    """24 prompts of 128 tokens in 32 coordinates: chains of one length, and in every coordinate a mean of the prompt's own."""
    chains = _spins(5.0, 24 * 32, 128).reshape(24, 32, 128)
    own = np.random.default_rng(0).standard_normal((24, 32, 1)) * (SHARE / (1 - SHARE)) ** 0.5
    curve = correlation.connected_correlation(np.moveaxis(chains + own, 1, 2))
    return correlation_length.decay([curve], 128)


def _floor() -> float:
    return float(_above_a_floor().floor[0])


def _length_above_floor() -> float:
    return float(_above_a_floor().laws.length_above_floor[0])


def _information_length(xi: float) -> float:
    r = mutual_information.distances_up_to(LENGTH // 2)
    found = mutual_information.information(mutual_information.gaussianised(_spins(xi, 256)), r)
    return float(mutual_information.information_length(found, r, components=1).full)


@lru_cache
def _pairs() -> Float64[np.ndarray, "pairs 2 1"]:
    z = np.random.default_rng(1).standard_normal((2, 40_000))
    return np.stack([z[0], PAIR * z[0] + (1 - PAIR**2) ** 0.5 * z[1]], 1)[..., None]


def _information() -> float:
    found = mutual_information.information(_pairs(), np.array([1]))
    return float(found.pseudo_values(unbiased=True).mean())


CHECKS = (
    *(
        Check(
            catalogue="D6", diagnostic="correlation:correlation",
            system=f"400 Ising chains of 1,024 spins, xi = {xi:g}", quantity=f"C({r}) = tanh^{r}(beta J)",
            expected=float(np.exp(-r / xi)), tolerance=0.05 * float(np.exp(-r / xi)),
            measure=partial(_chain_correlation, xi, r),
        )
        for xi, r in ((5.0, 1), (5.0, 4), (10.0, 4), (10.0, 16))
    ),
    Check(
        catalogue="D6", diagnostic="correlation:correlation", system="50 Ising chains of 8,192 spins, xi = 5, shuffled",
        quantity="C(1)", expected=0.0, tolerance=0.01, measure=lambda: _correlation(_shuffled(), 1),
    ),
    *(
        Check(
            catalogue="D7", diagnostic="correlation_length:decay", system=f"64 Ising chains of 512 spins, xi = {xi:g}",
            quantity="xi", expected=expected, tolerance=tolerance, measure=partial(_length, xi), units="tokens",
        )
        for xi, expected, tolerance in ((5.0, 4.92, 0.17), (10.0, 10.3, 0.6))
    ),
    Check(
        catalogue="D7", diagnostic="correlation_length:decay", system="64 broadcast trees of depth 9, theta = 0.8",
        quantity="AIC of the exponential less that of the power law, above 10", expected=10.0, tolerance=0.0,
        measure=_evidence, at_least=True, perturbation="negate",
    ),
    Check(
        catalogue="D7", diagnostic="correlation_length:decay", system="64 broadcast trees of depth 9, theta = 0.8",
        quantity="eta", expected=lambda: broadcast_tree.exact(depth=9, theta=0.8).exponent, tolerance=0.1,
        measure=_exponent,
    ),
    *(
        Check(
            catalogue="D7", diagnostic="correlation_length:decay", quantity=quantity, expected=expected, measure=measure,
            system="24 prompts of 32 Ising chains, xi = 5, a fifth of the variance in a prompt's own mean",
            tolerance=tolerance, units=units,
        )
        for quantity, expected, tolerance, measure, units in (
            ("floor of C(r) / C(0), where xi and eta are refused", SHARE, 0.03, _floor, "1"),
            ("xi above the floor", 5.0, 0.25, _length_above_floor, "tokens"),
        )
    ),
    *(
        Check(
            catalogue="D8", diagnostic="mutual_information:information_length",
            system=f"256 Ising chains of 512 spins, xi = {xi:g}", quantity="xi_MI = xi / 2", expected=xi / 2,
            tolerance=0.05 * xi / 2, measure=partial(_information_length, xi), units="tokens",
        )
        for xi in (5.0, 10.0)
    ),
    Check(
        catalogue="D8", diagnostic="mutual_information:information",
        system="40,000 Gaussian pairs of correlation 0.6", quantity="I = -ln(1 - 0.36) / 2, bias out",
        expected=float(-np.log(1 - PAIR**2) / 2), tolerance=0.01, measure=_information, units="nats",
    ),
)  # fmt: skip
