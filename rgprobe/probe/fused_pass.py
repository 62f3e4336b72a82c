"""A pass whose attention runs on fused kernels, while queries and keys are handed over as they meet.

The bridges of transformer_lens spell attention out, so that scores and patterns can be hooked: N x N numbers per head, several
times over. Here the wrapped model's own attention modules run instead, and the function to which they hand queries and keys,
after rotary embeddings and norms of their own, is ours: `transformers` lets one be registered, and a mask function with it, so
that masks stay rules of positions. A gauge model hands over the features of its beliefs. Averages come from fused kernels.

What is hooked inside attention (values, rotated queries and keys) is served from here; scores and patterns do not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from rgprobe.errors import NumericalRefusal
from rgprobe.models.attention import Visibility, attend
from rgprobe.probe.model import Hook, Probe
from rgprobe.probe.scores import CoupledScores, Visible
from rgprobe.probe.tile_moments import Room

__all__ = ["Meeting", "stream_fused"]

IMPLEMENTATION = "rgprobe_fused"
# what transformers hands to an attention function besides, and what of it changes nothing here
HARMLESS = {"dropout", "scaling", "softcap", "sliding_window", "is_causal", "use_cache", "position_ids", "output_attentions",
            "cache_position"}  # fmt: skip


@dataclass(frozen=True)
class Meeting:
    """Queries and keys of one block, as they meet.

    Attributes:
        block: which.
        scores: what comes of them.
        values: (key head, token, width).
    """

    block: int
    scores: CoupledScores
    values: Float[Tensor, "key_heads size width"]


Receive = Callable[[Meeting], None]
Meet = Callable[[Tensor, Tensor, Tensor, Any, dict[str, Any]], Tensor]

_CURRENT: ContextVar[tuple[Probe, Meet]] = ContextVar("the pass under way")


def stream_fused(
    probe: Probe, ids: Int[Tensor, " tokens"], hooks: Sequence[tuple[str, Hook]], receive: Receive | None = None
) -> None:
    """One pass up to the last state, as `Probe.stream`, with memory linear in the number of tokens.

    Args:
        hooks: of states, feed-forward parts, beliefs, values, or rotated queries and keys.
        receive: called once for each block, in order.

    Raises:
        NumericalRefusal: this model's attention cannot be taken over, or scores or patterns are to be hooked; `received` says
            why.
    """
    for name, _ in hooks:
        if name.endswith(("hook_attn_scores", "hook_pattern")):
            raise _refusal(probe, f"a hook on {name}, which does not exist there")
    taken = _taking_over_gauge if probe.family == "gauge" else _taking_over_transformers
    with taken(probe, hooks, receive or _ignore) as left:
        probe.stream(ids, left)


def _ignore(meeting: Meeting) -> None:
    pass


@contextmanager
def _taking_over_gauge(
    probe: Probe, hooks: Sequence[tuple[str, Hook]], receive: Receive
) -> Iterator[list[tuple[str, Hook]]]:
    """`GaugeAttention.average` of every block replaced; over single keys, as when somebody looks at its pattern."""
    rules: dict[tuple[int, bool], Visible] = {}  # what is found out about a rule serves all blocks
    room = Room()
    with ExitStack() as stack:
        for block, module in enumerate(probe.bridge.blocks):
            average = _gauge_average(module.attn, block, receive, rules, room)
            stack.enter_context(_entry(module.attn.__dict__, "average", average))
        yield list(hooks)


def _gauge_average(
    attention: Any, block: int, receive: Receive, rules: dict[tuple[int, bool], Visible], room: Room
) -> Callable[..., Tensor]:
    # needs transformer_lens, which standard models are spared until they are loaded
    from rgprobe.models.gauge.attention import attend_to_visible, own_terms

    include_self, by_divergence = attention.config.include_self, attention.config.attention == "kl"

    def average(queries: Tensor, keys: Tensor, values: Tensor, prior: Tensor | None) -> Tensor:
        level = own_terms(queries, keys, prior)[0] if by_divergence else None
        size = queries.shape[-2]
        visible = rules.setdefault((size, include_self), Visible(_earlier if include_self else _strictly_earlier, size))
        receive(Meeting(block, CoupledScores(queries[0], keys[0], visible, level=level, room=room), values[0]))
        return attend_to_visible(queries, keys, values, include_self=include_self)

    return average


def _earlier(row: Tensor, key: Tensor) -> Tensor:
    return key <= row


def _strictly_earlier(row: Tensor, key: Tensor) -> Tensor:
    return (key < row) | ((row == 0) & (key == 0))  # the first token has nobody but itself


@contextmanager
def _taking_over_transformers(
    probe: Probe, hooks: Sequence[tuple[str, Hook]], receive: Receive
) -> Iterator[list[tuple[str, Hook]]]:
    """The wrapped model's attention modules in the place of the bridge's, and our function in theirs."""
    model, blocks = probe.bridge.original_model, list(probe.bridge.blocks)
    natives: list[Any] = [getattr(getattr(block, "attn", None), "original_component", None) for block in blocks]
    if not hasattr(model, "set_attn_implementation") or any(native is None for native in natives):
        raise _refusal(probe, "attention that is not that of transformers")
    names = {f"blocks.{block}.attn.{leaf}": leaf for block in range(len(blocks)) for leaf in _served_leaves(probe)}
    served: list[list[tuple[str, Hook]]] = [[] for _ in blocks]
    left = []
    for name, hook in hooks:
        if name in names:
            served[int(name.split(".")[1])].append((name, hook))
        else:
            left.append((name, hook))
    done: list[int] = []
    room = Room()

    def meet(queries: Tensor, keys: Tensor, values: Tensor, mask: Any, options: dict[str, Any]) -> Tensor:
        block = len(done)
        done.append(block)
        scores = _coupled(probe, queries, keys, mask, options, room)
        for name, hook in served[block]:
            carried = {"q": queries, "k": keys, "v": values}[_kind(name)]
            hook(carried.transpose(1, 2), hook=SimpleNamespace(name=name))
        if block < len(blocks):
            receive(Meeting(block, scores, values[0]))
        return _averages(scores, values).transpose(1, 2).contiguous()

    with ExitStack() as stack:
        for block, native in zip(blocks, natives, strict=True):
            # past the bridge's own __setattr__, which hands such attributes on to what it wraps
            stack.enter_context(_entry(block.attn.__dict__, "forward", native.forward))
        stack.enter_context(_implementation(model, probe, meet))
        yield left
        if len(done) != len(blocks):
            raise _refusal(probe, f"{len(done)} of {len(blocks)} blocks that hand over queries and keys")


def _served_leaves(probe: Probe) -> tuple[str, ...]:
    """Hook points inside attention that the bridge would have fired; they are served from here."""
    rotated = "blocks.0.attn.hook_rot_q" in probe.bridge.hook_dict
    return "hook_v", *(("hook_rot_q", "hook_rot_k") if rotated else ("q.hook_out", "k.hook_out", "hook_q", "hook_k"))


def _kind(name: str) -> str:
    leaf = name.split(".attn.")[1]
    return leaf.split(".")[0] if leaf.endswith("hook_out") else leaf[-1]


def _coupled(
    probe: Probe, queries: Tensor, keys: Tensor, mask: Any, options: dict[str, Any], room: Room
) -> CoupledScores:
    unknown = sorted(name for name, value in options.items() if name not in HARMLESS and value is not None)
    if unknown:
        raise _refusal(probe, f"attention that takes {', '.join(unknown)}")
    if queries.shape[0] != 1 or queries.shape[-2] != keys.shape[-2] or queries.shape[-1] != keys.shape[-1]:
        raise _refusal(probe, "queries and keys that do not come in pairs")
    if not isinstance(mask, Visible):
        raise _refusal(probe, "a mask that is no rule of positions")
    scale = options.get("scaling")
    return CoupledScores(
        queries[0], keys[0], mask, scale=float(queries.shape[-1] ** -0.5 if scale is None else scale),
        cap=options.get("softcap"), room=room,
    )  # fmt: skip


def _averages(scores: CoupledScores, values: Tensor) -> Tensor:
    """softmax(scores) values, (1, head, token, width)."""
    if scores.cap is not None or scores.visible.kind == "other":
        return scores.averages(values[0])[None]
    groups = scores.queries.shape[0] // scores.keys.shape[0]
    keys, values = (x.repeat_interleave(groups, 0) for x in (scores.keys, values[0]))
    return attend(scores.queries[None] * scores.scale, keys[None], values[None],
                  Visibility(causal=scores.visible.kind == "causal"))  # fmt: skip


@contextmanager
def _implementation(model: Any, probe: Probe, meet: Meet) -> Iterator[None]:
    """Our attention and mask functions, under a name of ours, for the time of a pass; without a cache of keys."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(IMPLEMENTATION, _attention)
    AttentionMaskInterface.register(IMPLEMENTATION, _mask)
    configs = {id(c): c for m in model.modules() if (c := getattr(m, "config", None)) is not None}
    token = _CURRENT.set((probe, meet))
    with ExitStack() as stack:
        stack.callback(_CURRENT.reset, token)
        for config in configs.values():
            if hasattr(config, "_attn_implementation_internal"):
                stack.enter_context(_entry(config.__dict__, "_attn_implementation_internal", IMPLEMENTATION))
            if getattr(config, "use_cache", None):
                stack.enter_context(_entry(config.__dict__, "use_cache", False))
        yield


def _attention(module: Any, queries: Tensor, keys: Tensor, values: Tensor, attention_mask: Any, **options: Any) -> Any:
    """What transformers calls; the pass that is under way does the work. Registered for good, it holds no model."""
    _, meet = _CURRENT.get()
    return meet(queries, keys, values, attention_mask, options), None


def _mask(*, q_length: int, mask_function: Callable[..., Tensor], attention_mask: Any = None, use_vmap: bool = False,
          q_offset: int = 0, kv_offset: int = 0, **rest: Any) -> Visible:  # fmt: skip
    """What transformers calls for a mask: the rule itself, not its N x N values."""
    probe, _ = _CURRENT.get()
    if attention_mask is not None or use_vmap or q_offset or kv_offset:
        raise _refusal(probe, "a mask that is no rule of positions")
    return Visible(lambda row, key: mask_function(0, 0, row, key), int(q_length))


def _refusal(probe: Probe, reason: str) -> NumericalRefusal:
    return NumericalRefusal(
        f"attention of {probe.name} on fused kernels", expected="queries, keys and a rule of masking, handed over",
        received=reason, remedy="use shorter prompts, or ask for no statistics of attention",
    )  # fmt: skip


@contextmanager
def _entry(attributes: dict[str, Any], name: str, value: Any) -> Iterator[None]:
    """An instance's attribute for a while; afterwards it is as it was, or absent."""
    missing = object()
    before = attributes.get(name, missing)
    attributes[name] = value
    try:
        yield
    finally:
        if before is missing:
            del attributes[name]
        else:
            attributes[name] = before
