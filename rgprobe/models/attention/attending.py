"""Dot-product attention over features: through the fused kernels, in blocks where a window allows, or spelled out.

PyTorch's fused CPU kernel wants queries, keys and values of one width. Values are padded with zeros up to it: the other
path is slower and writes the N x N pattern to memory.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from rgprobe.models.attention.masking import Visibility
from rgprobe.models.attention.priors import HIDDEN, PairPrior, RelativePrior

__all__ = ["additive_mask", "attend", "attention_pattern"]

# A block shorter than this spends its time on overhead rather than on products.
SHORTEST_BLOCK = 32


def attend(
    queries: Float[Tensor, "*#batch N W"],
    keys: Float[Tensor, "*#batch N W"],
    values: Float[Tensor, "*#batch N D"],
    visibility: Visibility,
    *,
    prior: RelativePrior | PairPrior | None = None,
    live: Bool[Tensor, "*#batch N"] | None = None,
) -> Float[Tensor, "..."]:
    """softmax(queries keys^T + prior) values over the visible keys, without a pattern in memory where none is needed.

    Memory is linear in N when causal or bidirectional attention includes the token itself, when causal attention
    excludes it, and with a window (cost then grows as N times the window). An N x N mask is built for `PairPrior`, for
    `RelativePrior` without a window, and for bidirectional attention that excludes the token.

    Args:
        queries: features, temperature included.
        keys: features, per-key prior included.
        values: (..., N, D).
        visibility: which keys a query sees.
        prior: by offset or per pair, on top.
        live: keys that are not hidden by a prior of -inf; None for all.

    Returns:
        (..., N, D); NaN in rows that see no key, with no gradient from them.

    Example:
        >>> import torch
        >>> x = torch.ones(3, 1)
        >>> attend(x, x, torch.tensor([[0.0], [2.0], [4.0]]), Visibility()).flatten().tolist()
        [0.0, 1.0, 2.0]
    """
    n = keys.shape[-2]
    lead = torch.broadcast_shapes(queries.shape[:-2], keys.shape[:-2], values.shape[:-2])
    queries, keys, values = (x.expand(*lead, *x.shape[-2:]) for x in (queries, keys, values))
    windowed = visibility.window is not None and visibility.window < n
    if windowed and not isinstance(prior, PairPrior):
        return _windowed(queries, keys, values, visibility, prior, live)
    if prior is not None or windowed or not (visibility.causal or visibility.include_self):
        bias, dead = additive_mask(visibility, prior, live, queries)
        return _fused(queries, keys, values, bias=bias).masked_fill(dead.unsqueeze(-1), torch.nan)
    if visibility.include_self:
        out = _fused(queries, keys, values, causal=visibility.causal)
    else:  # strictly causal: query i against keys up to i - 1, so the sequences are shifted by one
        # filled, not made anew: the graph stays connected, so that a sequence of one token can be differentiated too
        out = values[..., :1, :].masked_fill(values.new_ones((), dtype=torch.bool), torch.nan)
        if n > 1:
            out = torch.cat([out, _fused(queries[..., 1:, :], keys[..., :-1, :], values[..., :-1, :], causal=True)], -2)
    if live is None:
        return out
    return out.masked_fill(visibility.rows_without_keys(n, live).unsqueeze(-1), torch.nan)


def attention_pattern(
    queries: Float[Tensor, "*#batch N W"],
    keys: Float[Tensor, "*#batch N W"],
    visibility: Visibility,
    *,
    prior: RelativePrior | PairPrior | None = None,
    live: Bool[Tensor, "*#batch N"] | None = None,
) -> Float[Tensor, "*batch N N"]:
    """The weights that `attend` uses, spelled out; NaN in rows that see no key.

    Example:
        >>> import torch
        >>> x = torch.ones(2, 1)
        >>> attention_pattern(x, x, Visibility()).tolist()
        [[1.0, 0.0], [0.5, 0.5]]
    """
    bias, dead = additive_mask(visibility, prior, live, queries)
    weights = torch.softmax(queries @ keys.mT + bias, -1)
    return weights.masked_fill(dead.unsqueeze(-1), torch.nan)


def additive_mask(
    visibility: Visibility, prior: RelativePrior | PairPrior | None, live: Tensor | None, like: Tensor
) -> tuple[Tensor, Tensor]:
    """Additive mask (..., N, N), and the rows it leaves without a key, whose own mask is lifted."""
    n = like.shape[-2]
    position = torch.arange(n, device=like.device)
    query, key = position[:, None], position
    visible = visibility.between(query, key)
    values = prior.values if isinstance(prior, PairPrior) else None
    if isinstance(prior, RelativePrior):
        values = prior.at(query - key, n)
    bias, seen = _lifted(values, visible, like)
    return bias, ~(seen if live is None else seen & live.unsqueeze(-2)).any(-1)


def _lifted(values: Tensor | None, visible: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """-inf where not visible, and what is seen; rows that see nothing get zeros, so that no softmax is undefined."""
    if values is None:
        values = like.new_zeros(visible.shape)
    bias = values.to(like.dtype).masked_fill(~visible, -torch.inf)
    seen = bias.detach() > -torch.inf
    return bias.masked_fill(~seen.any(-1, keepdim=True), 0.0), seen


def _windowed(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    visibility: Visibility,
    prior: RelativePrior | None,
    live: Tensor | None,
) -> Tensor:
    """Blocks as long as the reach: a query sees its own block and its neighbours, and one mask serves all blocks.

    Keys beyond the ends are hidden by a feature of their own, so that the mask need not know of the ends.
    """
    lead, n, reach = keys.shape[:-2], keys.shape[-2], visibility.window or 0
    length = max(reach - 1, SHORTEST_BLOCK)
    count = math.ceil(n / length)
    sides = 2 if visibility.causal else 3
    row = torch.arange(length, device=keys.device).unsqueeze(-1) + length
    column = torch.arange(sides * length, device=keys.device)
    table = None if prior is None else prior.at(row - column, n)
    bias, seen = _lifted(table, visibility.between(row, column), queries)
    inside = queries.new_zeros(n, 1)
    ends = _neighbours(inside, length, count, sides, fill=HIDDEN)
    own = pad(queries, (0, 1, 0, count * length - n), value=1.0).unflatten(-2, (count, length))
    near = _neighbours(keys, length, count, sides)
    near = torch.cat([near, ends.expand(*near.shape[:-1], 1)], -1)
    shared = bias if bias.ndim == 2 else bias.unsqueeze(-3)
    out = _fused(own, near, _neighbours(values, length, count, sides), bias=shared)
    out = out.reshape(*lead, count * length, values.shape[-1])[..., :n, :]
    if prior is None:
        dead = visibility.rows_without_keys(n, live).to(out.device)
    else:
        seen = seen.unsqueeze(-3) & (ends.mT == 0)
        if live is not None:
            seen = seen & _neighbours(live.unsqueeze(-1), length, count, sides).mT
        dead = ~seen.any(-1).flatten(-2)[..., :n]
    return out.masked_fill(dead.unsqueeze(-1), torch.nan)


def _neighbours(x: Tensor, length: int, count: int, sides: int, fill: float = 0.0) -> Tensor:
    """Each block with its neighbours, (..., blocks, sides * length, W): the one before, itself and, of three, the next."""
    n = x.shape[-2]
    padded = pad(x, (0, 0, length, (count + sides - 2) * length - n), value=fill)
    blocks = padded.unflatten(-2, (count + sides - 1, length))
    return torch.cat([blocks[..., side : side + count, :, :] for side in range(sides)], -2)


def _fused(
    queries: Tensor, keys: Tensor, values: Tensor, *, bias: Tensor | None = None, causal: bool = False
) -> Tensor:
    """`scaled_dot_product_attention` without a scale, in the four dimensions and the one width its CPU kernel wants."""
    lead, features = queries.shape[:-2], values.shape[-1]
    if queries.device.type == "cpu":
        width = max(queries.shape[-1], features)
        queries, keys, values = (pad(x, (0, width - x.shape[-1])) for x in (queries, keys, values))
    if bias is not None and bias.ndim > 2:
        bias = _four(bias.expand(*lead, *bias.shape[-2:]))
    out = scaled_dot_product_attention(
        _four(queries), _four(keys), _four(values), attn_mask=bias, is_causal=causal, scale=1.0
    )
    return out[..., :features].reshape(*lead, queries.shape[-2], features)


def _four(x: Tensor) -> Tensor:
    """(..., N, W) with exactly two dimensions in front."""
    lead = x.shape[:-2]
    if len(lead) == 2:
        return x
    if len(lead) < 2:
        return x.reshape(*(1,) * (2 - len(lead)), *x.shape)
    return x.flatten(0, len(lead) - 2)
