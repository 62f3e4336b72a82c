r"""Exact posteriors in the random hierarchy model, by belief propagation on the tree.

With evidence e_i(a) = P(what was seen of leaf i | its symbol is a), upward messages combine the children of a symbol,

    u_l(a) = (1/m) sum_rules prod_j u_(l+1)[child j of the rule],

and downward messages carry what the rest of the tree says. On a tree both are exact: the marginal of every symbol at every
level, given all evidence. Masked leaves give the best possible prediction of hidden ones, prefixes that of the next leaf.

Source: Pearl, Probabilistic Reasoning in Intelligent Systems (1988); for this model Sclocchi, Favero, Wyart, PNAS 122
(2025) (arXiv:2402.16991).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from rgprobe.errors import PromptError
from rgprobe.testbeds.options import evidence_refusal
from rgprobe.testbeds.random_hierarchy import Grammar

__all__ = ["TreePosterior", "leaf_evidence", "posterior"]


@dataclass(frozen=True, eq=False)
class TreePosterior:
    """Posterior of every symbol.

    Attributes:
        marginals: entry l has P(symbol | evidence) of the symbols of level l, (samples, s^l, v): entry 0 the root,
            entry D the leaves.
        log_evidence: ln P(evidence), nats.
    """

    marginals: tuple[Float64[np.ndarray, "samples _ vocabulary"], ...]
    log_evidence: Float64[np.ndarray, " samples"]

    @property
    def root(self) -> Float64[np.ndarray, "samples vocabulary"]:
        """P(label | evidence)."""
        return self.marginals[0][:, 0]


def leaf_evidence(
    leaves: Int64[np.ndarray, "samples leaves"],
    *,
    vocabulary: int,
    known: Bool[np.ndarray, "#samples leaves"] | None = None,
) -> Float64[np.ndarray, "samples leaves vocabulary"]:
    """Evidence of leaves that were read: certain where `known` (default: everywhere), none elsewhere.

    Raises:
        PromptError: a known leaf outside the vocabulary.

    Example:
        >>> leaf_evidence(np.array([[1, 0]]), vocabulary=2, known=np.array([[True, False]]))[0]
        array([[0., 1.],
               [1., 1.]])
    """
    seen = np.ones(leaves.shape, dtype=bool) if known is None else np.broadcast_to(known, leaves.shape)
    strays = seen & ((leaves < 0) | (leaves >= vocabulary))
    if strays.any():
        row, place = (int(i) for i in np.argwhere(strays)[0])
        expected, received = f"a symbol from 0 to {vocabulary - 1}", f"{leaves[row, place]}"
        raise PromptError(f"leaves[{row}, {place}]", expected=expected, received=received, remedy="mark it as unknown")
    return np.where(seen[..., None], leaves[..., None] == np.arange(vocabulary), True).astype(float)


def posterior(rules: Grammar, evidence: Float[np.ndarray, "samples leaves vocabulary"]) -> TreePosterior:
    """Marginals of every symbol given the evidence, and the evidence's probability.

    Args:
        rules: the grammar.
        evidence: e_i(a) >= 0, any scale per leaf (it enters `log_evidence`).

    Raises:
        PromptError: evidence of another shape than s^D leaves of v symbols.
        NumericalRefusal: evidence that is negative or not finite, or that no sentence of the grammar can give.

    Example:
        >>> from rgprobe.testbeds import random_hierarchy
        >>> rules = random_hierarchy.grammar(depth=3)
        >>> drawn = random_hierarchy.sample(rules, samples=2)
        >>> known = posterior(rules, leaf_evidence(drawn.leaves, vocabulary=8))
        >>> bool((known.root.argmax(1) == drawn.roots).all()), known.log_evidence.round(4)  # -17 ln 2
        (True, array([-11.7835, -11.7835]))
    """
    shape = (rules.branching**rules.depth, rules.vocabulary)
    if evidence.shape[1:] != shape:
        expected, received = f"evidence of shape (samples, {shape[0]}, {shape[1]})", f"{evidence.shape}"
        raise PromptError("evidence", expected=expected, received=received, remedy="use leaf_evidence")
    fits = (np.isfinite(evidence) & (evidence >= 0)).all((1, 2))
    if not fits.all():
        raise evidence_refusal(int(fits.argmin()), "finite evidence >= 0", "another value")
    upward, log_evidence = _up(rules, evidence)
    downward = [np.full((len(evidence), 1, rules.vocabulary), 1 / rules.vocabulary)]
    for level, table in enumerate(rules.rules):
        downward.append(_down(table, downward[level], upward[level + 1]))
    products = [u * d for u, d in zip(upward, downward, strict=True)]
    return TreePosterior(tuple(p / p.sum(-1, keepdims=True) for p in products), log_evidence)


def _up(rules: Grammar, evidence: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Upward messages, root first, each scaled to sum 1, and the logarithm of all scales."""
    messages, log_scale = [], np.zeros(len(evidence))
    message = np.asarray(evidence, dtype=float)
    for table in (*reversed(rules.rules), None):
        scale = message.sum(-1, keepdims=True)
        if (scale == 0).any():
            raise evidence_refusal(
                int(np.argwhere(scale == 0)[0, 0]), "evidence that some sentence gives", "impossible evidence"
            )
        messages.append(message / scale)
        log_scale += np.log(scale).sum((1, 2))
        if table is not None:
            message = _children(table, messages[-1]).prod(-1).mean(-1)
    return messages[::-1], log_scale - np.log(rules.vocabulary)


def _down(table: np.ndarray, above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Downward messages to the children of symbols with downward messages `above`, `below` being upward messages."""
    vocabulary, synonyms, branching = table.shape
    children = _children(table, below)
    messages = np.empty((*children.shape[:2], branching, vocabulary))
    for j in range(branching):
        # the product over the other children is formed, not divided out: evidence may be zero
        others = np.delete(children, j, axis=-1).prod(-1) * above[..., None] / synonyms
        makes = (table[..., j].reshape(-1, 1) == np.arange(vocabulary)).astype(float)
        messages[:, :, j] = others.reshape(*others.shape[:2], -1) @ makes
    return (messages / messages.sum(-1, keepdims=True)).reshape(below.shape)


def _children(table: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Upward messages of the children that each rule makes: (samples, nodes, vocabulary, synonyms, branching)."""
    branching = table.shape[2]
    grouped = below.reshape(len(below), -1, branching, below.shape[-1])
    return np.stack([grouped[:, :, j][..., table[..., j]] for j in range(branching)], axis=-1)
