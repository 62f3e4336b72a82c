"""Whole attention patterns of short prompts, for what compares them between models; nothing else keeps them."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from rgprobe.errors import OptionError
from rgprobe.probe.model import Probe

__all__ = ["LONGEST", "attention_patterns", "attention_slopes", "next_token_loss"]

LONGEST = 256  # tokens: all patterns are held at once


@torch.inference_mode()
def attention_patterns(probe: Probe, ids: Int[Tensor, " n"]) -> Float[Tensor, "block head n n"]:
    """Attention weights of every head, float32, on the CPU.

    Args:
        probe: the model.
        ids: token ids of one prompt, at most 256.

    Raises:
        OptionError: a longer prompt.

    Example:
        >>> from rgprobe.probe.loading import load
        >>> patterns = attention_patterns(load("gauge-small", device="cpu"), torch.arange(5, 12))
        >>> patterns.shape, bool(torch.allclose(patterns.sum(-1), torch.ones(()), atol=1e-5))
        (torch.Size([6, 8, 7, 7]), True)
    """
    _require_short(ids)
    kept: dict[int, Tensor] = {}

    def keeper(block: int) -> Any:
        def keep(tensor: Tensor, hook: Any) -> None:
            kept[block] = tensor[0].float().cpu()

        return keep

    probe.stream(ids, [(f"blocks.{block}.attn.hook_pattern", keeper(block)) for block in range(probe.n_blocks)])
    return torch.stack([kept[block] for block in range(probe.n_blocks)])


def attention_slopes(
    probe: Probe, ids: Int[Tensor, " n"]
) -> tuple[Float[Tensor, "block head n n"], Float[Tensor, "block head n n"]]:
    """Attention weights of every head, and what the prompt's own loss would gain by moving each: dL/d alpha, on the CPU.

    L is the mean next-token cross-entropy of the prompt, nats per token. A weight is moved by itself, its row no longer
    summing to 1, and everything behind it is recomputed; keys that a row does not see have slopes as well, of no meaning.

    Args:
        probe: a causal model.
        ids: token ids of one prompt, 2 to 256.

    Raises:
        OptionError: a longer or shorter prompt, or a model that predicts no next token.

    Example:
        >>> from rgprobe.probe.loading import load
        >>> patterns, slopes = attention_slopes(load("gauge-small", device="cpu"), torch.arange(5, 12))
        >>> slopes.shape == patterns.shape, bool(slopes.abs().max() > 0)
        (True, True)
    """
    _require_short(ids)
    if len(ids) < 2 or not probe.causal:
        raise OptionError("ids", expected="at least 2 tokens of a causal model", received=f"{len(ids)} of {probe.name}",
                          remedy="pass a text that has a next token to predict")  # fmt: skip
    kept: list[Tensor] = []
    added: list[Tensor] = []

    def move(tensor: Tensor, hook: Any) -> Tensor:
        # a zero that gradients are taken with respect to: weights may be frozen, and then nothing else is in the graph
        added.append(torch.zeros_like(tensor).requires_grad_())
        kept.append(tensor.detach()[0].float().cpu())
        return tensor + added[-1]

    hooks = [(f"blocks.{block}.attn.hook_pattern", move) for block in range(probe.n_blocks)]
    ids = ids.to(probe.device)
    with torch.inference_mode(False), torch.enable_grad(), probe.evaluating():
        logits = probe.bridge.run_with_hooks(ids.clone()[None], fwd_hooks=hooks, return_type="logits")[0]
        slopes = torch.autograd.grad(next_token_loss(logits, ids), added)
    return torch.stack(kept), torch.stack([each[0].float().cpu() for each in slopes])


def next_token_loss(logits: Float[Tensor, "n vocabulary"], ids: Int[Tensor, " n"]) -> Float64[Tensor, ""]:
    """Mean cross-entropy of each next token, nats, differentiable; `Probe.loss` is the same number, of a text of any length.

    Example:
        >>> round(float(next_token_loss(torch.zeros(3, 4), torch.tensor([0, 1, 2]))), 6)  # ln 4
        1.386294
    """
    return -logits.double().log_softmax(-1)[:-1].gather(-1, ids[1:, None]).mean()


def _require_short(ids: Int[Tensor, " n"]) -> None:
    if len(ids) > LONGEST:
        raise OptionError("ids", expected=f"at most {LONGEST} tokens", received=str(len(ids)), remedy="cut the prompt")
