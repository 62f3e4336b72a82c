"""From a record and frames to attention features, in the least precision that the numbers at hand allow."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from rgprobe.errors import NumericalRefusal
from rgprobe.gaussian import Gaussian
from rgprobe.gaussian.structures import Diagonal
from rgprobe.gaussian.validation import name_at
from rgprobe.models.attention.common_frame import (
    CommonFrame,
    dense_common_frame,
    diagonal_common_frame,
    framed_blocks,
    isotropic_common_frame,
)
from rgprobe.models.attention.features import attention_features, score_rounding
from rgprobe.models.attention.group_frames import BlockFrames
from rgprobe.models.attention.inverses import is_rotation
from rgprobe.models.attention.local_covariance import is_isotropic, local_covariance

__all__ = ["Source"]

# Largest rounding of a score (log weight) that float32 is trusted with: weights then err by at most half of it.
ROUNDING = 1e-4
# Largest ratio of scales that the whitening may remove in float32.
SPREAD = 100.0


@dataclass(frozen=True, eq=False)
class Source:
    """What attention is computed from.

    Args:
        beliefs: batch shape (..., N).
        frames: checked group elements.
        rotations: whether they are rotations.
        dtype: to work in.
        fixed: stay in it; otherwise float32 gives way to float64 where it would round too much.

    Example:
        >>> import torch
        >>> beliefs = Gaussian.from_diagonal(torch.tensor([[0.0], [1e4]]), torch.ones(2, 1))
        >>> Source(beliefs, None, False, torch.float32, fixed=False).features(1.0, None)[1].dtype
        torch.float64
    """

    beliefs: Gaussian
    frames: Tensor | BlockFrames | None
    rotations: bool
    dtype: torch.dtype
    fixed: bool

    def features(self, inverse_tau: float | Tensor, per_key: Tensor | None) -> tuple[CommonFrame, Tensor, Tensor]:
        """The common frame, queries and keys.

        Raises:
            NumericalRefusal: a singular frame, or features that overflow.
        """
        common = self.common()
        if isinstance(inverse_tau, Tensor):
            inverse_tau = inverse_tau.to(self.dtype)
        queries, keys = attention_features(
            common.blocks, inverse_tau, None if per_key is None else per_key.to(self.dtype)
        )
        if self.fixed and self.dtype == torch.float32:
            return common, queries, keys
        rounding = score_rounding(common.blocks, queries, keys)
        if self.dtype == torch.float32:
            if rounding <= ROUNDING and float(common.spread.max()) <= SPREAD:
                return common, queries, keys
            return replace(self, dtype=torch.float64).features(inverse_tau, per_key)
        self._refuse_singular(common)
        if not math.isfinite(rounding):
            raise NumericalRefusal(
                "scores",
                expected="divergences that float64 can hold",
                received="an overflow",
                remedy="bring the beliefs to comparable scales, or raise kappa",
            )
        return common, queries, keys

    def common(self) -> CommonFrame:
        """The beliefs in one frame, by the cheapest exact form their structure has."""
        mean, frames = self.beliefs.mean.to(self.dtype), self.frames
        kept = self.beliefs.structure
        if isinstance(frames, BlockFrames) and isinstance(kept, Diagonal):
            blocks = [block.to(self.dtype) for block in frames.blocks]
            return framed_blocks(mean, kept.variance.to(self.dtype), blocks, orthogonal=self.rotations)
        frame = frames.dense() if isinstance(frames, BlockFrames) else frames
        frame = None if frame is None else frame.to(self.dtype)
        if is_isotropic(self.beliefs) and self._stays_isotropic(frame):
            return isotropic_common_frame(mean, cast(Diagonal, kept).variance[..., :1].to(self.dtype), frame)
        if frame is None and isinstance(kept, Diagonal):
            return diagonal_common_frame(mean, kept.variance.to(self.dtype))
        return dense_common_frame(mean, local_covariance(self.beliefs, self.dtype), frame, orthogonal=self.rotations)

    def _stays_isotropic(self, frame: Tensor | None) -> bool:
        """Rotations keep a belief isotropic; a gradient to them would ask for directions that do not."""
        if frame is None:
            return True
        if not self.rotations or frame.requires_grad:
            return False
        return bool(is_rotation(frame, 64 * torch.finfo(self.dtype).eps).all())

    def _refuse_singular(self, common: CommonFrame) -> None:
        for out_of, into in zip(common.out_of, common.into, strict=True):
            condition = out_of.detach().norm(dim=(-2, -1)) * into.detach().norm(dim=(-2, -1))
            bad = ~(condition < 0.01 / torch.finfo(self.dtype).eps)
            if bad.any():
                raise NumericalRefusal(
                    name_at("frames", bad),
                    expected="an invertible group element",
                    received=f"a matrix of condition {condition[bad][0].item():.3g}",
                    remedy='use frames(phi, group="so" or "gl")',
                )
