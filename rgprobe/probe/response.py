"""Response of attention rows to their temperature: what a head would do if all its scores were multiplied by a factor.

    alpha_lambda = softmax(lambda s),   C(lambda) = lambda^2 Var_{alpha_lambda}(s),   S(lambda) = H[alpha_lambda] (nats)

Adding a constant to a row changes none of them. C = -dS / d ln lambda, and dC / d ln lambda = 2 C + k_3, with k_3 the third
cumulant of lambda s under alpha_lambda; it is collected too, so that a peak between two factors can be placed.
"""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from rgprobe.probe.attention import AttentionCollector
from rgprobe.probe.model import Hook, Probe
from rgprobe.probe.sampled_rows import MINIMUM_KEYS, SampledRows, sample_rows
from rgprobe.probe.scores import Scores

__all__ = ["FACTORS", "LENGTHS", "ResponseCollector", "response_curve", "truncated_lengths"]

FACTORS = np.geomspace(0.1, 10.0, 17)
LENGTHS = 5  # context lengths of the finite-size scaling; at least 4 are needed to speak of one
RANGE = 4  # and they must span this factor
CURVES = ("heat_capacity", "heat_capacity_slope", "entropy")


def response_curve(
    scores: Float[Tensor, "*rows keys"],
    allowed: Bool[Tensor, "*#rows keys"],
    factors: Float64[np.ndarray, " factors"] = FACTORS,
) -> Float64[Tensor, "3 *rows factors"]:
    """C(lambda), dC / d ln lambda and S(lambda) of each row: nats^2, nats^2, nats.

    Args:
        scores: logits s, nats.
        allowed: the keys that a row sees, at least one.
        factors: lambda.

    Example:
        >>> import torch
        >>> flat = response_curve(torch.full((1, 8), 3.0), torch.ones(1, 8, dtype=torch.bool))
        >>> flat[0].abs().max().item(), round(flat[2, 0, 0].item(), 6)
        (0.0, 2.079442)
    """
    hidden = ~allowed
    centred = scores.double().masked_fill(hidden, -torch.inf)
    centred = (centred - centred.amax(-1, keepdim=True)).masked_fill(hidden, 0.0)
    curves = []
    for factor in factors:
        scaled = factor * centred
        weights = scaled.exp().masked_fill(hidden, 0.0)
        partition = weights.sum(-1, keepdim=True)
        weights = weights / partition
        mean = (weights * scaled).sum(-1, keepdim=True)
        gap = scaled - mean
        second = weights * gap.square()
        capacity = second.sum(-1)
        third = (second * gap).sum(-1)
        curves.append(torch.stack([capacity, 2 * capacity + third, (partition.log() - mean).squeeze(-1)]))
    return torch.stack(curves, -1)


def truncated_lengths(longest: int) -> np.ndarray:
    """Row lengths for finite-size scaling, geometric from `MINIMUM_KEYS` to the longest; none if they span too little.

    Example:
        >>> truncated_lengths(128), truncated_lengths(31)
        (array([  8,  16,  32,  64, 128]), array([], dtype=int64))
    """
    if longest < RANGE * MINIMUM_KEYS:
        return np.empty(0, dtype=np.int64)
    return np.geomspace(MINIMUM_KEYS, longest, LENGTHS).round().astype(np.int64)


class ResponseCollector:
    """Response curves of a sample of rows, whole and cut to their nearest keys, averaged by head, for one prompt."""

    def __init__(self, probe: Probe, attention: AttentionCollector, seed: int) -> None:
        self.probe = probe
        self._blocks: list[list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = []
        attention.score_listeners.append(self._reduce)

    def hooks(self) -> list[tuple[str, Hook]]:
        """None of its own: the attention collector hands over the scores."""
        return []

    def dataset(self) -> xr.Dataset:
        """Curves (sink, block, head, length, factor), the first length being the whole row; keys; variance of scores."""
        curves, keys, variance = (
            np.stack([[policy[i] for policy in block] for block in self._blocks], 1) for i in range(3)
        )  # (sink, block, ...)
        dims = ("sink", "block", "head", "length", "factor")
        return xr.Dataset(
            {
                **{name: (dims, curves[:, :, i]) for i, name in enumerate(CURVES)},
                "keys": (("sink", "block", "length"), keys),
                "variance": (("sink", "block", "head"), variance),
            },
            coords={"sink": ["excluded", "included"], "factor": FACTORS},
        )

    def _reduce(self, scores: Scores) -> None:
        policies = (sample_rows(scores, causal=self.probe.causal, sink=sink) for sink in (False, True))
        self._blocks.append([_curves_of(rows) for rows in policies])


def _curves_of(rows: SampledRows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean curves (3, head, length, factor), mean keys (length,) and mean unbiased variance (head,)."""
    heads = rows.scores.shape[0]
    curves = np.full((3, heads, 1 + LENGTHS, len(FACTORS)), np.nan)
    keys = np.full(1 + LENGTHS, np.nan)
    seen = rows.allowed.sum(-1)
    long = seen >= MINIMUM_KEYS
    if not long.any():
        return curves, keys, np.full(heads, np.nan)
    scores, allowed = rows.scores[:, long], rows.allowed[long]
    keys[0] = seen[long].double().mean().item()
    curves[:, :, 0] = _mean_over_rows(scores, allowed)
    for place, length in enumerate(truncated_lengths(int(seen[long].min()))):
        keys[1 + place] = length
        curves[:, :, 1 + place] = _mean_over_rows(scores[..., :length], allowed[:, :length])
    count = allowed.sum(-1)
    kept = scores.double() * allowed
    gap = (kept - kept.sum(-1, keepdim=True) / count[:, None]) * allowed
    return curves, keys, (gap.square().sum(-1) / (count - 1)).mean(-1).cpu().numpy()


def _mean_over_rows(scores: Tensor, allowed: Tensor) -> np.ndarray:
    return response_curve(scores, allowed).mean(2).cpu().numpy()
