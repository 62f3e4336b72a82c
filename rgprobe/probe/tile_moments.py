"""Row moments of a tile in which every row sees every key: as `row_moments`, in a third of the time.

Nothing is masked, distances are differences of positions, and moments under the uniform weights need no scores where those are
products: with k the mean of the tile's keys and C their covariance, the mean of c q.k_j is c q.k and its variance c^2 q^T C q.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rgprobe.probe.moments import RowMoments

__all__ = ["KeyStatistics", "key_statistics", "tile_moments"]


@dataclass(frozen=True)
class KeyStatistics:
    """Mean (key head, width) and covariance (key head, width, width) of the keys of a tile."""

    mean: Float[Tensor, "key_heads width"]
    covariance: Float[Tensor, "key_heads width width"]


def key_statistics(keys: Float[Tensor, "key_heads keys width"]) -> KeyStatistics:
    """Both in at least float32."""
    keys = keys.to(torch.promote_types(keys.dtype, torch.float32))
    mean = keys.mean(1)
    centred = keys - mean[:, None]
    return KeyStatistics(mean, centred.mT @ centred / keys.shape[1])


def tile_moments(
    scores: Float[Tensor, "heads rows keys"],
    rows: Int[Tensor, " rows"],
    keys: Int[Tensor, " keys"],
    uniform: tuple[Float[Tensor, "heads rows"], Float[Tensor, "heads rows"]] | None = None,
) -> RowMoments:
    """Moments over all keys of a tile; `scores` is overwritten.

    Sums run in the precision of `scores`, about centres taken from the row itself; results are float64.

    Args:
        scores: nats, at least float32.
        rows, keys: positions; no key lies behind a row, or all do.
        uniform: mean and variance under uniform weights, where they are known already.

    Example:
        >>> import torch
        >>> moments = tile_moments(torch.zeros(1, 1, 4, dtype=torch.float64), torch.tensor([5]), torch.arange(4))
        >>> round(float(moments.log_partition), 6), float(moments.purity), round(float(moments.distance), 12)
        (1.386294, 0.25, 3.5)
    """
    count = scores.shape[-1]
    if uniform is None:
        mean = scores.mean(-1)
        uniform = mean, (scores - mean[..., None]).square_().mean(-1)
    maximum = scores.amax(-1, keepdim=True)
    centred = scores.sub_(maximum)
    weights = centred.exp()
    ahead = (keys - keys[0]).to(scores.dtype)
    sums = weights @ torch.stack([torch.ones_like(ahead), ahead], -1)  # the partition function, and where its keys lie
    partition = sums[..., 0]
    shift = torch.linalg.vecdot(weights, centred) / partition
    fluctuation = centred.sub_(shift[..., None]).square_()
    log_distances = (rows[:, None] - keys).abs().to(scores.dtype).log1p_()
    # one product per row for all heads, which share its distances
    logs = torch.bmm(weights.transpose(0, 1), log_distances[..., None])[..., 0].mT
    level = maximum[..., 0].double()
    distance = (rows - keys[0]).double() - (sums[..., 1] / partition).double()
    return RowMoments(
        keys=torch.full_like(level, count),
        log_partition=level + partition.double().log(),
        gibbs_mean=level + shift,
        gibbs_variance=(torch.linalg.vecdot(fluctuation, weights) / partition).double(),
        uniform_mean=uniform[0].double(),
        uniform_variance=uniform[1].double(),
        purity=(torch.linalg.vecdot(weights, weights) / partition.square()).double(),
        distance=distance.abs(),
        log_distance=(logs / partition).double(),
    )
