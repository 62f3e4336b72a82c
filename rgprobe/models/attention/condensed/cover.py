"""Which nodes of a tree a chunk of queries attends to: the largest whose loss is within their share of the budget.

A node may cost the budget times its share of the past, so that all together cost no more than the budget. What it does cost
is its loss times the weight it gets; the weight is measured on queries of the chunk before, so no query decides for an
earlier one what that may see.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from rgprobe.models.attention.condensed.options import Condensation
from rgprobe.models.attention.condensed.tree import KeyTree

__all__ = ["Node", "covers", "span_weights", "spans_before"]

# Queries of a chunk that speak for the next one.
SPOKESMEN = 8

Node = tuple[int, int]  # (level, index); level -1 is a span whose keys are taken one by one


def spans_before(chunk: int, options: Condensation) -> int:
    """Spans that lie wholly before the chunk in front of this one.

    Example:
        >>> [spans_before(chunk, Condensation()) for chunk in (4, 5, 8, 9)]
        [0, 1, 1, 2]
    """
    return max(0, (chunk - 1) * options.chunk // options.span)


def covers(
    tree: KeyTree, weights: Float[Tensor, "A chunks spans"], chunks: range, options: Condensation
) -> list[list[tuple[Node, ...]]]:
    """Per chunk and head, the nodes in order.

    Args:
        tree: of A heads.
        weights: of the spans, see `span_weights`.
        chunks: of queries.
        options: the budget.
    """
    allowed = []
    for level, loss in enumerate(tree.loss):
        nodes = loss.shape[-1]
        spent = weights[..., : nodes << level].unflatten(-1, (nodes, 1 << level)).sum(-1) * loss.unsqueeze(1)
        past = torch.tensor([max(1, spans_before(chunk, options)) for chunk in chunks]).unsqueeze(-1)
        allowed.append((spent.cpu() <= options.budget * (1 << level) / past).tolist())
    heads = range(len(weights))
    return [
        [_cover([level[head][place] for level in allowed], spans_before(chunk, options)) for head in heads]
        for place, chunk in enumerate(chunks)
    ]


@torch.no_grad()
def span_weights(
    queries: Float[Tensor, "A N W"], keys: Float[Tensor, "A N W"], tree: KeyTree, chunks: range, options: Condensation
) -> Float[Tensor, "A chunks spans"]:
    """Share of attention that spokesmen of the chunk before give to every span; 1 if spans are not to be weighed."""
    leaves, length = tree.levels[0], options.chunk
    heads, spans = leaves.keys.shape[:2]
    if not options.refine:
        return queries.new_ones(heads, len(chunks), spans)
    start = torch.tensor([(chunk - 1) * length for chunk in chunks], device=queries.device)
    step = (torch.arange(SPOKESMEN, device=queries.device) + 1) * length // SPOKESMEN - 1
    speaking = queries[:, (start.unsqueeze(-1) + step).flatten()].unflatten(1, (len(chunks), -1))  # (A, chunks, s, W)
    scores = speaking.flatten(1, 2) @ leaves.biased_keys().flatten(1, 2).mT
    far = scores.unflatten(-1, (spans, -1)).logsumexp(-1).unflatten(1, (len(chunks), -1))  # (A, chunks, s, spans)
    beyond = torch.arange(spans) >= torch.tensor([spans_before(chunk, options) for chunk in chunks]).unsqueeze(-1)
    far = far.masked_fill(beyond.to(far.device).unsqueeze(1), -torch.inf)
    own = keys[:, start[0] : start[0] + len(chunks) * length].unflatten(1, (len(chunks), length))
    near = speaking @ own.mT
    near = near.masked_fill(torch.arange(length, device=near.device) > step.unsqueeze(-1), -torch.inf)
    near = near.logsumexp(-1, keepdim=True)
    return torch.cat([far, near], -1).softmax(-1)[..., :-1].mean(-2)


def _cover(allowed: list[list[bool]], spans: int) -> tuple[Node, ...]:
    """Left to right, the largest aligned node that is allowed and lies in the past."""
    found, start = [], 0
    while start < spans:
        level = -1
        for coarse, nodes in enumerate(allowed):
            inside = start % (1 << coarse) == 0 and start + (1 << coarse) <= spans
            if inside and nodes[start >> coarse]:
                level = coarse
        found.append((level, start >> max(level, 0)))
        start += 1 << max(level, 0)
    return tuple(found)
