"""Rows of D32: patterns of attention that are, by construction, their own coarse-graining."""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np
from jaxtyping import Float64

from rgprobe.belief_trace import BeliefTrace
from rgprobe.diagnostics import coarse_graining
from rgprobe.planted_trace import planted_trace
from rgprobe.validation.record import Check

__all__ = ["CHECKS"]

GROUPS, PROMPTS = 8, 24


def _coarse(seed: int, size: int = GROUPS) -> Float64[np.ndarray, "size size"]:
    """A causal pattern without any law of distance."""
    weights = np.tril(np.random.default_rng(seed).gamma(0.4, size=(size, size))) + 1e-9 * np.eye(size)
    return weights / weights.sum(1, keepdims=True)


def _refined(pattern: np.ndarray, scale: int) -> Float64[np.ndarray, "fine fine"]:
    """Attention among `scale` times as many tokens that becomes the given pattern once neighbours are merged."""
    size = len(pattern)
    blocks = np.zeros((size, scale, size, scale))
    blocks[:] = pattern[:, None, :, None] / scale
    inside = np.tri(scale) / np.arange(1.0, scale + 1)[:, None]
    for i in range(size):
        blocks[i, :, i] = pattern[i, i] * inside
    return blocks.reshape(size * scale, size * scale)


@lru_cache
def _planted(scale: int) -> BeliefTrace:
    """Blocks: a refined pattern; the pattern itself on every window of 8 tokens; a random one, drawn anew per prompt."""
    pattern = _coarse(0)
    fine, tiled = _refined(pattern, scale), np.kron(np.eye(scale), pattern)
    graph = np.stack([[fine, tiled, _coarse(seed + 1, GROUPS * scale)] for seed in range(PROMPTS)])
    trace = planted_trace(graph=graph)
    # keys are permuted by the prompt's tokens
    trace.token_ids[:] = np.arange(PROMPTS)[:, None]
    return trace


def _similarity(scale: int) -> float:
    found = coarse_graining.coarse_graining(_planted(scale)).values
    return float(found[f"rescaled_{scale}"].isel(block=1).mean())


def _excess(scale: int) -> float:
    """Similarity of the random pattern beyond that of its own permutations."""
    measured = coarse_graining.coarse_graining(_planted(scale))
    null = measured.internal_nulls["permuted_rows"][f"same_{scale}"].mean("draw")
    return float((measured.values[f"same_{scale}"] - null).isel(block=2).mean())


def _same(scale: int) -> float:
    flat = np.kron(_coarse(0), np.full((scale, scale), 1 / scale))
    return coarse_graining.same(_refined(_coarse(0), scale), flat, scale)


def _coarse_difference(scale: int) -> float:
    found = coarse_graining.coarse_grained(_refined(_coarse(0), scale), scale)
    return float(np.abs(found - _coarse(0)).max())


CHECKS = tuple(
    check
    for scale in coarse_graining.SCALES
    for check in (
        Check(
            catalogue="D32", diagnostic="coarse_graining:coarse_grained", tolerance=1e-9, expected=0.0,
            system=f"a random causal pattern of 8 groups, refined {scale} times",
            quantity="its coarse-graining less the pattern, largest", measure=partial(_coarse_difference, scale),
        ),
        Check(
            catalogue="D32", diagnostic="coarse_graining:coarse_graining", tolerance=1e-9, expected=1.0,
            system=f"a block that is the block before in groups of {scale}",
            quantity=f"rescaled_{scale}", measure=partial(_similarity, scale),
        ),
        Check(
            catalogue="D32", diagnostic="coarse_graining:same", tolerance=1e-9, expected=1.0,
            system=f"two patterns that differ only within groups of {scale}",
            quantity=f"same_{scale}", measure=partial(_same, scale),
        ),
        Check(
            catalogue="D32", diagnostic="coarse_graining:coarse_graining", tolerance=0.1, expected=0.0,
            system=f"24 unrelated patterns of {GROUPS * scale} tokens",
            quantity=f"same_{scale} less that of permuted rows", measure=partial(_excess, scale),
        ),
    )
)  # fmt: skip
