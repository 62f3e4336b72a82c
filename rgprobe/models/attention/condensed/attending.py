"""Causal attention to meta-keys of the far past and to the keys of the near past."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from rgprobe.errors import OptionError
from rgprobe.models.attention.attending import attend
from rgprobe.models.attention.condensed.cover import Node, covers, span_weights, spans_before
from rgprobe.models.attention.condensed.options import Condensation
from rgprobe.models.attention.condensed.tree import KeyTree, grow
from rgprobe.models.attention.masking import Visibility

__all__ = ["active_keys", "check_condensable", "condense_any", "condensed_attend", "worth_condensing"]


def condensed_attend(
    queries: Float[Tensor, "B H N W"],
    keys: Float[Tensor, "B H N W"],
    values: Float[Tensor, "B H N D"],
    options: Condensation,
) -> Float[Tensor, "B H N D"]:
    r"""softmax(queries keys^T) values over a token and those before it, the far past merged within a budget.

    Time is O(N (chunk + span + meta_tokens log N)) where unions of spans stay within the budget, O(N^2) where nothing does.
    No output depends on a later token: spans are made of keys that end a chunk before the query's own, and which of them are
    merged or opened is decided by queries before its chunk. A head whose active keys, after `options.lead` tokens, would not
    fall below half is not condensed: it gets the numbers of flat attention, bit for bit, as does every input that is
    no longer than that. How far the result may be from flat attention: `meta_keys`.

    Args:
        queries: features; the last one is 1, and carries the bias of the keys.
        keys: features, log-prior included.
        values: of the keys.
        options: budget and grain.

    Returns:
        (B, H, N, D).

    Example:
        >>> import torch
        >>> x = torch.ones(1, 1, 64, 1)
        >>> values = torch.arange(64.0).reshape(1, 1, 64, 1)
        >>> out = condensed_attend(x, x, values, Condensation(budget=0.0, chunk=4, span=4, meta_tokens=1))
        >>> out[0, 0, -1].item()
        31.5
    """
    batch, heads, n, _ = values.shape
    if n <= options.lead:
        return attend(queries, keys, values, Visibility())
    q, k, v = (x.flatten(0, 1) for x in (queries, keys, values))
    chosen = worth_condensing(q, k, v, options)
    if not chosen.any():
        return attend(queries, keys, values, Visibility())
    if chosen.all():
        return _condensed(q, k, v, options).unflatten(0, (batch, heads))
    out = torch.empty_like(v)
    out[~chosen] = attend(q[~chosen], k[~chosen], v[~chosen], Visibility())
    out[chosen] = _condensed(q[chosen], k[chosen], v[chosen], options)
    return out.unflatten(0, (batch, heads))


def condense_any(queries: Tensor, keys: Tensor, values: Tensor, options: Condensation) -> Tensor:
    """`condensed_attend` for any leading dimensions, which broadcast."""
    lead = torch.broadcast_shapes(queries.shape[:-2], keys.shape[:-2], values.shape[:-2])
    q, k, v = (x.expand(*lead, *x.shape[-2:]).reshape(1, -1, *x.shape[-2:]) for x in (queries, keys, values))
    return condensed_attend(q, k, v, options).reshape(*lead, *values.shape[-2:])


def check_condensable(
    visibility: Visibility,
    prior: tuple[Tensor | None, object | None, Tensor | None],
    *,
    cold: bool,
    return_pattern: bool,
) -> None:
    """Refuse attention whose weights are not those of causal features alone.

    Args:
        visibility: who sees whom.
        prior: as `split_prior` gives it.
        cold: whether scores no longer resolve the temperature.
        return_pattern: whether single weights are asked for.

    Raises:
        OptionError: a window, no causality, a hidden token or self, a prior by offset or pair, a pattern, a cold kappa.
    """
    _, rest, live = prior
    asked = {
        "another visibility": visibility != Visibility(),
        "a log-prior by offset or pair": rest is not None,
        "keys that are hidden": live is not None,
        "a cold kappa": cold,
        "return_pattern=True": return_pattern,
    }
    if any(asked.values()):
        raise OptionError(
            "condense",
            expected="causal attention that includes the token, no window, a finite log-prior per key at most, no pattern",
            received=", ".join(name for name, here in asked.items() if here),
            remedy="leave condense out, or the rest",
        )


def active_keys(cover: tuple[Node, ...], options: Condensation) -> int:
    """Keys and meta-keys that a cover puts in place of the spans it stands for."""
    return sum(options.span if level < 0 else options.meta_tokens for level, _ in cover)


@torch.no_grad()
def worth_condensing(q: Tensor, k: Tensor, v: Tensor, options: Condensation) -> Tensor:
    """Heads whose first spans are covered by fewer than half as many keys."""
    chunk = options.lead // options.chunk
    chunks = range(chunk, chunk + 1)
    tree = grow(q, k, v[..., :0], options, spans_before(chunk, options))
    weights = span_weights(q, k, tree, chunks, options)
    found = covers(tree, weights, chunks, options)[0]
    past = spans_before(chunk, options) * options.span
    return torch.tensor([2 * active_keys(cover, options) < past for cover in found], device=q.device)


def _condensed(q: Tensor, k: Tensor, v: Tensor, options: Condensation) -> Tensor:
    n, lead, count = v.shape[-2], options.lead, math.ceil(v.shape[-2] / options.chunk)
    tree = grow(q, k, v, options, spans_before(count - 1, options))
    chunks = range(lead // options.chunk, count)
    found = covers(tree, span_weights(q, k, tree, chunks, options), chunks, options)
    biased = [level.biased_keys() for level in tree.levels]
    hidden = q.new_full((options.chunk, options.chunk), -torch.inf).triu(1)
    outputs = [attend(q[:, :lead], k[:, :lead], v[:, :lead], Visibility())]
    for chunk, per_head in zip(chunks, found, strict=True):
        first, last = chunk * options.chunk, min(n, (chunk + 1) * options.chunk)
        out = v.new_empty(len(v), last - first, v.shape[-1])
        for cover in dict.fromkeys(per_head):
            heads = [head for head, own in enumerate(per_head) if own == cover]
            some = slice(None) if len(heads) == len(per_head) else torch.tensor(heads, device=q.device)
            far_keys, far_values = _far(cover, biased, tree, k, v, some, options)
            near = slice(spans_before(chunk, options) * options.span, last)
            keys, values = torch.cat([*far_keys, k[some, near]], 1), torch.cat([*far_values, v[some, near]], 1)
            out[some] = _to_past(q[some, first:last], keys, values, hidden)
        outputs.append(out)
    return torch.cat(outputs, 1)


def _far(
    cover: tuple[Node, ...],
    biased: list[Tensor],
    tree: KeyTree,
    k: Tensor,
    v: Tensor,
    heads: slice | Tensor,
    options: Condensation,
) -> tuple[list[Tensor], list[Tensor]]:
    """Keys and values of the nodes of a cover, in order."""
    keys, values = [], []
    for level, node in cover:
        own = slice(node * options.span, (node + 1) * options.span)
        keys.append(k[heads, own] if level < 0 else biased[level][heads, node])
        values.append(v[heads, own] if level < 0 else tree.levels[level].values[heads, node])
    return keys, values


def _to_past(q: Tensor, keys: Tensor, values: Tensor, hidden: Tensor) -> Tensor:
    """Attention of a chunk whose own keys are the last ones; padded to one width, which the fused kernel wants."""
    rows, width = q.shape[-2], values.shape[-1]
    bias = pad(hidden[:rows, :rows], (keys.shape[-2] - rows, 0))
    size = max(q.shape[-1], width)
    q, keys, values = (pad(x, (0, size - x.shape[-1])).unsqueeze(0) for x in (q, keys, values))
    return scaled_dot_product_attention(q, keys, values, attn_mask=bias, scale=1.0)[0, ..., :width]
