"""The readout of a model: the map from a residual state to logits, found by trying and proven by comparison.

Architectures end differently: a final norm and an unembedding, a soft cap on the logits, a masked-language-model head
with a transform of its own. Rather than trust a table of names, candidates are applied to the model's own last state and
the one that reproduces the model's own logits is kept. The final norm acts on each state with that state's own scale;
dividing every layer by the last layer's scale would manufacture a falling entropy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["find_readout"]

Readout = Callable[[Tensor], Tensor]


def find_readout(bridge: Any, last_state: Tensor, logits: Tensor) -> Readout | None:
    """The first candidate readout that turns the last state into the model's logits, or None.

    Args:
        bridge: a TransformerBridge.
        last_state: (..., d) residual state at the output end.
        logits: (..., V) what the model made of it.
    """
    scale = logits.abs().max().clamp_min(1e-6)
    for readout in _candidates(bridge):
        try:
            made = readout(last_state)
        except (AttributeError, TypeError, RuntimeError):
            continue  # this architecture has no such head
        if made.shape == logits.shape and bool((made - logits).abs().max() <= 1e-3 * scale):
            return readout
    return None


def _candidates(bridge: Any) -> list[Readout]:
    cap = getattr(bridge.cfg, "output_logits_soft_cap", None) or 0.0

    def normalised(state: Tensor) -> Tensor:
        return bridge.unembed(bridge.ln_final(state))

    def capped(state: Tensor) -> Tensor:
        return cap * torch.tanh(normalised(state) / cap)

    def bare(state: Tensor) -> Tensor:
        return bridge.unembed(state)

    def head(name: str) -> Readout:
        return lambda state: getattr(bridge.original_model, name)(state)

    return [normalised, *([capped] if cap > 0 else []), bare, head("cls"), head("lm_head"), head("head")]
