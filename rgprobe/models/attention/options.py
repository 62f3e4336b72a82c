"""What `kl_attention` accepts; every refusal says what would have been acceptable."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from rgprobe.checks import one_of, whole_number
from rgprobe.errors import BadInput, OptionError
from rgprobe.gaussian import Gaussian
from rgprobe.gaussian.arguments import check_gaussian
from rgprobe.gaussian.validation import check_finite, check_float, name_at
from rgprobe.models.attention.group_frames import BlockFrames
from rgprobe.models.attention.inverses import is_rotation
from rgprobe.models.attention.masking import Visibility

__all__ = ["check_beliefs", "check_frames", "check_group", "check_kappa", "check_values", "checked_visibility"]


def check_kappa(kappa: float | Tensor, batch: torch.Size) -> float:
    """Refuse a temperature that is not positive and finite, or does not fit the heads; its least value otherwise."""
    if not isinstance(kappa, Tensor):
        if not (isinstance(kappa, (int, float)) and math.isfinite(kappa) and kappa > 0):
            raise _bad_kappa("kappa", f"{kappa}")
        return float(kappa)
    try:
        fits = kappa.is_floating_point() and torch.broadcast_shapes(kappa.shape, batch[:-1]) == batch[:-1]
    except RuntimeError:
        fits = False
    if not fits:
        raise OptionError(
            "kappa",
            expected=f"a number, or floating-point and broadcasting against {tuple(batch[:-1])}",
            received=f"{kappa.dtype}, shape {tuple(kappa.shape)}",
            remedy="one temperature per head, or one for all",
        )
    bad = ~(torch.isfinite(kappa.detach()) & (kappa.detach() > 0))
    if bad.any():
        raise _bad_kappa(name_at("kappa", bad), f"{kappa.detach()[bad][0].item()}")
    return float(kappa.detach().min()) if kappa.numel() else math.inf


def _bad_kappa(name: str, received: str) -> OptionError:
    return OptionError(
        name, expected="a positive finite number", received=received, remedy="pass kappa > 0; tau = kappa sqrt(K)"
    )


def checked_visibility(causal: bool, include_self: bool, window: int | None) -> Visibility:
    """The rule of who sees whom, or a refusal of a window without tokens."""
    if window is not None:
        window = whole_number("window", window, least=1, remedy="count the token itself; None for all")
    return Visibility(causal=causal, include_self=include_self, window=window)


def check_beliefs(beliefs: Gaussian) -> None:
    """Refuse what is not a batch of beliefs of at least one token."""
    check_gaussian("beliefs", beliefs)
    if not beliefs.batch_shape or beliefs.batch_shape[-1] == 0:
        raise BadInput(
            "beliefs",
            expected="batch shape (..., N), N >= 1 tokens",
            received=f"{tuple(beliefs.batch_shape)}",
            remedy="stack the tokens along the last batch dimension",
        )


def check_values(beliefs: Gaussian, values: Tensor, *, carried: bool, frames: Tensor | BlockFrames | None) -> None:
    """Refuse values without one vector per token, or that frames cannot act on."""
    check_float("values", values, 2)
    lead = beliefs.batch_shape
    try:
        fits = torch.broadcast_shapes(values.shape[:-1], lead)[-1] == values.shape[-2] == lead[-1]
    except RuntimeError:
        fits = False
    if not fits:
        raise BadInput(
            "values",
            expected=f"shape (..., {lead[-1]}, D) that broadcasts against the beliefs {tuple(lead)}",
            received=f"{tuple(values.shape)}",
            remedy="one vector per token",
        )
    if carried and frames is not None and values.shape[-1] != beliefs.dim:
        raise BadInput(
            "values",
            expected=f"{beliefs.dim} components, which the frames act on",
            received=f"{values.shape[-1]}",
            remedy="pass transport_values=False to leave values in no frame",
        )
    check_finite("values", values, 2)


def check_frames(
    frames: Tensor | BlockFrames | Sequence[Tensor] | None, beliefs: Gaussian
) -> Tensor | BlockFrames | None:
    """Frames as a tensor or `BlockFrames`, shapes and entries checked."""
    if frames is None:
        return None
    if isinstance(frames, Sequence):
        frames = BlockFrames(tuple(frames))
    blocks = frames.blocks if isinstance(frames, BlockFrames) else (frames,)
    for block in blocks:
        check_float("frames", block, 2)
        check_finite("frames", block, 2)
    dim = frames.dim if isinstance(frames, BlockFrames) else frames.shape[-1]
    for block in blocks:
        if dim != beliefs.dim or block.shape[-1] != block.shape[-2] or not _one_per_token(block, beliefs):
            raise BadInput(
                "frames",
                expected=f"shape {(*beliefs.batch_shape, beliefs.dim, beliefs.dim)}, or blocks of it on the diagonal",
                received=f"{tuple(block.shape)}, dimension {dim} in all",
                remedy="one group element per token; leading dimensions broadcast",
            )
    return frames


def _one_per_token(block: Tensor, beliefs: Gaussian) -> bool:
    try:
        return torch.broadcast_shapes(block.shape[:-2], beliefs.batch_shape) == beliefs.batch_shape
    except RuntimeError:
        return False


def check_group(frames: Tensor | BlockFrames | None, group: str | None) -> bool:
    """Whether the frames are rotations, by test; a refusal where they should be and are not."""
    one_of("group", group, ("so", "gl", None))
    if frames is None or group == "gl":
        return False
    blocks = frames.blocks if isinstance(frames, BlockFrames) else (frames,)
    for block in blocks:
        wide = block if block.dtype == torch.float64 else block.float()
        rotation = is_rotation(wide)
        if group == "so" and not (rotation & (torch.linalg.det(wide.detach()) > 0)).all():
            raise BadInput(
                name_at("frames", ~(rotation & (torch.linalg.det(wide.detach()) > 0))),
                expected="a rotation, U^T U = 1 and det U = 1",
                received="a matrix that is no rotation",
                remedy='use frames(phi, group="so"), or group="gl"',
            )
        if not rotation.all():
            return False
    return True
