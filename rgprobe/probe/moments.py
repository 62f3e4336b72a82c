"""Sufficient statistics of an attention row, and the exact rule that merges them over disjoint sets of keys.

An attention row is a Boltzmann ensemble: keys j are states, scores s_j are minus their energies, and
alpha_j = exp(s_j) / Z are the Gibbs weights. Everything that the attention diagnostics report about a row is a
function of a few moments under alpha and under the uniform weights u on the same keys. Those moments merge: the
moments of a union of disjoint key sets follow from the moments of its parts (the online-softmax rule for Z, Chan,
Golub and LeVeque's rule for variances). The sink, key 0, is a set of one key; so every statistic with the sink and
without it comes from one pass over the scores, and no difference of nearly equal sums is ever taken.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["RowMoments", "blank_where_empty", "merge_moments", "row_moments"]

FAR_BELOW = -1e18


@dataclass(frozen=True)
class RowMoments:
    """Moments of attention rows over one set of keys; every field has the shape of the rows.

    Attributes:
        keys: number of keys n in the set.
        log_partition: ln Z = ln sum_j exp(s_j), nats; -inf for the empty set.
        gibbs_mean: <s>_alpha, nats.
        gibbs_variance: Var_alpha(s), nats^2: the heat capacity of the row.
        uniform_mean: mean of s over the keys, nats.
        uniform_variance: population variance of s over the keys, nats^2.
        purity: sum_j alpha_j^2, the inverse of the participation number.
        distance: E_alpha |i - j|, tokens.
        log_distance: E_alpha ln(1 + |i - j|).
    """

    keys: Float[Tensor, "*rows"]
    log_partition: Float[Tensor, "*rows"]
    gibbs_mean: Float[Tensor, "*rows"]
    gibbs_variance: Float[Tensor, "*rows"]
    uniform_mean: Float[Tensor, "*rows"]
    uniform_variance: Float[Tensor, "*rows"]
    purity: Float[Tensor, "*rows"]
    distance: Float[Tensor, "*rows"]
    log_distance: Float[Tensor, "*rows"]

    def as_dict(self) -> dict[str, Tensor]:
        """The fields by name, in order."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def row_moments(
    scores: Float[Tensor, "*heads rows keys"],
    allowed: Bool[Tensor, "rows keys"],
    distances: Float[Tensor, "rows keys"],
) -> RowMoments:
    """Moments of each row over the keys that `allowed` marks.

    Sums run in the precision of `scores`, and never below float32, about centres taken from the row itself (its maximum
    for the Gibbs moments, its mean for the uniform ones); the results are float64.

    Args:
        scores: attention logits s, nats, already divided by sqrt(d).
        allowed: the keys that each row may see. A row that sees none gets log_partition -inf and NaN moments.
        distances: |i - j|, tokens.

    Example:
        >>> import torch
        >>> scores = torch.zeros(1, 4, dtype=torch.float64)
        >>> moments = row_moments(scores, torch.ones(1, 4, dtype=torch.bool), torch.arange(4.0).double()[None])
        >>> round(float(moments.log_partition), 6), float(moments.purity), float(moments.distance)
        (1.386294, 0.25, 1.5)
    """
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if scores.shape[-1] == 0:  # a maximum needs a key: one that no row may see
        scores, allowed, distances = (torch.nn.functional.pad(t, (0, 1)) for t in (scores, allowed, distances))
    seen = allowed.to(scores.dtype)
    keys = seen.sum(-1)
    count = keys.clamp_min(1)
    scores = scores.masked_fill(~allowed, -torch.inf)
    maximum = scores.amax(-1, keepdim=True)
    # a masked key sits so low that its weight is exactly zero, and not so low that its square would overflow
    centred = (scores - maximum).clamp_(min=FAR_BELOW)
    weights = centred.exp()
    partition = weights.sum(-1)
    gibbs_shift = _dot(weights, centred) / partition
    fluctuation = centred - gibbs_shift.unsqueeze(-1)
    gibbs_variance = _dot(fluctuation.square_(), weights) / partition
    uniform_shift = _dot(centred, seen) / count
    spread = (centred - uniform_shift.unsqueeze(-1)).mul_(seen)
    uniform_variance = _dot(spread, spread) / count
    log_distances = distances.log1p()
    # float64 from here on: added in float32, a large common level of the scores would round away what the row says
    maximum = maximum.squeeze(-1).double()
    moments = RowMoments(
        keys=keys.expand_as(partition),
        log_partition=maximum + partition.double().log(),
        gibbs_mean=maximum + gibbs_shift,
        gibbs_variance=gibbs_variance,
        uniform_mean=maximum + uniform_shift,
        uniform_variance=uniform_variance,
        purity=_dot(weights, weights) / partition.square(),
        distance=_dot(weights, distances.to(scores.dtype)) / partition,
        log_distance=_dot(weights, log_distances.to(scores.dtype)) / partition,
    )
    return blank_where_empty(moments)


def merge_moments(a: RowMoments, b: RowMoments) -> RowMoments:
    """Moments over the union of two disjoint key sets, exactly.

    With w_a = Z_a / (Z_a + Z_b) and n = n_a + n_b, means average, second moments add the square of the difference of the
    means: Var = w_a Var_a + w_b Var_b + w_a w_b (<s>_a - <s>_b)^2, and the purity is w_a^2 p_a + w_b^2 p_b.

    Source: Chan, Golub and LeVeque (1979) for variances; Milakov and Gimelshein (2018) for the partition function.
    """
    log_partition = torch.logaddexp(a.log_partition, b.log_partition)
    # from their difference: exp(ln Z_a - ln Z) would make the weights sum to 1 up to the rounding of ln Z only, which the
    # common level of the scores then multiplies
    ahead = a.log_partition - b.log_partition
    gibbs_a, gibbs_b = ahead.sigmoid(), (-ahead).sigmoid()
    keys = a.keys + b.keys
    uniform_a, uniform_b = a.keys / keys.clamp_min(1), b.keys / keys.clamp_min(1)

    def mean(name: str, weight_a: Tensor, weight_b: Tensor) -> Tensor:
        return _weighted(getattr(a, name), weight_a) + _weighted(getattr(b, name), weight_b)

    def variance(kind: str, weight_a: Tensor, weight_b: Tensor) -> Tensor:
        gap = getattr(a, f"{kind}_mean") - getattr(b, f"{kind}_mean")
        return mean(f"{kind}_variance", weight_a, weight_b) + _weighted(gap.square(), weight_a * weight_b)

    merged = RowMoments(
        keys=keys,
        log_partition=log_partition,
        gibbs_mean=mean("gibbs_mean", gibbs_a, gibbs_b),
        gibbs_variance=variance("gibbs", gibbs_a, gibbs_b),
        uniform_mean=mean("uniform_mean", uniform_a, uniform_b),
        uniform_variance=variance("uniform", uniform_a, uniform_b),
        purity=mean("purity", gibbs_a.square(), gibbs_b.square()),
        distance=mean("distance", gibbs_a, gibbs_b),
        log_distance=mean("log_distance", gibbs_a, gibbs_b),
    )
    return blank_where_empty(merged)


def blank_where_empty(moments: RowMoments) -> RowMoments:
    """What is said of rows that see no key: log_partition -inf, NaN for the rest; all in float64."""
    empty = moments.keys == 0
    return RowMoments(**{name: _blank(name, value, empty) for name, value in moments.as_dict().items()})


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.linalg.vecdot(a, b)


def _weighted(value: Tensor, weight: Tensor) -> Tensor:
    # an empty set has weight 0 and NaN moments; it must leave no trace
    return torch.where(weight > 0, value * weight, 0)


def _blank(name: str, value: Tensor, empty: Tensor) -> Tensor:
    value = value.double()
    if name == "keys":
        return value
    return value.masked_fill(empty, -torch.inf if name == "log_partition" else torch.nan)
