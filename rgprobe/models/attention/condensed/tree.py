"""Spans of keys as meta-keys, unions of two spans as meta-keys again, and so on: the far past in ever coarser grain.

A span is made from its own keys, and judged by queries up to its end: whoever attends to it comes later.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from rgprobe.models.attention.condensed.clusters import cluster
from rgprobe.models.attention.condensed.meta_keys import MetaKeys, members_as_meta_keys, merge_keys
from rgprobe.models.attention.condensed.options import Condensation
from rgprobe.models.attention.priors import HIDDEN

__all__ = ["KeyTree", "grow", "landmarks"]

# Queries, evenly spaced over all that came before, by whose scores keys are compared.
LANDMARKS = 16
# Random queries that stand for those not seen, so that only equal keys are at distance 0, and how long they are.
STRANGERS, STRANGER_LENGTH = 4, 0.1


@dataclass(frozen=True, eq=False)
class KeyTree:
    """Meta-keys of A heads, level by level: level l holds unions of 2^l spans.

    Args:
        levels: each with (A, nodes, meta_tokens, ...) tensors.
        loss: per level, (A, nodes): nats that a query loses which spends all its weight on the node, by the second-order
            estimate: the mean over landmarks of sum_c b_c loss_c, b the weights within the node.
    """

    levels: tuple[MetaKeys, ...]
    loss: tuple[Tensor, ...]


def grow(
    queries: Float[Tensor, "A N W"],
    keys: Float[Tensor, "A N W"],
    values: Float[Tensor, "A N D"],
    options: Condensation,
    spans: int,
) -> KeyTree:
    """The tree over the first `spans` spans.

    Example:
        >>> import torch
        >>> x = torch.ones(1, 32, 2)
        >>> tree = grow(x, x, x, Condensation(chunk=8, span=8, meta_tokens=2), 3)
        >>> [level.keys.shape[1] for level in tree.levels], tree.levels[1].log_size.exp().round().tolist()
        ([3, 1], [[[16.0, 0.0]]])
    """
    heads, length = len(queries), options.span
    parts = (x[:, : spans * length].reshape(heads * spans, length, x.shape[-1]) for x in (keys, values))
    members, levels, losses = members_as_meta_keys(*parts), list[MetaKeys](), list[Tensor]()
    while spans:
        judges = landmarks(queries, [length * (node + 1) for node in range(spans)]).flatten(0, 1)
        scores = members.keys @ judges.mT / math.sqrt(LANDMARKS)
        hidden = members.log_size <= 0.5 * HIDDEN if levels else None
        meta = merge_keys(members, cluster(scores, options.meta_tokens, hidden), options.meta_tokens, scores)
        levels.append(MetaKeys(*(x.unflatten(0, (heads, spans)) for x in vars(meta).values())))
        losses.append(_node_loss(meta, judges).unflatten(0, (heads, spans)))
        spans, length = spans // 2, 2 * length
        members = MetaKeys(*(x[:, : 2 * spans].flatten(0, 1) for x in vars(levels[-1]).values())).grouped(2)
    return KeyTree(tuple(levels), tuple(losses))


@torch.no_grad()
def landmarks(queries: Float[Tensor, "A N W"], ends: list[int]) -> Float[Tensor, "A nodes r"] | Tensor:
    """Queries evenly spaced before each end, and short random ones, (A, nodes, r, W)."""
    share = (torch.arange(LANDMARKS, device=queries.device) + 0.5) / LANDMARKS
    where = (share * torch.tensor(ends, device=queries.device).unsqueeze(-1)).long()
    seen = queries[:, where.flatten()].unflatten(1, where.shape)
    size = seen.square().mean(-2, keepdim=True).sqrt() * STRANGER_LENGTH
    return torch.cat([seen, size * _strangers(queries.shape[-1]).to(seen)], -2)


@lru_cache(maxsize=16)
def _strangers(width: int) -> Tensor:
    return torch.randn(STRANGERS, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@torch.no_grad()
def _node_loss(meta: MetaKeys, judges: Tensor) -> Tensor:
    weights = (judges[:, :LANDMARKS] @ meta.biased_keys().mT).softmax(-1).mean(-2)
    return (weights * meta.loss).sum(-1)
