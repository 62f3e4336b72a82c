r"""Draws without replacement: tokens dealt from a shuffled deck, elimination of hypotheses with a known pace.

Given k - 1 draws the next is uniform over the V - k + 1 tokens not yet seen, so its entropy is

    H_k = log2(V - k + 1)  bits,      k = 1 ... V,

and the entropies of a whole deck sum to log2 V!. Each draw removes exactly one hypothesis.

Source: elementary; the chain rule of entropy for a uniform permutation.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int64

from rgprobe.errors import PromptError
from rgprobe.testbeds.options import require

__all__ = ["exact", "posterior", "sample"]


def sample(*, vocabulary: int, draws: int, rows: int, seed: int = 0) -> Int64[np.ndarray, "rows draws"]:
    """Rows of distinct tokens 0 ... V - 1, each row the head of an independent uniform permutation.

    Args:
        vocabulary: V, at least 1.
        draws: tokens per row, from 1 to V.
        rows: number of rows, at least 1.
        seed: of the generator.

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> np.sort(sample(vocabulary=4, draws=4, rows=2), axis=1)
        array([[0, 1, 2, 3],
               [0, 1, 2, 3]])
    """
    _check(vocabulary, draws)
    require(rows >= 1, "rows", expected="an integer >= 1", received=rows)
    keys = np.random.default_rng(seed).random((rows, vocabulary))
    return np.argsort(keys, axis=1)[:, :draws]


def exact(*, vocabulary: int, draws: int) -> Float64[np.ndarray, " draws"]:
    """Entropy H_k of draw k given the draws before it, k = 1 ... `draws`, bits.

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> exact(vocabulary=8, draws=8).round(3)
        array([3.   , 2.807, 2.585, 2.322, 2.   , 1.585, 1.   , 0.   ])
    """
    _check(vocabulary, draws)
    return np.log2(vocabulary - np.arange(draws, dtype=float))


def posterior(
    tokens: Int64[np.ndarray, "rows draws"], *, vocabulary: int
) -> Float64[np.ndarray, "rows predictions vocabulary"]:
    """Exact distribution of the next draw after 0, 1, ... `draws` draws; NaN after the whole deck.

    Args:
        tokens: rows of distinct tokens below V.
        vocabulary: V, at least the number of draws.

    Raises:
        PromptError: a token outside the vocabulary, or drawn twice.
        OptionError: an option outside its domain.

    Example:
        >>> posterior(np.array([[1, 0]]), vocabulary=3)[0].round(3)
        array([[0.333, 0.333, 0.333],
               [0.5  , 0.   , 0.5  ],
               [0.   , 0.   , 1.   ]])
    """
    rows, draws = tokens.shape
    _check(vocabulary, draws)
    if ((tokens < 0) | (tokens >= vocabulary)).any():
        row = int(((tokens < 0) | (tokens >= vocabulary)).any(1).argmax())
        raise _refusal(row, f"tokens from 0 to {vocabulary - 1}", tokens[row])
    seen = np.zeros((rows, draws + 1, vocabulary), dtype=bool)
    np.put_along_axis(seen[:, 1:], tokens[..., None], True, axis=2)
    seen = np.logical_or.accumulate(seen, axis=1)
    left = vocabulary - seen.sum(-1, keepdims=True)
    if (left[:, -1, 0] != vocabulary - draws).any():
        row = int((left[:, -1, 0] != vocabulary - draws).argmax())
        raise _refusal(row, "distinct tokens", tokens[row])
    return np.where(left > 0, ~seen / np.maximum(left, 1), np.nan)


def _refusal(row: int, expected: str, received: np.ndarray) -> PromptError:
    remedy = "pass rows drawn without replacement from this vocabulary"
    return PromptError(f"tokens[{row}]", expected=expected, received=f"{received.tolist()}", remedy=remedy)


def _check(vocabulary: int, draws: int) -> None:
    require(vocabulary >= 1, "vocabulary", expected="an integer >= 1", received=vocabulary)
    require(1 <= draws <= vocabulary, "draws", expected=f"an integer from 1 to {vocabulary}", received=draws)
