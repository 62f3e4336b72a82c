"""What functions of beliefs are called with."""

from __future__ import annotations

from typing import Any

from rgprobe.errors import BadInput
from rgprobe.gaussian.record import Gaussian

__all__ = ["check_gaussian"]


def check_gaussian(name: str, belief: Any) -> None:
    """Refuse what is not a `Gaussian`, such as its mean alone.

    Raises:
        BadInput: names the argument and what came.

    Example:
        >>> import torch
        >>> check_gaussian("p", torch.zeros(3, 2))
        Traceback (most recent call last):
        rgprobe.errors.BadInput: p: expected a Gaussian, received Tensor; make one, as with Gaussian.from_covariance
    """
    if not isinstance(belief, Gaussian):
        raise BadInput(name, expected="a Gaussian", received=type(belief).__name__,
                       remedy="make one, as with Gaussian.from_covariance")  # fmt: skip
