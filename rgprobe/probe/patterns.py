"""Whole attention patterns of short prompts, for what compares them between models; nothing else keeps them."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rgprobe.errors import OptionError
from rgprobe.probe.model import Probe

__all__ = ["LONGEST", "attention_patterns"]

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
    if len(ids) > LONGEST:
        raise OptionError("ids", expected=f"at most {LONGEST} tokens", received=str(len(ids)), remedy="cut the prompt")
    kept: dict[int, Tensor] = {}

    def keeper(block: int) -> Any:
        def keep(tensor: Tensor, hook: Any) -> None:
            kept[block] = tensor[0].float().cpu()

        return keep

    probe.stream(ids, [(f"blocks.{block}.attn.hook_pattern", keeper(block)) for block in range(probe.n_blocks)])
    return torch.stack([kept[block] for block in range(probe.n_blocks)])
