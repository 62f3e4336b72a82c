r"""Exact posteriors in the random hierarchy with varied trees: all parses of partly hidden sentences, summed.

Inside messages of the spans of a sentence, level by level from the leaves up: with evidence e_i(a) = P(what was seen of leaf
i | its symbol is a), beta_l(span, a) is the probability that symbol a of level l makes what was seen in the span. Two spans
make one of the level above, all places of the cut between them summed. Only the number of leaves is given, not the tree. The
derivative of the evidence with respect to e_i is what the rest of the sentence says of leaf i, its *cavity* distribution: for
all leaves from one pass back.

Sources: Baker (1979), Lari & Young, Comput. Speech Lang. 4 (1990) 35 for inside and outside probabilities; Eisner (2016) for
the latter as derivatives.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from rgprobe.errors import PromptError
from rgprobe.testbeds.options import evidence_refusal
from rgprobe.testbeds.varied_hierarchy import Level, VariedGrammar

__all__ = ["LeafPosterior", "leaf_posterior"]

Chart = dict[int, Tensor]  # by length of the span: (samples, starts, vocabulary)


@dataclass(frozen=True, eq=False)
class LeafPosterior:
    """What is known of every leaf.

    Attributes:
        cavity: P(symbol | evidence of all *other* leaves), (samples, leaves, v).
        log_evidence: ln P(evidence, this many leaves), nats.
    """

    cavity: Float64[np.ndarray, "samples leaves vocabulary"]
    log_evidence: Float64[np.ndarray, " samples"]


def leaf_posterior(rules: VariedGrammar, evidence: Float[np.ndarray, "samples leaves vocabulary"]) -> LeafPosterior:
    """Predictions of every leaf from all others, and the evidence's probability.

    Args:
        rules: the grammar.
        evidence: e_i(a) >= 0; `hierarchy_posterior.leaf_evidence` makes it of leaves and of what is known. Sentences of up
            to 27 leaves do not underflow.

    Raises:
        PromptError: symbols that are not the grammar's, or a number of leaves that it never makes.
        NumericalRefusal: evidence that is negative or not finite, or that no sentence can give.

    Example:
        >>> from rgprobe.testbeds.hierarchy_posterior import leaf_evidence
        >>> from rgprobe.testbeds.varied_hierarchy import grammar, sample
        >>> rules = grammar(depth=2)
        >>> drawn = sample(rules, samples=3, leaves=6)
        >>> known = leaf_posterior(rules, leaf_evidence(drawn.leaves, vocabulary=8))
        >>> bool((np.take_along_axis(known.cavity, drawn.leaves[..., None], -1) > 0).all())
        True
    """
    leaves, vocabulary = evidence.shape[1:]
    low, high = 2**rules.depth, 3**rules.depth
    if vocabulary != rules.vocabulary or not low <= leaves <= high:
        expected = f"evidence of {low} to {high} leaves and {rules.vocabulary} symbols"
        raise PromptError("evidence", expected=expected, received=f"{evidence.shape}", remedy="use leaf_evidence")
    fits = (np.isfinite(evidence) & (evidence >= 0)).all((1, 2))
    if not fits.all():
        raise evidence_refusal(int(fits.argmin()), "finite evidence >= 0", "another value")
    with torch.inference_mode(False), torch.enable_grad():
        seen = torch.from_numpy(np.array(evidence, dtype=np.float64)).requires_grad_()
        chart: Chart = {1: seen}
        for level in reversed(rules.levels):
            chart = _up(level, chart, leaves)
        probability = chart[leaves][:, 0].mean(-1)
        if (probability <= 0).any():
            raise evidence_refusal(
                int((probability <= 0).int().argmax()), "evidence that some sentence gives", "impossible evidence"
            )
        # divided before differentiating: derivatives of small numbers would underflow first
        (slope,) = torch.autograd.grad(probability.log().sum(), seen)
    total = slope.sum(-1, keepdim=True)
    return LeafPosterior((slope / total).numpy(), probability.detach().log().numpy())


def _up(level: Level, chart: Chart, leaves: int) -> Chart:
    """The chart one level up."""
    half = _joined(level.inner, chart, chart, leaves)
    long = (
        _joined(level.outer, half, chart, leaves)
        if level.inner_first
        else _joined(level.outer[..., ::-1], chart, half, leaves)
    )
    whole = _joined(level.whole, chart, chart, leaves)
    found: Chart = {}
    for length in whole.keys() | long.keys():
        parts = [part[length] for part in (whole, long) if length in part]
        found[length] = torch.stack(parts).sum(0) / 2
    return found


def _joined(table: np.ndarray, left: Chart, right: Chart, leaves: int) -> Chart:
    """Spans made of two that stand side by side, by rules of two symbols each."""
    first, second = torch.from_numpy(table[..., 0].copy()), torch.from_numpy(table[..., 1].copy())
    terms: dict[int, list[Tensor]] = {}
    for k, one in left.items():
        for r, other in right.items():
            starts = leaves - k - r + 1
            if starts > 0:
                product = one[:, :starts][..., first] * other[:, k : k + starts][..., second]
                terms.setdefault(k + r, []).append(product.mean(-1))
    return {length: torch.stack(parts).sum(0) for length, parts in terms.items()}
