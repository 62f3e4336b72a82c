"""Passes with something changed halfway: predictions of several copies of a prompt, each perturbed in its own way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float64, Int
from torch import Tensor

from rgprobe.probe.model import Hook, Probe

__all__ = ["changed_predictions", "evenly_spaced"]


@torch.inference_mode()
def changed_predictions(
    probe: Probe,
    ids: Int[Tensor, " tokens"],
    at: Int[Tensor, " scored"],
    *,
    point: str | None = None,
    change: Callable[[Tensor], Tensor] | None = None,
    copies: int = 1,
) -> Float64[Tensor, "copies scored vocabulary"]:
    """Log-probabilities of the next token where one hook point of each copy of a prompt carries something else.

    Args:
        probe: the model.
        ids: one prompt.
        at: tokens whose predictions are wanted.
        point: the hook point; None for the pass as it is.
        change: from what passes there in all copies, (copies, ...), to what shall pass instead, each copy its own.
        copies: how many run at once.
    """

    def hook(tensor: Tensor, hook: Any) -> Tensor | None:
        return None if change is None else change(tensor).to(tensor.dtype)

    hooks: list[tuple[str, Hook]] = [] if point is None else [(point, hook)]
    with probe.evaluating():
        rows = ids.expand(copies, -1).to(probe.device)
        logits = probe.bridge.run_with_hooks(rows, fwd_hooks=hooks, return_type="logits")[:, at.to(rows.device)]
    return logits.double().log_softmax(-1).cpu()


def evenly_spaced(count: int, most: int) -> tuple[int, ...]:
    """At most `most` of 0 ... count - 1, both ends among them.

    Example:
        >>> evenly_spaced(7, 7), evenly_spaced(31, 5)
        ((0, 1, 2, 3, 4, 5, 6), (0, 8, 15, 22, 30))
    """
    return (
        tuple(sorted({round(i * (count - 1) / max(most - 1, 1)) for i in range(most)}))
        if count > most
        else tuple(range(count))
    )
