"""Attention at temperatures below the rounding of the scores: the least KL wins, equal ones share."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rgprobe.models.attention.attending import additive_mask
from rgprobe.models.attention.masking import Visibility
from rgprobe.models.attention.priors import PairPrior, RelativePrior

__all__ = ["cold_pattern"]

# Divergences closer than this many units in the last place of their largest term count as equal.
TIE = 64


def cold_pattern(
    queries: Float[Tensor, "*#batch N W"],
    keys: Float[Tensor, "*#batch N W"],
    tau: Float[Tensor, "..."],
    visibility: Visibility,
    *,
    key_prior: Float[Tensor, "*#batch N"] | None = None,
    prior: RelativePrior | PairPrior | None = None,
    live: Bool[Tensor, "*#batch N"] | None = None,
) -> Float[Tensor, "*batch N N"]:
    """Weights from features at tau = 1, for tau as small as may be; spelled out, O(N^2) memory.

    Per row the least divergence is subtracted before the division by tau, and differences within rounding are zero, so
    that neither overflow nor rounding chooses among equals.

    Args:
        queries: mean parameters, float64, not divided by tau.
        keys: natural parameters and -A.
        tau: broadcasts against (..., N, N).
        visibility: which keys a query sees.
        key_prior: log pi_j.
        prior: by offset or per pair.
        live: keys that are not hidden; None for all.

    Example:
        >>> import torch
        >>> from rgprobe.models.attention.features import DiagonalBlock, attention_features
        >>> block = DiagonalBlock(torch.tensor([[0.0], [0.0], [1.0]]).double(), torch.ones(3, 1).double())
        >>> weights = cold_pattern(*attention_features([block], 1.0), torch.tensor(1e-200), Visibility(causal=False))
        >>> weights.tolist()
        [[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]
    """
    bias, dead = additive_mask(visibility, prior, live, queries)
    scores = queries @ keys.mT
    hidden = bias.detach() == -torch.inf
    if live is not None:
        hidden = hidden | ~live.unsqueeze(-2)
    allowed = scores.masked_fill(hidden & ~dead.unsqueeze(-1), -torch.inf)
    gap = allowed.amax(-1, keepdim=True) - scores
    size = queries.detach().norm(dim=-1, keepdim=True) * keys.detach().norm(dim=-1).amax(-1)[..., None, None]
    gap = gap.masked_fill(gap <= TIE * torch.finfo(gap.dtype).eps * size, 0.0)
    smallest = torch.finfo(gap.dtype).tiny
    logits = bias - (gap / tau.to(gap.dtype).clamp_min(smallest)).clamp_max(1e30)
    if key_prior is not None:
        logits = logits + key_prior.unsqueeze(-2)
    return torch.softmax(logits, -1).masked_fill(dead.unsqueeze(-1), torch.nan)
