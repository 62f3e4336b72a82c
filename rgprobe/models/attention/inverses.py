"""Inverses with their log determinants, and gradients that cost two products instead of a factorisation.

Both backward passes are written with differentiable operations on the saved inverse, so they differentiate again.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd import Function

__all__ = ["frame_inverse", "is_rotation", "spd_inverse"]


def frame_inverse(
    frame: Float[Tensor, "*batch K K"], *, orthogonal: bool = False
) -> tuple[Float[Tensor, "*batch K K"], Float[Tensor, "*batch"]]:
    """U^-1 and log |det U|, with the gradient of the inverse over *all* matrices, also where U is a rotation.

    A rotation, known to rounding, is inverted by its transpose and one Newton step, T = U^T - (U^T U - 1) U^T, whose
    error is the square of the rounding; anything else by LU. A singular frame gives infinities or NaN, for the caller to
    refuse.

    Args:
        frame: U, (..., K, K).
        orthogonal: U is a rotation, to the square root of its precision or better (see `is_rotation`).

    Example:
        >>> import torch
        >>> inverse, log_det = frame_inverse(torch.tensor([[2.0, 0.0], [0.0, 1.0]]))
        >>> inverse.diagonal().tolist(), round(log_det.item(), 6)
        ([0.5, 1.0], 0.693147)
    """
    return _FrameInverse.apply(frame, orthogonal)


def is_rotation(frame: Float[Tensor, "*batch K K"], tolerance: float | None = None) -> Bool[Tensor, "*batch"]:
    """Whether each U^T U is the identity, entry by entry, within a tolerance (default: enough for one Newton step).

    Example:
        >>> import torch
        >>> is_rotation(torch.stack([torch.eye(2), 2 * torch.eye(2)])).tolist()
        [True, False]
    """
    u = frame.detach()
    excess = u.mT @ u - torch.eye(u.shape[-1], dtype=u.dtype, device=u.device)
    allowed = 0.25 * torch.finfo(u.dtype).eps ** 0.5 if tolerance is None else tolerance
    return excess.abs().amax((-2, -1)) <= allowed


def spd_inverse(
    matrix: Float[Tensor, "*batch K K"],
) -> tuple[Float[Tensor, "*batch K K"], Float[Tensor, "*batch"]]:
    """Inverse and log determinant of a symmetric positive-definite matrix; NaN where it is not positive definite.

    Example:
        >>> import torch
        >>> inverse, log_det = spd_inverse(torch.tensor([[2.0, 1.0], [1.0, 2.0]]))
        >>> round(inverse[0, 0].item(), 6), round(log_det.exp().item(), 6)
        (0.666667, 3.0)
    """
    return _SPDInverse.apply(matrix)


class _FrameInverse(Function):
    @staticmethod
    def forward(ctx: Any, frame: Tensor, orthogonal: bool) -> tuple[Tensor, Tensor]:
        if orthogonal:
            excess = frame.mT @ frame
            excess.diagonal(dim1=-2, dim2=-1).sub_(1.0)
            inverse = frame.mT - excess @ frame.mT
            log_det = 0.5 * excess.diagonal(dim1=-2, dim2=-1).sum(-1)
        else:
            factors, pivots, _ = torch.linalg.lu_factor_ex(frame)
            eye = torch.eye(frame.shape[-1], dtype=frame.dtype, device=frame.device)
            inverse = torch.linalg.lu_solve(factors, pivots, eye.expand_as(frame))
            log_det = factors.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1)
        ctx.save_for_backward(inverse)
        return inverse, log_det

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (inverse,) = ctx.saved_tensors
        through_inverse, through_log_det = grads
        # d(U^-1) = -U^-1 dU U^-1 and d log|det U| = tr(U^-1 dU)
        inner = -(inverse.mT @ through_inverse)
        inner = inner + torch.diag_embed(through_log_det.unsqueeze(-1).expand(inverse.shape[:-1]))
        return inner @ inverse.mT, None


class _SPDInverse(Function):
    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> tuple[Tensor, Tensor]:
        factor, info = torch.linalg.cholesky_ex(matrix)
        inverse = torch.cholesky_inverse(factor)
        log_det = 2.0 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        log_det = log_det.masked_fill(info != 0, torch.nan)
        ctx.save_for_backward(inverse)
        return inverse, log_det

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (inverse,) = ctx.saved_tensors
        through_inverse, through_log_det = grads
        # symmetric in, symmetric out: an asymmetric incoming gradient acts through its symmetric part
        sandwich = inverse @ (through_inverse @ inverse)
        return through_log_det[..., None, None] * inverse - 0.5 * (sandwich + sandwich.mT)
