"""A bounded sample of attention rows: what is too dear to do for every row is done for a few, evenly spaced."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rgprobe.probe.row_statistics import MINIMUM_KEYS
from rgprobe.probe.scores import Scores

__all__ = ["MINIMUM_KEYS", "ROWS", "SampledRows", "sample_rows"]

ROWS = 16


@dataclass(frozen=True)
class SampledRows:
    """Rows of one block, keys ordered by distance: hidden ones last.

    Attributes:
        index: which rows, the same for all heads.
        order: place of each row's nearest key, second nearest, ...
        scores: in that order, at least float32.
        allowed: which of them the row sees.
    """

    index: Int[Tensor, " rows"]
    order: Int[Tensor, "rows keys"]
    scores: Float[Tensor, "heads rows keys"]
    allowed: Bool[Tensor, "rows keys"]


def sample_rows(scores: Scores, *, causal: bool, sink: bool, rows: int = ROWS) -> SampledRows:
    """Evenly spaced rows: of a causal model from the second half, where rows are long; else from everywhere.

    Args:
        scores: of a block.
        causal: whether later rows see more keys.
        sink: whether key 0 counts.
        rows: at most so many.
    """
    size = scores.size
    first = size // 2 if causal else 0
    index = torch.linspace(first, size - 1, min(rows, size - first)).round().long()
    taken = scores.rows(index)
    device = taken.device
    index = index.to(device)
    allowed = taken[0] > torch.finfo(taken.dtype).min / 2
    if not sink:
        allowed[:, 0] = False
    distance = (index[:, None] - torch.arange(size, device=device)).abs()
    order = (distance + 2 * size * (~allowed)).argsort(dim=-1, stable=True)
    ordered = taken.gather(-1, order.expand(len(taken), -1, -1))
    return SampledRows(index, order, ordered, allowed.gather(-1, order))
