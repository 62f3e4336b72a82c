"""Rows of D16, D24 and D30: what is asked of trained networks, on states, heads and representations of known content.

The trained networks themselves take minutes and are measured by the scripts in `analyses/`.
"""

from __future__ import annotations

from functools import lru_cache, partial
from itertools import product

import numpy as np
from jaxtyping import Float64, Int64

from rgprobe.diagnostics import correlation, correlation_length, eigenvector_learning, posterior_probe, rank_order
from rgprobe.testbeds import mess3, ring_blocks, ring_chain
from rgprobe.validation.record import Check

__all__ = ["CHECKS"]

EMITS, TOKENS, ROWS, NOISE = 0.85, 7, 4000, 0.2
STATES, SLOW, DRAWS = 12, 5, 2000
RINGS = ring_blocks.chain(sizes=(5, 7))
LENGTHS, WALKS, STEPS = (1.2, 6.7), 1500, 64


@lru_cache
def _belief_variance() -> float:
    """sum_s Var b_s, averaged over the first 7 tokens, by summing over all 3^7 words."""
    words = np.array(list(product(range(3), repeat=TOKENS)))
    belief = mess3.beliefs(words, a=EMITS)
    matrices = mess3.transition_matrices(a=EMITS)
    chances = np.ones(len(words))
    for column, before in zip(words.T, np.moveaxis(belief[:, :-1], 1, 0), strict=True):
        chances *= np.einsum("wi,wij->w", before, matrices[column])
    return float((chances[:, None] * (belief[:, 1:] ** 2).sum(-1)).sum(0).mean() - 1 / 3)


@lru_cache
def _words() -> tuple[Int64[np.ndarray, "rows length"], Float64[np.ndarray, "rows length 3"]]:
    tokens = mess3.sample(length=TOKENS, rows=ROWS, a=EMITS, seed=0).tokens
    return tokens, mess3.beliefs(tokens, a=EMITS)[:, 1:]


def _last_token() -> float:
    """E[b | z] = P(state | z), a for the token's own state: its variance is (3a - 1)^2 / 6."""
    return (3 * EMITS - 1) ** 2 / 6 / _belief_variance()


def _probe_last_token() -> float:
    tokens, belief = _words()
    return posterior_probe.posterior_probe(np.eye(3)[tokens], belief).r2


def _noisy_plane() -> float:
    """By symmetry the beliefs have one variance in every direction of their plane."""
    variance = _belief_variance() / 2
    return variance / (variance + NOISE**2)


def _probe_noisy_plane() -> float:
    rng = np.random.default_rng(1)
    belief = _words()[1]
    plane = np.linalg.qr(rng.normal(size=(16, 3)))[0].T
    return posterior_probe.posterior_probe(belief @ plane + NOISE * rng.normal(size=(*belief.shape[:2], 16)), belief).r2


@lru_cache
def _slow_eigenvectors() -> Float64[np.ndarray, "states k"]:
    """Block contrast and the first Fourier pair of each ring."""
    known = ring_blocks.exact(RINGS)
    moving = known.right[:, known.eigenvalues < 1 - 1e-9][:, : SLOW - 1]
    return np.column_stack([eigenvector_learning.centred((RINGS.labels == 0)[:, None] * 1.0, columns=False), moving])


def _learnt() -> float:
    rng = np.random.default_rng(0)
    values = _slow_eigenvectors() @ rng.normal(size=(SLOW, 16)) + 1e-3 * rng.normal(size=(STATES, 16))
    span = eigenvector_learning.leading_subspace(values, SLOW)
    return eigenvector_learning.subspace_overlap(span, _slow_eigenvectors())


def _by_chance() -> float:
    rng = np.random.default_rng(0)
    draws = (eigenvector_learning.centred(rng.normal(size=(STATES, SLOW)), columns=False) for _ in range(DRAWS))
    return float(np.mean([eigenvector_learning.subspace_overlap(one, _slow_eigenvectors()) for one in draws]))


def _equivariant(matrix: Float64[np.ndarray, "states states"]) -> float:
    return eigenvector_learning.commutant_share(matrix, ring_blocks.symmetries(RINGS))


def _equivariant_by_chance() -> float:
    rng = np.random.default_rng(0)
    draws = (rng.normal(size=(STATES, STATES)) for _ in range(400))
    return float(np.mean([_equivariant(eigenvector_learning.centred(one)) for one in draws]))


def _planted_scores() -> float:
    """Slope of the pattern map against the scores that attention was made of."""
    rng = np.random.default_rng(2)
    tokens, scores = rng.integers(6, size=(400, 32)), rng.normal(size=(6, 6))
    weights = np.tril(np.exp(scores[tokens[:, :, None], tokens[:, None, :]]))
    weights /= weights.sum(-1, keepdims=True)
    found = eigenvector_learning.head_maps(tokens, np.eye(6)[tokens], weights, states=6).pattern
    planted = eigenvector_learning.centred(scores)
    return float((found * planted).sum() / (planted**2).sum())


def _spectrum() -> Float64[np.ndarray, "rank"]:
    return np.geomspace(1, 0.05, 9)


def _entropy_rank(values: Float64[np.ndarray, "rank"]) -> float:
    p = values / values.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def _planted_rank() -> float:
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.normal(size=(rows, 9)))[0] for rows in (63, 20))
    return rank_order.effective_rank(left * _spectrum() @ right.T)


def _hot(xi: float) -> Float64[np.ndarray, "1 walks steps states"]:
    built = ring_chain.chain(correlation_length=xi)
    return np.eye(16)[ring_chain.sample(built, rows=WALKS, length=STEPS, seed=0)][None]


def _pooled(xi: float) -> float:
    """The mean of T tokens has variance (1/T) sum_r (1 - |r|/T) lambda^|r| along a mode of eigenvalue lambda."""
    lags = np.arange(1 - STEPS, STEPS)
    eigenvalues = ring_chain.chain(correlation_length=xi).eigenvalues[1:, None]
    return _entropy_rank(np.sqrt(((1 - abs(lags) / STEPS) * eigenvalues ** abs(lags)).sum(1)))


def _rank(xi: float, level: rank_order.Level) -> float:
    return float(rank_order.rank_profile(_hot(xi), level=level, centre=True)[0])


def _length(xi: float) -> float:
    built, angles = ring_chain.chain(correlation_length=xi), 2 * np.pi * np.arange(16) / 16
    walks = ring_chain.sample(built, rows=400, length=128, seed=0)
    curve = correlation.connected_correlation(np.stack([np.cos(angles), np.sin(angles)], 1)[walks])
    return float(correlation_length.decay([curve], 128).laws.correlation_length[0])


_RINGS = "block-diagonal chain, rings of 5 and 7 states"
_MESS3 = "Mess3, first 7 tokens of 4,000 sequences"

CHECKS = (
    Check(
        catalogue="D16", diagnostic="posterior_probe:posterior_probe", system=_MESS3,
        quantity="R^2 of the posterior from the last token alone", expected=_last_token, tolerance=0.01,
        measure=_probe_last_token,
    ),
    Check(
        catalogue="D16", diagnostic="posterior_probe:posterior_probe", system=_MESS3,
        quantity="R^2 from the posterior in 16 dimensions, noise 0.2", expected=_noisy_plane, tolerance=0.01,
        measure=_probe_noisy_plane,
    ),
    Check(
        catalogue="D24", diagnostic="eigenvector_learning:subspace_overlap", system=_RINGS,
        quantity="overlap of values that hold the 5 slow eigenvectors, noise 0.001", expected=1.0, tolerance=1e-3,
        measure=_learnt,
    ),
    Check(
        catalogue="D24", diagnostic="eigenvector_learning:subspace_overlap", system=_RINGS,
        quantity="overlap of random 5-dimensional subspaces, 5/11", expected=SLOW / (STATES - 1), tolerance=0.01,
        measure=_by_chance,
    ),
    Check(
        catalogue="D24", diagnostic="eigenvector_learning:commutant_share", system=_RINGS,
        quantity="share of the transition matrix that commutes with the symmetries", expected=1.0, tolerance=1e-9,
        measure=lambda: _equivariant(RINGS.transition),
    ),
    Check(
        catalogue="D24", diagnostic="eigenvector_learning:commutant_share", system=_RINGS,
        quantity="that of centred random matrices, 6/121", expected=6 / 121, tolerance=0.005,
        measure=_equivariant_by_chance,
    ),
    Check(
        catalogue="D24", diagnostic="eigenvector_learning:expected_commutant_share", system=_RINGS,
        quantity="that share from the fixed points of the symmetries", expected=6 / 121, tolerance=1e-12,
        measure=lambda: eigenvector_learning.expected_commutant_share(ring_blocks.symmetries(RINGS), centred=True),
    ),
    Check(
        catalogue="D24", diagnostic="eigenvector_learning:head_maps", system="attention with planted scores of 6 states",
        quantity="slope of the pattern map against the scores", expected=1.0, tolerance=1e-6,
        measure=_planted_scores,
        perturbation="scale",
    ),
    Check(
        catalogue="D30", diagnostic="rank_order:effective_rank", system="planted singular values, 1 to 0.05",
        quantity="effective rank", expected=lambda: _entropy_rank(_spectrum()), tolerance=1e-9, measure=_planted_rank,
    ),
    *(
        Check(
            catalogue="D30", diagnostic="rank_order:rank_profile", system=f"one-hot ring chain, xi = {xi}",
            quantity="effective rank by position, centred", expected=15.0, tolerance=0.02,
            measure=partial(_rank, xi, "position"),
        )
        for xi in LENGTHS
    ),
    *(
        Check(
            catalogue="D30", diagnostic="rank_order:rank_profile", system=f"one-hot ring chain, xi = {xi}",
            quantity="effective rank of sequence means, centred", expected=partial(_pooled, xi), tolerance=0.2,
            measure=partial(_rank, xi, "pooled"),
        )
        for xi in LENGTHS
    ),
    *(
        Check(
            catalogue="D30", diagnostic="correlation_length:decay", system=f"one-hot ring chain, xi = {xi}",
            quantity="correlation length of the slowest mode", expected=xi, tolerance=0.05 * xi,
            measure=partial(_length, xi), units="tokens",
        )
        for xi in LENGTHS
    ),
)  # fmt: skip
