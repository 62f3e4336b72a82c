"""Clusters of points in batches: farthest-point leaders, so that no cluster is wide while another could be split."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

__all__ = ["cluster", "farthest_points", "sums_of"]


@torch.no_grad()
def cluster(
    points: Float[Tensor, "A n r"], count: int, hidden: Bool[Tensor, "A n"] | None = None
) -> Int[Tensor, "A n"]:
    """Labels 0..count - 1, by the nearest of `count` leaders; those of hidden points mean nothing.

    Leaders are farthest points, so that no cluster has more than twice the least possible radius. (Moved to the means of their
    clusters they cost more and served no better.) With at most `count` distinct points, every cluster is a set of equal ones.

    Source: Gonzalez, Theoretical Computer Science 38 (1985).

    Example:
        >>> import torch
        >>> cluster(torch.tensor([[[0.0], [5.0], [0.0], [5.2]]]), 2).tolist()
        [[0, 1, 0, 1]]
    """
    if hidden is not None:  # where a point that is seen stands already, hidden ones win no leader
        seen = (~hidden).int().argmax(-1)
        shown = points[torch.arange(len(points), device=points.device), seen]
        points = torch.where(hidden.unsqueeze(-1), shown.unsqueeze(1), points)
    leaders = farthest_points(points, count)
    return torch.baddbmm(leaders.square().sum(-1).unsqueeze(1), points, leaders.mT, alpha=-2).argmin(-1)


def farthest_points(points: Float[Tensor, "A n r"], count: int) -> Float[Tensor, "A count r"]:
    """The first point, then over and over the point farthest from those taken.

    Example:
        >>> import torch
        >>> farthest_points(torch.tensor([[[0.0], [1.0], [4.0]]]), 2).flatten().tolist()
        [0.0, 4.0]
    """
    batch, rows = len(points), torch.arange(len(points), device=points.device)
    across, square = points.mT.contiguous(), points.square().sum(-1)  # this way round each product is one pass
    gap, chosen = torch.full_like(square, torch.inf), torch.zeros_like(rows)
    taken = points.new_empty(batch, count, points.shape[-1])
    for place in range(count):
        taken[:, place] = leader = points[rows, chosen]
        distance = torch.sub(square, torch.bmm(leader.unsqueeze(1), across).squeeze(1), alpha=2)
        distance += square[rows, chosen].unsqueeze(-1)
        gap = torch.minimum(gap, distance)
        chosen = gap.argmax(-1)
    return taken


def sums_of(x: Float[Tensor, "A n d"], labels: Int[Tensor, "A n"], count: int) -> Float[Tensor, "A count d"]:
    """Sums over the members of every cluster.

    Example:
        >>> import torch
        >>> sums_of(torch.ones(1, 3, 1), torch.tensor([[0, 1, 1]]), 2).flatten().tolist()
        [1.0, 2.0]
    """
    batch, _, width = x.shape
    where = (labels + torch.arange(batch, device=x.device).unsqueeze(-1) * count).flatten()
    return x.new_zeros(batch * count, width).index_add(0, where, x.flatten(0, 1)).unflatten(0, (batch, count))
