"""Attention with the keys of each row exchanged: the same weights, on tokens that they have nothing to do with."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64

from rgprobe.probe.prompts import prompt_seed
from rgprobe.tracing import BeliefTrace

__all__ = ["generator_of", "permuted_rows"]


def permuted_rows(
    patterns: Float64[np.ndarray, "*batch n n"],
    generator: np.random.Generator,
    *,
    allowed: Bool[np.ndarray, "*#batch n n"],
) -> Float64[np.ndarray, "*batch n n"]:
    """Each row with its weights in random order on the keys that the mask allows; what is hidden stays where it is.

    Example:
        >>> window = np.tri(3, dtype=bool) & ~np.tri(3, k=-2, dtype=bool)
        >>> drawn = permuted_rows(np.arange(9.0).reshape(3, 3), np.random.default_rng(0), allowed=window)
        >>> drawn[0].tolist(), drawn[2, 0].item(), sorted(drawn[2, 1:].tolist())
        ([0.0, 1.0, 2.0], 6.0, [7.0, 8.0])
    """
    allowed = np.broadcast_to(allowed, patterns.shape)
    # hidden keys stand behind, in order, where weights come from and where they go
    last = 2.0 + np.arange(patterns.shape[-1])
    source = np.where(allowed, generator.random(patterns.shape), last).argsort(-1)
    place = np.argsort(~allowed, axis=-1, kind="stable")
    drawn = np.empty_like(patterns)
    np.put_along_axis(drawn, place, np.take_along_axis(patterns, source, -1), -1)
    return drawn


def generator_of(trace: BeliefTrace, prompt: int) -> np.random.Generator:
    """Generator of all that is drawn for one prompt."""
    ids = trace.token_ids[prompt][trace.token_mask[prompt]]
    return np.random.default_rng(prompt_seed(ids))
