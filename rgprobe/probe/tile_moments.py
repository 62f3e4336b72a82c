"""Row moments of a tile of scores in as few passes over it as there are: as `row_moments`, in less than half of the time.

Moments are products of the weights with something, or sums of squares, and are taken as such: a matrix product with a narrow
matrix, or one per row, costs more than the exponential. So does memory that was never touched, hence `Room`. What rows do not
see lies in few columns of a tile, so that only these are masked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rgprobe.probe.moments import RowMoments, blank_where_empty

__all__ = ["Masked", "Room", "tile_moments"]

# columns of a tile, and 1 where a row sees them, 0 where it does not
Masked = tuple[slice, Float[Tensor, "rows columns"]]


@dataclass
class Room:
    """Memory for three tiles, taken once for all: the first touch of fresh memory costs as much as an exponential.

    Example:
        >>> room = Room()
        >>> first, again = (room.tiles((2, 3), torch.zeros(1)) for _ in range(2))
        >>> len(first), first[0].shape, first[2].data_ptr() == again[2].data_ptr()
        (3, torch.Size([2, 3]), True)
    """

    _held: list[Tensor] = field(default_factory=list)

    def tiles(self, shape: Sequence[int], like: Tensor) -> tuple[Tensor, ...]:
        """Three of this shape, with the dtype and on the device of `like`, holding anything."""
        size = prod(shape)
        fits = (each.numel() >= size and (each.dtype, each.device) == (like.dtype, like.device) for each in self._held)
        if not any(fits):
            self._held = []  # before the next are made
            self._held = [torch.empty(size, dtype=like.dtype, device=like.device) for _ in range(3)]
        return tuple(each[:size].view(*shape) for each in self._held)


def tile_moments(
    tiles: Sequence[Float[Tensor, "heads rows keys"]],
    rows: Int[Tensor, " rows"],
    keys: Int[Tensor, " keys"],
    masked: Sequence[Masked] = (),
) -> RowMoments:
    """Moments over the keys of a tile that its rows see.

    Sums run in the precision of the scores, about centres taken from the row itself; results are float64.

    Args:
        tiles: scores, nats, at least float32; and two more to work in. All are overwritten.
        rows, keys: positions.
        masked: columns that are not seen by all rows; no column twice.

    Example:
        >>> import torch
        >>> tiles = [torch.zeros(1, 1, 4, dtype=torch.float64) for _ in range(3)]
        >>> moments = tile_moments(tiles, torch.tensor([5]), torch.arange(4))
        >>> round(float(moments.log_partition), 6), float(moments.purity), float(moments.distance)
        (1.386294, 0.25, 3.5)
    """
    scores, work, products = tiles
    distances = (rows.to(scores.dtype)[:, None] - keys.to(scores.dtype)).abs_()
    seen = torch.full_like(distances[:, 0], len(keys))
    for columns, visible in masked:
        seen -= (1 - visible).sum(-1)
        scores[..., columns].add_((visible - 1) * (torch.finfo(scores.dtype).max / 4))
    maximum = scores.amax(-1, keepdim=True)
    centred = _hide(scores.sub_(maximum), masked)

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return torch.mul(a, b, out=products).sum(-1)

    count = seen.clamp_min(1)
    level = centred.sum(-1) / count
    uniform_variance = _squares(_hide(torch.sub(centred, level[..., None], out=work), masked)) / count
    weights = _hide(torch.exp(centred, out=work), masked)
    partition = weights.sum(-1)
    shift = dot(weights, centred) / partition
    top = maximum[..., 0].double()
    moments = RowMoments(
        keys=seen.expand_as(partition),
        log_partition=top + partition.double().log(),
        gibbs_mean=top + shift,
        gibbs_variance=dot(centred.sub_(shift[..., None]).square_(), weights) / partition,
        uniform_mean=top + level,
        uniform_variance=uniform_variance,
        purity=_squares(weights) / partition.square(),
        distance=dot(weights, distances) / partition,
        log_distance=dot(weights, distances.log1p_()) / partition,
    )
    return blank_where_empty(moments)


def _hide(tile: Tensor, masked: Sequence[Masked]) -> Tensor:
    """Zero what is not seen; a product, since filling under a mask takes ten times as long."""
    for columns, visible in masked:
        tile[..., columns].mul_(visible)
    return tile


def _squares(tile: Tensor) -> Tensor:
    return torch.linalg.vector_norm(tile, dim=-1).square()
