"""What a belief must satisfy to be a belief; every refusal names the offending index."""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from torch import Tensor

from rgprobe.errors import BadInput, NumericalRefusal, OptionError

__all__ = [
    "broadcast_shape",
    "check_finite",
    "check_float",
    "check_jitter",
    "check_lower_triangular",
    "check_positive",
    "check_square",
    "check_symmetric",
    "cholesky",
    "name_at",
    "normalised_weights",
    "with_jitter",
]

UNFIT = "pass a finite symmetric positive-definite covariance, or add a ridge yourself with jitter="


def name_at(name: str, flags: Tensor) -> str:
    """Name the first flagged entry, ``covariance[2, 0]``; the bare name where there is no batch.

    Example:
        >>> import torch
        >>> name_at("covariance", torch.tensor([[False, False], [True, False]]))
        'covariance[1, 0]'
    """
    index = flags.nonzero()[0].tolist()
    return f"{name}[{', '.join(map(str, index))}]" if index else name


def check_float(name: str, x: Tensor, event_dims: int) -> None:
    """Refuse what is not a floating-point tensor with at least ``event_dims`` non-empty trailing dimensions."""
    if not isinstance(x, Tensor) or not x.is_floating_point():
        received = str(x.dtype) if isinstance(x, Tensor) else type(x).__name__
        raise BadInput(name, expected="a floating-point tensor", received=received, remedy=f"convert {name} first")
    if x.ndim < event_dims or 0 in x.shape[x.ndim - event_dims :]:
        raise BadInput(
            name,
            expected=f"at least {event_dims} dimension(s), the last {event_dims} not empty",
            received=f"shape {tuple(x.shape)}",
            remedy="pass (..., K) for means and variances, (..., K, K) for covariances and their factors",
        )


def check_square(name: str, x: Tensor, dim: int) -> None:
    """Refuse trailing dimensions other than (dim, dim)."""
    if x.shape[-2:] != (dim, dim):
        raise BadInput(
            name,
            expected=f"trailing shape ({dim}, {dim})",
            received=f"shape {tuple(x.shape)}",
            remedy="match the belief dimension K of the mean",
        )


def check_finite(name: str, x: Tensor, event_dims: int) -> None:
    """Refuse NaN and infinities, naming the batch index."""
    bad = ~torch.isfinite(x.detach()).flatten(start_dim=x.ndim - event_dims).all(-1)
    if bad.any():
        raise NumericalRefusal(name_at(name, bad), expected="finite entries", received="NaN or Inf", remedy=UNFIT)


def check_positive(name: str, x: Tensor) -> None:
    """Refuse a variance (or diagonal of a factor) that is not strictly positive."""
    bad = ~(x.detach() > 0)
    if bad.any():
        smallest = x.detach()[bad][0].item()
        raise NumericalRefusal(name_at(name, bad), expected="a positive number", received=f"{smallest:g}", remedy=UNFIT)


def check_symmetric(name: str, x: Tensor) -> None:
    """Refuse asymmetry beyond rounding: torch's Cholesky would silently ignore the upper triangle.

    Allowed is what a matrix product in the tensor's own precision leaves behind: 32 units in the last place of the
    largest entry (2 for bfloat16 and float16, whose units are already per cent).
    """
    d = x.detach().double()
    units = 32 if x.dtype in (torch.float32, torch.float64) else 2
    gap = (d - d.mT).abs().amax((-2, -1))
    bad = gap > units * torch.finfo(x.dtype).eps * d.abs().amax((-2, -1))
    if bad.any():
        raise NumericalRefusal(
            name_at(name, bad),
            expected="a symmetric matrix",
            received=f"|S - S^T| up to {gap[bad][0].item():.3g}",
            remedy="symmetrise it yourself, S = (S + S^T) / 2, if the asymmetry is meant to be noise",
        )


def check_lower_triangular(name: str, x: Tensor) -> None:
    """Refuse a Cholesky factor with entries above its diagonal, or a diagonal that is not positive."""
    bad = (x.detach().triu(1) != 0).flatten(-2).any(-1)
    if bad.any():
        raise NumericalRefusal(
            name_at(name, bad),
            expected="a lower-triangular Cholesky factor",
            received="non-zero entries above the diagonal",
            remedy="pass torch.linalg.cholesky(covariance), or use Gaussian.from_covariance",
        )
    check_positive(f"{name} diagonal", x.diagonal(dim1=-2, dim2=-1))


def check_jitter(jitter: float) -> None:
    """Refuse a ridge that is negative or not finite."""
    if not (math.isfinite(jitter) and jitter >= 0):
        raise OptionError("jitter", expected="a number >= 0", received=f"{jitter}", remedy="leave it out for none")


def cholesky(name: str, covariance: Tensor) -> Tensor:
    """Lower Cholesky factor in float64, or a refusal naming the first matrix that is not positive definite."""
    factor, info = torch.linalg.cholesky_ex(covariance)
    bad = (info != 0) | ~torch.isfinite(factor.detach()).flatten(-2).all(-1)
    if bad.any():
        smallest = torch.linalg.eigvalsh(covariance.detach()[bad][0]).min().item()
        raise NumericalRefusal(
            name_at(name, bad),
            expected="a positive-definite matrix",
            received=f"smallest eigenvalue {smallest:.3g}",
            remedy=UNFIT,
        )
    return factor


def normalised_weights(weights: Any, batch_shape: torch.Size, like: Tensor) -> Tensor:
    """Weights over the last batch dimension, float64, scaled to sum to one; None means equal weights.

    Raises:
        BadInput: no numbers, the shape does not end in the number of beliefs, or there is no batch dimension to average over.
        OptionError: a negative or non-finite weight, or weights that sum to zero.
    """
    if not batch_shape or batch_shape[-1] == 0:
        raise BadInput(
            "beliefs",
            expected="at least one batch dimension, not empty, to average over",
            received=f"batch shape {tuple(batch_shape)}",
            remedy="stack the beliefs along a leading dimension",
        )
    given = like.new_ones(batch_shape[-1]) if weights is None else weights
    try:
        w = torch.as_tensor(given, dtype=torch.float64, device=like.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise BadInput("weights", expected="numbers", received=type(weights).__name__,
                       remedy="pass a tensor, an array or a list of numbers") from error  # fmt: skip
    if w.ndim == 0 or w.shape[-1] != batch_shape[-1]:
        raise BadInput(
            "weights",
            expected=f"shape (..., {batch_shape[-1]})",
            received=f"shape {tuple(w.shape)}",
            remedy="give one weight per belief along the last batch dimension",
        )
    bad = ~(torch.isfinite(w) & (w >= 0))
    if bad.any():
        raise OptionError(
            name_at("weights", bad),
            expected="a finite number >= 0",
            received=f"{w[bad][0].item():g}",
            remedy="drop or correct this belief",
        )
    total = w.sum(-1, keepdim=True)
    if (total == 0).any():
        raise OptionError("weights", expected="a positive sum", received="0", remedy="give one belief some weight")
    return w / total


def broadcast_shape(shapes: list[torch.Size]) -> torch.Size:
    """Common batch shape.

    Raises:
        BadInput: shapes that do not broadcast; all are shown.
    """
    try:
        return torch.broadcast_shapes(*shapes)
    except RuntimeError as error:
        raise BadInput(
            "batch dimensions",
            expected="shapes that broadcast",
            received=", ".join(str(tuple(s)) for s in shapes),
            remedy="give mean and covariance the same leading dimensions",
        ) from error


def with_jitter(covariance: Tensor, jitter: float) -> Tensor:
    """The covariance with a ridge on its diagonal; a warning says how large, and on how many.

    Raises:
        OptionError: a negative or infinite jitter.
    """
    check_jitter(jitter)
    if jitter == 0.0:
        return covariance
    warnings.warn(
        f"jitter {jitter:g} added to the diagonal of {covariance.shape[:-2].numel()} covariance(s)", stacklevel=3
    )
    return covariance + jitter * torch.eye(covariance.shape[-1], dtype=covariance.dtype, device=covariance.device)
