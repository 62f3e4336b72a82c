"""Diagonal and isotropic beliefs as natural parameters, Lambda mu and Lambda, which pooling averages, and back."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from rgprobe.models.attention.features import DiagonalBlock, IsotropicBlock

__all__ = ["block_of", "natural"]


def natural(block: DiagonalBlock | IsotropicBlock) -> Float[Tensor, "*batch P"]:
    """Lambda mu and Lambda, side by side: P = 2K, or K + 1 with one precision for all coordinates.

    Example:
        >>> natural(DiagonalBlock(torch.tensor([[1.0, 3.0]]), torch.tensor([[0.5, 1.0]]))).tolist()
        [[2.0, 3.0, 2.0, 1.0]]
    """
    precision = block.variance.reciprocal()
    return torch.cat([precision * block.mean, precision], -1)


def block_of(parameters: Float[Tensor, "*batch P"], width: int) -> DiagonalBlock | IsotropicBlock:
    """The beliefs with these natural parameters, of which the first `width` = K are linear.

    Example:
        >>> block = block_of(torch.tensor([[2.0, 3.0, 0.5]]), 2)
        >>> type(block).__name__, block.mean.tolist(), block.variance.tolist()
        ('IsotropicBlock', [[4.0, 6.0]], [[2.0]])
    """
    linear, precision = parameters.split([width, parameters.shape[-1] - width], -1)
    kind = IsotropicBlock if precision.shape[-1] == 1 < width else DiagonalBlock
    return kind(linear / precision, precision.reciprocal())
