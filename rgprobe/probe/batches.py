"""Activations of many short sequences of one length at once: for processes whose answer is known, not for prompts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from rgprobe.errors import PromptError
from rgprobe.probe.model import Probe

__all__ = ["activations", "batched_log_probabilities", "batched_states"]

ROWS = 64  # sequences per forward pass


def activations(
    probe: Probe, ids: Int[Tensor, "rows tokens"], names: Sequence[str], *, rows: int = ROWS
) -> dict[str, np.ndarray]:
    """What passes the named hook points, (rows, ...), float32 or better, for sequences of one length without padding.

    Everything is held: this is for small models. `rgprobe.trace` streams.

    Args:
        probe: from `rgprobe.load`.
        ids: token ids; every row is a whole sequence.
        names: hook points, such as "blocks.0.attn.hook_pattern".
        rows: sequences per forward pass.

    Raises:
        PromptError: no sequence, an id outside the vocabulary, or sequences longer than the context.

    Example:
        >>> import rgprobe as rg
        >>> found = activations(rg.load("standard-small", device="cpu"), torch.tensor([[0, 5, 7]]), ["blocks.1.attn.hook_v"])
        >>> found["blocks.1.attn.hook_v"].shape
        (1, 3, 8, 16)
    """
    _check(probe, ids)
    kept: dict[str, list[np.ndarray]] = {name: [] for name in names}

    # a hook point may answer to several names: each is kept under the one it was asked for
    def keep(tensor: Tensor, hook: Any, *, name: str) -> None:
        kept[name].append(tensor.to(torch.promote_types(tensor.dtype, torch.float32)).cpu().numpy().copy())

    with torch.inference_mode():
        for part in ids.split(rows):
            hooks = [(name, partial(keep, name=name)) for name in kept]
            probe.bridge.run_with_hooks(part.to(probe.device), fwd_hooks=hooks, return_type=None)
    return {name: np.concatenate(parts) for name, parts in kept.items()}


def batched_states(probe: Probe, ids: Int[Tensor, "rows tokens"]) -> np.ndarray:
    """Residual states of every token, (state, rows, tokens, width), from the input end to the output end.

    Raises:
        PromptError: as `activations`.
    """
    names = [probe.state_hook(state) for state in range(probe.n_blocks + 1)]
    found = activations(probe, ids, names)
    return np.stack([found[name] for name in names])


def batched_log_probabilities(probe: Probe, states: np.ndarray) -> np.ndarray:
    """Log-probabilities of the next token from residual states (..., width) through the model's own readout, float64."""
    flat = torch.from_numpy(states.reshape(-1, states.shape[-1])).to(probe.device)
    logits = probe.readout(flat).double()
    return np.asarray(logits.log_softmax(-1).cpu()).reshape(*states.shape[:-1], -1)


def _check(probe: Probe, ids: Tensor) -> None:
    if not ids.numel():
        raise PromptError("ids", expected="at least one sequence of one token", received=str(tuple(ids.shape)),
                          remedy="sample some")  # fmt: skip
    if int(ids.min()) < 0 or int(ids.max()) >= probe.vocabulary:
        raise PromptError("ids", expected=f"token ids in 0..{probe.vocabulary - 1}", received=f"id {int(ids.max())}",
                          remedy="shift tokens with rgprobe.models.sequence_training.sequence_ids")  # fmt: skip
    if probe.context is not None and ids.shape[1] > probe.context:
        raise PromptError("ids", expected=f"at most {probe.context} tokens", received=f"{ids.shape[1]}",
                          remedy="cut the sequences")  # fmt: skip
