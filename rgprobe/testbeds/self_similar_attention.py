r"""Attention patterns of which each is the coarse-graining of the one before: a renormalization step from layer to layer.

Layer l acts on N tokens by A_l; its coarse-graining by a factor b merges b neighbouring tokens, by the mean over queries and
the sum over keys. A_(l+1) is planted to be coarse(A_l), repeated along the diagonal of N tokens: every window of N / b tokens
of the later pattern is the coarse earlier one. So the similarity of coarse(A_l) with such a window of A_(l+1) is 1, at the
factor b and at no other.

The first pattern is a random causal one: rows of independent weights, which no coarse-graining leaves alike, so that nothing
but the planted step makes them similar.

Source: Kadanoff, Physics 2, 263 (1966), for blocks; the construction is our own.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from rgprobe.testbeds.options import require

__all__ = ["exact", "sample"]


def sample(
    *, tokens: int, layers: int = 2, factor: int = 2, seed: int = 0
) -> Float64[np.ndarray, "layers tokens tokens"]:
    """Causal patterns whose rows sum to 1.

    Args:
        tokens: N, a multiple of `factor`.
        layers: at least 2.
        factor: b, at least 2.
        seed: of the first pattern.

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> x = sample(tokens=8)
        >>> x.shape, bool(np.allclose(x.sum(-1), 1))
        ((2, 8, 8), True)
    """
    _check(tokens, layers, factor)
    generator = np.random.default_rng(seed)
    first = np.tril(generator.exponential(size=(tokens, tokens)) ** 2)
    patterns = [first / first.sum(1, keepdims=True)]
    size = tokens // factor
    for _ in range(layers - 1):
        coarse = patterns[-1].reshape(size, factor, size, factor).sum(3).mean(1)
        later = np.zeros((tokens, tokens))
        for start in range(0, tokens, size):
            later[start : start + size, start : start + size] = coarse
        patterns.append(later)
    return np.stack(patterns)


def exact(*, tokens: int, layers: int = 2, factor: int = 2) -> float:
    """Similarity of each pattern, coarse-grained by the planted factor, with windows of the next: 1.

    Raises:
        OptionError: an option outside its domain.
    """
    _check(tokens, layers, factor)
    return 1.0


def _check(tokens: int, layers: int, factor: int) -> None:
    require(factor >= 2, "factor", expected="an integer >= 2", received=factor)
    fits = tokens >= factor and tokens % factor == 0
    require(fits, "tokens", expected=f"a multiple of {factor}", received=tokens)
    require(layers >= 2, "layers", expected="an integer >= 2", received=layers)
