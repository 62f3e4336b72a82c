"""What is kept of attention rows: means over the rows of a prompt, and a few numbers of every row.

Row moments are 18 float64 numbers of every token, head and block, and diagnostics read them through the functions of a row that
are listed here. So they are evaluated while a block's moments are there, and averaged in float64; what results hold of every
token is kept in the float32 that they hold it in. That is a seventh of the memory, and prompts can be many.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from rgprobe.probe.moments import RowMoments

__all__ = ["BY_TOKEN", "MEANS", "MINIMUM_KEYS", "SINK_POLICIES", "RowStatistics", "row_functions", "row_statistics"]

# a row with fewer keys has no distribution to speak of: it is refused, not averaged in
MINIMUM_KEYS = 8
MEANS = ("free_energy", "entropy_deficit", "entropy", "normalised_entropy", "participation", "heat_capacity",
         "score_variance", "reduced_variance", "distance", "log_distance")  # fmt: skip
BY_TOKEN = ("free_energy", "entropy_deficit", "normalised_entropy", "participation", "heat_capacity")
SINK_POLICIES = ("exclude", "include")


@dataclass(frozen=True)
class RowStatistics:
    """What is kept of the attention rows of one block.

    Attributes:
        means: of `MEANS`, over rows with at least `MINIMUM_KEYS` keys; without the sink, then with it.
        keys: that each row sees, without the sink and with it; heads share a mask.
        by_token: of `BY_TOKEN`, under one sink policy; NaN for rows with fewer keys.
    """

    means: Float64[Tensor, "2 means heads"]
    keys: Float64[Tensor, "2 tokens"]
    by_token: Float32[Tensor, "functions heads tokens"]


def row_functions(moments: RowMoments) -> dict[str, Float64[Tensor, "*rows"]]:
    """Functions of one row, which no constant added to its scores moves; nats, and tokens for the distance.

    With n keys and S = ln Z - <s>_alpha: `free_energy` KL(u || alpha) = ln Z - <s>_u - ln n, `entropy_deficit`
    KL(alpha || u) = ln n - S, `entropy` S, `normalised_entropy` S / ln n, `participation` 1 / sum alpha^2, `heat_capacity`
    Var_alpha(s), `score_variance` n / (n - 1) Var_u(s), `reduced_variance` that over 2 ln n, `distance` and `log_distance`.

    Example:
        >>> from rgprobe.probe.moments import row_moments
        >>> flat = row_moments(torch.zeros(1, 4).double(), torch.ones(1, 4, dtype=torch.bool), torch.arange(4.0)[None])
        >>> {name: round(float(value), 6) for name, value in row_functions(flat).items()}["participation"]
        4.0
    """
    keys = moments.keys
    log_keys = keys.log()
    entropy = moments.log_partition - moments.gibbs_mean
    variance = moments.uniform_variance * keys / (keys - 1)
    return {
        "free_energy": moments.log_partition - moments.uniform_mean - log_keys,
        "entropy_deficit": log_keys - entropy,
        "entropy": entropy,
        "normalised_entropy": entropy / log_keys,
        "participation": 1 / moments.purity,
        "heat_capacity": moments.gibbs_variance,
        "score_variance": variance,
        "reduced_variance": variance / (2 * log_keys),
        "distance": moments.distance,
        "log_distance": moments.log_distance,
    }


def row_statistics(excluded: RowMoments, included: RowMoments, *, sink: str) -> RowStatistics:
    """The statistics of one block from its row moments (heads, tokens), without the sink and with it.

    Args:
        excluded, included: as `Scores.moments` gives them.
        sink: "exclude" or "include": the policy under which single rows are kept.
    """
    policies = (excluded, included)
    functions = [row_functions(moments) for moments in policies]
    few = [moments.keys < MINIMUM_KEYS for moments in policies]
    kept = SINK_POLICIES.index(sink)
    return RowStatistics(
        means=torch.stack([_means(of, hidden) for of, hidden in zip(functions, few, strict=True)]),
        keys=torch.stack([moments.keys[0] for moments in policies]),
        by_token=torch.stack([functions[kept][name].masked_fill(few[kept], torch.nan).float() for name in BY_TOKEN]),
    )


def _means(functions: dict[str, Tensor], hidden: Tensor) -> Tensor:
    """(means, heads); NaN where no row counts."""
    return torch.stack([functions[name].masked_fill(hidden, torch.nan).nanmean(-1) for name in MEANS])
