"""Recorded activations of a batch, by hook name, as activations of single prompts without padding."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rgprobe.errors import BadInput

__all__ = ["BLOCK", "rows_of_cache"]

BLOCK = re.compile(r"blocks\.(\d+)\.(.+)")
DIMENSIONS = {  # how many a tensor has without the batch, and which of them are tokens
    "hook_resid_pre": (2, (0,)), "hook_resid_mid": (2, (0,)), "hook_resid_post": (2, (0,)), "mlp.hook_post": (2, (0,)),
    "attn.hook_attn_scores": (3, (1, 2)), "attn.hook_pattern": (3, (1, 2)),
    **{f"attn.{name}": (3, (0,)) for name in ("hook_q", "hook_k", "hook_v", "hook_rot_q", "hook_rot_k")},
}  # fmt: skip


def rows_of_cache(cache: Any, mask: Any = None) -> list[dict[str, Tensor]]:
    """The activations of each prompt by itself, cut to its tokens.

    Args:
        cache: an `ActivationCache`, or a mapping of hook names to tensors or arrays, (B, ...) or without the batch; names that
            are not of a block, or whose shape is not known, are passed over.
        mask: (B, N), 1 for tokens and 0 for padding, left or right; None: every token counts.

    Raises:
        BadInput: no activation of a block, a NaN or infinity in a state, or shapes that do not go together.

    Example:
        >>> rows = rows_of_cache({"blocks.0.hook_resid_pre": torch.ones(2, 3, 4)}, mask=[[1, 1, 1], [0, 1, 1]])
        >>> [row["blocks.0.hook_resid_pre"].shape for row in rows]
        [torch.Size([3, 4]), torch.Size([2, 4])]
    """
    known = {name: _batched(name, tensor) for name, tensor in dict(cache.items()).items() if _leaf(name) in DIMENSIONS}
    if not known:
        raise BadInput(
            "cache", expected="activations by hook name, such as blocks.0.hook_resid_post",
            received=", ".join(map(str, list(cache.keys())[:3])) or "nothing", remedy="rename what you recorded",
        )  # fmt: skip
    sizes = {name: (tensor.shape[0], *_token_sizes(name, tensor)) for name, tensor in known.items()}
    first, size = next(iter(sizes.items()))
    for name, other in sizes.items():
        if other[0] != size[0] or set(other[1:]) != {size[1]}:
            raise BadInput(
                name, expected=f"{size[0]} prompts of {size[1]} tokens, as {first}",
                received=str(tuple(known[name].shape)), remedy="record all activations in the same pass",
            )  # fmt: skip
    keep = _mask(mask, size[0], size[1])
    return [{name: _cut(name, tensor[row], keep[row]) for name, tensor in known.items()} for row in range(size[0])]


def _leaf(name: Any) -> str:
    found = BLOCK.fullmatch(str(name))
    return found[2] if found else ""


def _batched(name: str, values: Any) -> Tensor:
    tensor = torch.as_tensor(np.asarray(values) if not isinstance(values, Tensor) else values).detach().cpu()
    dimensions, _ = DIMENSIONS[_leaf(name)]
    if tensor.ndim not in (dimensions, dimensions + 1) or not tensor.is_floating_point():
        raise BadInput(
            name, expected=f"{dimensions} dimensions and a batch, floating", remedy="record it as the hook gives it",
            received=f"{tuple(tensor.shape)} of {str(tensor.dtype).removeprefix('torch.')}",
        )  # fmt: skip
    if "resid" in name and not bool(tensor.isfinite().all()):
        where = tuple((~tensor.isfinite()).nonzero()[0].tolist())
        raise BadInput(name, expected="finite states", received=f"{tensor[where]} at {where}", remedy="record it again")
    return tensor if tensor.ndim == dimensions + 1 else tensor[None]


def _token_sizes(name: str, tensor: Tensor) -> list[int]:
    return [tensor.shape[1 + axis] for axis in DIMENSIONS[_leaf(name)][1]]


def _mask(mask: Any, prompts: int, tokens: int) -> Tensor:
    keep = torch.ones(prompts, tokens) if mask is None else torch.atleast_2d(torch.as_tensor(mask))
    keep = keep.cpu() > 0
    if keep.shape != (prompts, tokens) or not bool(keep.any(1).all()):
        raise BadInput(
            "mask", expected=f"({prompts}, {tokens}), at least one token in every row", received=str(tuple(keep.shape)),
            remedy="pass the attention mask that the model was given",
        )  # fmt: skip
    return keep


def _cut(name: str, tensor: Tensor, keep: Tensor) -> Tensor:
    for axis in DIMENSIONS[_leaf(name)][1]:
        tensor = tensor.index_select(axis, keep.nonzero()[:, 0])
    return tensor
