"""The blocks of a model as maps of the residual stream, for the rows of token ids of one pass.

A block is called by itself with the arguments (mask, positions, frames) that the whole pass gave it, without the cache of keys.
Whether it then is the map it was in the pass is for the caller to check, on states that the pass has seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformers.cache_utils import Cache

from rgprobe.probe.model import Hook, Probe

__all__ = ["SAME", "BlockMap", "block_maps", "relative_error"]

BlockMap = Callable[[Tensor], Tensor]

SAME = 1e-4  # relative; a block called by itself must give the state that the whole pass gave


def block_maps(
    probe: Probe, rows: Int[Tensor, "rows tokens"], hooks: list[tuple[str, Hook]] | None = None
) -> tuple[BlockMap, ...]:
    """One pass of the rows with the given hooks; block l as a map of (rows, tokens, width), as many rows as the pass had."""
    calls: dict[int, tuple[tuple[Any, ...], dict[str, Any]]] = {}

    def remember(index: int) -> Callable[..., None]:
        return lambda module, args, kwargs: calls.__setitem__(index, (args, kwargs))

    modules = list(probe.bridge.blocks)
    handles = [
        module.register_forward_pre_hook(remember(index), with_kwargs=True) for index, module in enumerate(modules)
    ]
    try:
        probe.rows_to_last_state(rows, hooks or [])
    finally:
        for handle in handles:
            handle.remove()
    return tuple(_block_map(probe, module, *calls[index]) for index, module in enumerate(modules))


def relative_error(found: Tensor, target: Tensor) -> float:
    """Norm of the difference over that of the target; infinite for another shape."""
    return float((found - target).norm() / target.norm()) if found.shape == target.shape else float("inf")


def _block_map(probe: Probe, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> BlockMap:
    rest = tuple(_without_cache(arg) for arg in args[1:])
    named = {name: _without_cache(arg) for name, arg in kwargs.items() if name != "hidden_states"}

    def apply(x: Tensor) -> Tensor:
        with probe.evaluating():
            out = module(x, *rest, **named)
        return out[0] if isinstance(out, tuple) else out

    return apply


def _without_cache(argument: Any) -> Any:
    # a block that is called twice would find its own keys in the cache and attend to them
    return None if isinstance(argument, Cache) else argument
