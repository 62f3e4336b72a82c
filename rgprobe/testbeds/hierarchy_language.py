r"""Sentences of the random hierarchy model as a language: what a model reads, and the least loss that any model can have.

A sentence is read as <|endoftext|>, its s^D leaves from left to right, then its root label, which has symbols of its own. The
label makes the upper levels matter: it follows from the leaves through all D levels of rules, so its least loss is 0, while
that of a leaf is what the leaves before it leave open. The least losses of a sentence add up to its entropy, because label
and leaves determine each other's derivation.

Source of the model: Cagnetta et al., Phys. Rev. X 14, 031001 (2024) (arXiv:2307.02129); posteriors by belief propagation,
`rgprobe.testbeds.hierarchy_posterior`.
"""

from __future__ import annotations

from string import ascii_lowercase, ascii_uppercase

import numpy as np
from jaxtyping import Float64, Int64

from rgprobe.testbeds.hierarchy_posterior import leaf_evidence, posterior
from rgprobe.testbeds.options import require
from rgprobe.testbeds.random_hierarchy import Grammar, Sentences

__all__ = ["BOS_ID", "PAD_ID", "least_loss", "symbols", "token_ids"]

BOS_ID, PAD_ID = 0, 1
_SPECIAL = ("<|endoftext|>", "<|pad|>")


def symbols(rules: Grammar) -> tuple[str, ...]:
    """The text of every token id: two special ones, leaves in lower case, labels in upper case.

    Raises:
        OptionError: a vocabulary of more symbols than there are letters.

    Example:
        >>> from rgprobe.testbeds.random_hierarchy import grammar
        >>> symbols(grammar(vocabulary=3, synonyms=2))
        ('<|endoftext|>', '<|pad|>', 'a', 'b', 'c', 'A', 'B', 'C')
    """
    v = rules.vocabulary
    require(v <= 26, "vocabulary", expected="at most 26 symbols, which have letters", received=v)
    return (*_SPECIAL, *ascii_lowercase[:v], *ascii_uppercase[:v])


def token_ids(rules: Grammar, drawn: Sentences) -> Int64[np.ndarray, "samples tokens"]:
    """Sentences as rows of s^D + 2 token ids: the opening token, the leaves, the label.

    Example:
        >>> from rgprobe.testbeds.random_hierarchy import grammar, sample
        >>> rules = grammar(depth=2)
        >>> ids = token_ids(rules, sample(rules, samples=1))[0]
        >>> len(ids), "".join(symbols(rules)[i] for i in ids[1:])
        (6, 'fdafG')
    """
    first = len(_SPECIAL)
    opening = np.full((len(drawn.roots), 1), BOS_ID, dtype=np.int64)
    return np.hstack([opening, drawn.leaves + first, drawn.roots[:, None] + first + rules.vocabulary])


def least_loss(
    rules: Grammar, leaves: Int64[np.ndarray, "samples leaves"]
) -> Float64[np.ndarray, "samples predictions"]:
    """-ln P(next token | tokens before it), nats, for each of the s^D leaves and the label: the exact Bayes loss.

    ln P(prefix) is the evidence of a sentence whose other leaves are hidden; a leaf's loss is the difference of two.

    Raises:
        PromptError: a leaf outside the vocabulary, or not s^D leaves.
        NumericalRefusal: a prefix that the grammar does not make.

    Example:
        >>> from rgprobe.testbeds.random_hierarchy import entropy, grammar, sample
        >>> rules = grammar(depth=2)
        >>> losses = least_loss(rules, sample(rules, samples=5).leaves)
        >>> losses.shape, np.allclose(losses.sum(1), entropy(rules))
        ((5, 5), True)
    """
    count, places = leaves.shape[1], np.arange(leaves.shape[1])[None]
    evidences = (leaf_evidence(leaves, vocabulary=rules.vocabulary, known=places < read) for read in range(count + 1))
    # clipped: hidden leaves have evidence of one each, whose logarithms sum to a rounding error
    log_prefix = np.stack([posterior(rules, evidence).log_evidence for evidence in evidences], axis=1)
    return np.maximum(np.hstack([-np.diff(log_prefix, axis=1), np.zeros((len(leaves), 1))]), 0.0)
