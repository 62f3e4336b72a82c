"""Products of many small matrices, in the layout that costs least: forward and backward."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

__all__ = ["matvec", "shared_product"]


def matvec(matrix: Float[Tensor, "*#batch J K"], vector: Float[Tensor, "*#batch K"]) -> Float[Tensor, "..."]:
    """A x per token. Elementwise, because the batched outer products of its backward are several times slower as matmul.

    Example:
        >>> import torch
        >>> matvec(torch.tensor([[[0.0, 1.0], [1.0, 0.0]]]), torch.tensor([[3.0, 4.0]])).tolist()
        [[4.0, 3.0]]
    """
    return (matrix * vector.unsqueeze(-2)).sum(-1)


def shared_product(x: Float[Tensor, "*#batch N J K"], matrix: Float[Tensor, "*#batch K M"]) -> Float[Tensor, "..."]:
    """x_j A with one A for all tokens: one product instead of N.

    Example:
        >>> import torch
        >>> shared_product(torch.ones(5, 2, 2), torch.eye(2)).shape
        torch.Size([5, 2, 2])
    """
    return (x.flatten(-3, -2) @ matrix).unflatten(-2, x.shape[-3:-1])
