"""Inverses, and log determinants, with gradients that cost two products instead of a factorisation.

Both backward passes are written with differentiable operations on the saved inverse, so they differentiate again.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd import Function

__all__ = ["frame_inverse", "is_rotation", "spd_inverse"]


# Largest K for which a triangular solve beats LAPACK's inverse from a Cholesky factor.
SMALL = 32


def frame_inverse(
    frame: Float[Tensor, "*batch K K"],
    *,
    orthogonal: bool = False,
    guess: Float[Tensor, "*batch K K"] | None = None,
) -> Float[Tensor, "*batch K K"]:
    """U^-1, with the gradient of the inverse over *all* matrices, also where U is a rotation.

    An inverse known to an error e, of a rotation its transpose, is improved by one Newton step, T (2 - U T), to e^2. In
    float64 only rotations are inverted so, anything else by LU. A singular frame gives infinities or NaN, for the caller
    to refuse.

    Args:
        frame: U, (..., K, K).
        orthogonal: U is a rotation, to the square root of its precision or better (see `is_rotation`).
        guess: an inverse to the square root of the precision, used in float32; no gradient passes through it.

    Example:
        >>> import torch
        >>> frame_inverse(torch.tensor([[2.0, 0.0], [0.0, 1.0]])).diagonal().tolist()
        [0.5, 1.0]
    """
    if orthogonal:
        guess = frame.detach().mT
    elif frame.dtype == torch.float64:
        guess = None
    return _FrameInverse.apply(frame, guess)


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
    def forward(ctx: Any, frame: Tensor, guess: Tensor | None) -> Tensor:
        if guess is None:
            inverse = torch.linalg.inv_ex(frame)[0]
        else:
            inverse = torch.baddbmm(
                guess.flatten(0, -3), guess.flatten(0, -3), (frame @ guess).flatten(0, -3), beta=2.0, alpha=-1.0
            ).reshape(guess.shape)
        ctx.save_for_backward(inverse)
        return inverse

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (inverse,) = ctx.saved_tensors
        return -(inverse.mT @ grads[0] @ inverse.mT), None


def _from_factor(factor: Tensor) -> Tensor:
    """(L L^T)^-1; for small matrices in float32, a triangular solve from the right and a product take half the time."""
    k = factor.shape[-1]
    if factor.dtype == torch.float64 or k > SMALL:
        return torch.cholesky_inverse(factor)
    eye = torch.eye(k, dtype=factor.dtype, device=factor.device).expand_as(factor)
    root = torch.linalg.solve_triangular(factor.mT, eye, upper=True, left=False)
    return root @ root.mT


class _SPDInverse(Function):
    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> tuple[Tensor, Tensor]:
        factor, info = torch.linalg.cholesky_ex(matrix)
        failed = (info != 0).unsqueeze(-1)
        # a zero on the diagonal would raise without saying which; NaN says it
        diagonal = factor.diagonal(dim1=-2, dim2=-1).masked_fill_(failed, 1.0)
        inverse = _from_factor(factor)
        log_det = 2.0 * diagonal.masked_fill(failed, torch.nan).log().sum(-1)
        ctx.save_for_backward(inverse)
        return inverse, log_det

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (inverse,) = ctx.saved_tensors
        through_inverse, through_log_det = grads
        # not symmetrised: the matrix moves among symmetric ones only, where both forms act alike
        return through_log_det[..., None, None] * inverse - inverse @ (through_inverse @ inverse)
