"""Beliefs, their features and the softmax over them are float32 at least, whatever the rest of the model computes in.

A feature stored in bfloat16 errs by parts in a hundred, and a score is a difference of features.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["full_precision", "wide"]


def wide(x: Tensor) -> Tensor:
    """`x` in float32, or float64 if it already is.

    Example:
        >>> import torch
        >>> wide(torch.ones(1, dtype=torch.bfloat16)).dtype, wide(torch.ones(1, dtype=torch.float64)).dtype
        (torch.float32, torch.float64)
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))


def full_precision(like: Tensor) -> torch.autocast:
    """Context in which autocast leaves products alone."""
    return torch.autocast(like.device.type, enabled=False)
