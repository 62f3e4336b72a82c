"""Beliefs of N tokens moved into one frame, centred and whitened: N maps instead of the N^2 of pairwise transport.

KL(q_i || U_i U_j^-1 q_j) = KL(U_i^-1 q_i || U_j^-1 q_j), and it does not change under a further common invertible map.
That freedom serves the numbers: a common map W makes the average shape of the precisions the identity (each weighted by
one over its trace, so that no single sharp token decides) times the median trace, and a common shift puts the median
mean at zero. Neither enters the value, so neither needs a gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rgprobe.models.attention.features import Block, DenseBlock, DiagonalBlock, IsotropicBlock
from rgprobe.models.attention.inverses import frame_inverse
from rgprobe.models.attention.local_covariance import DiagonalCovariance, LocalCovariance

__all__ = ["CommonFrame", "dense_common_frame", "diagonal_common_frame", "framed_blocks", "isotropic_common_frame"]


@dataclass(frozen=True, eq=False)
class CommonFrame:
    """Beliefs in one frame, and the maps between it and each token's own.

    Args:
        blocks: independent coordinates of the beliefs, (..., N) each.
        out_of: T_b, local coordinates to common ones, one (..., N, K_b, K_b) per block; empty for trivial frames.
        into: T_b^-1.
        spread: largest over smallest scale that the whitening removed, (...): rounding grows with it.
    """

    blocks: tuple[Block, ...]
    out_of: tuple[Tensor, ...]
    into: tuple[Tensor, ...]
    spread: Tensor

    def gather(self, values: Float[Tensor, "*batch N D"]) -> Float[Tensor, "..."]:
        """Local vectors, carried into the common frame; as they are for trivial frames."""
        return _blockwise(self.out_of, values)

    def scatter(self, values: Float[Tensor, "*batch N D"]) -> Float[Tensor, "..."]:
        """Common vectors, carried into each token's own frame; rows with NaN stay NaN and pass no gradient."""
        undefined = values.detach().isnan().any(-1, keepdim=True)
        return _blockwise(self.into, values.masked_fill(undefined, 0.0)).masked_fill(undefined, torch.nan)


def dense_common_frame(
    mean: Float[Tensor, "*batch N K"],
    covariance: LocalCovariance,
    frame: Float[Tensor, "*#frames N K K"] | None = None,
    *,
    orthogonal: bool = False,
) -> CommonFrame:
    """Beliefs of any structure, full in the common frame.

    Args:
        mean: local means.
        covariance: local covariances, as an operator.
        frame: U, group elements; None for trivial ones.
        orthogonal: U is a rotation to rounding, which saves its inversion.

    Example:
        >>> import torch
        >>> from rgprobe.models.attention.local_covariance import DiagonalCovariance
        >>> common = dense_common_frame(torch.zeros(5, 2), DiagonalCovariance(torch.full((5, 2), 4.0)))
        >>> common.blocks[0].precision[0].round(decimals=4).tolist()  # whitened: the average shape is the identity
        [[1.0, 0.0], [0.0, 1.0]]
    """
    k = mean.shape[-1]
    eye = torch.eye(k, dtype=mean.dtype, device=mean.device)
    u = eye.expand(*mean.shape, k) if frame is None else frame
    sharpened = covariance.precision_times(u)
    with torch.no_grad():
        root = _shape_root(u, sharpened)
        whitening = torch.linalg.solve_triangular(root.mT, eye.expand_as(root), upper=True).unsqueeze(-3)
        unwhitening = root.mT.unsqueeze(-3)
        scale = root.diagonal(dim1=-2, dim2=-1)
        spread = scale.amax(-1) / scale.amin(-1)
    if frame is None:
        into, out_of, log_det = whitening, unwhitening, torch.zeros((), dtype=mean.dtype, device=mean.device)
    elif orthogonal:
        into = frame @ whitening
        inverse, log_det = frame_inverse(frame, orthogonal=True)
        out_of = unwhitening @ inverse
    else:
        # inverting the whitened frame, not the frame: what all frames share is no longer in the way
        into = frame @ whitening
        out_of, log_det = frame_inverse(into, orthogonal=False)
    block = DenseBlock(
        mean=_centred((out_of @ mean.unsqueeze(-1)).squeeze(-1)),
        covariance=covariance.times_covariance(out_of) @ out_of.mT,
        precision=into.mT @ (sharpened @ whitening),
        log_det_precision=covariance.log_det_precision() + 2.0 * log_det,
    )
    if frame is None:
        return CommonFrame((block,), (), (), spread)
    return CommonFrame((block,), (out_of,), (into,), spread)


def diagonal_common_frame(mean: Float[Tensor, "*batch N K"], variance: Float[Tensor, "*batch N K"]) -> CommonFrame:
    """Beliefs that are diagonal in the common frame; trivial frames.

    Example:
        >>> import torch
        >>> common = diagonal_common_frame(torch.ones(5, 2), torch.full((5, 2), 4.0))
        >>> common.blocks[0].mean[0].tolist(), common.blocks[0].variance[0].tolist()
        ([0.0, 0.0], [1.0, 1.0])
    """
    with torch.no_grad():
        precision = variance.reciprocal()
        trace = precision.sum(-1, keepdim=True)
        shape = (precision / trace).mean(-2, keepdim=True) * trace.median(-2, keepdim=True).values
        spread = (shape.amax(-1) / shape.amin(-1)).sqrt().squeeze(-1)
    block = DiagonalBlock(_centred(mean * shape.sqrt()), variance * shape)
    return CommonFrame((block,), (), (), spread)


def isotropic_common_frame(
    mean: Float[Tensor, "*batch N K"],
    variance: Float[Tensor, "*batch N 1"],
    rotation: Float[Tensor, "*#frames N K K"] | None = None,
) -> CommonFrame:
    """Isotropic beliefs, which rotations leave isotropic; K + 2 features in all.

    The gradient to a rotation is the one along the group; the directions that leave it are not represented.

    Example:
        >>> import torch
        >>> isotropic_common_frame(torch.ones(5, 3), torch.ones(5, 1)).blocks[0].variance.shape
        torch.Size([5, 1])
    """
    with torch.no_grad():
        scale = variance.reciprocal().mean(-2, keepdim=True)
    spread = torch.ones(mean.shape[:-2], dtype=mean.dtype, device=mean.device)
    if rotation is None:
        return CommonFrame((IsotropicBlock(_centred(mean * scale.sqrt()), variance * scale),), (), (), spread)
    inverse, _ = frame_inverse(rotation, orthogonal=True)
    carried = (inverse @ mean.unsqueeze(-1)).squeeze(-1) * scale.sqrt()
    return CommonFrame((IsotropicBlock(_centred(carried), variance * scale),), (inverse,), (rotation,), spread)


def framed_blocks(
    mean: Float[Tensor, "*batch N K"],
    variance: Float[Tensor, "*batch N K"],
    frames: Sequence[Float[Tensor, "..."]],
    *,
    orthogonal: bool = False,
) -> CommonFrame:
    """Locally diagonal beliefs under block-diagonal group elements: blocks stay independent, and few features do.

    Args:
        mean: local means.
        variance: local variances.
        frames: U_b, (..., N, K_b, K_b), sum of K_b = K.
        orthogonal: every U_b is a rotation to rounding.

    Example:
        >>> import torch
        >>> eye = torch.eye(2).expand(5, 2, 2)
        >>> [block.mean.shape for block in framed_blocks(torch.ones(5, 4), torch.ones(5, 4), [eye, eye]).blocks]
        [torch.Size([5, 2]), torch.Size([5, 2])]
    """
    sizes = [u.shape[-1] for u in frames]
    parts = zip(mean.split(sizes, -1), variance.split(sizes, -1), frames, strict=True)
    commons = [dense_common_frame(m, DiagonalCovariance(s), u, orthogonal=orthogonal) for m, s, u in parts]
    return CommonFrame(
        tuple(c.blocks[0] for c in commons),
        tuple(c.out_of[0] for c in commons),
        tuple(c.into[0] for c in commons),
        torch.stack([c.spread for c in commons]).amax(0),
    )


def _shape_root(u: Tensor, sharpened: Tensor) -> Tensor:
    """Lower Cholesky factor of mean_j (P_j / tr P_j) median_j tr P_j, P_j = U_j^T Lambda_j U_j, (..., K, K)."""
    k = u.shape[-1]
    trace = (u * sharpened).sum((-2, -1), keepdim=True)
    lead = torch.broadcast_shapes(u.shape[:-2], sharpened.shape[:-2])
    left = (u / trace).expand(*lead, k, k).flatten(-3, -2)
    shape = left.mT @ sharpened.expand(*lead, k, k).flatten(-3, -2) / lead[-1]
    shape = 0.5 * (shape + shape.mT)
    # any invertible map is exact, so a ridge costs nothing; if even that fails, the diagonal will do
    eye = torch.eye(k, dtype=u.dtype, device=u.device)
    root, info = torch.linalg.cholesky_ex(shape + 4 * k * torch.finfo(u.dtype).eps * eye)
    plain = torch.diag_embed(shape.diagonal(dim1=-2, dim2=-1).clamp_min(torch.finfo(u.dtype).eps).sqrt())
    size = trace.expand(*lead, 1, 1).median(-3).values.sqrt()
    return torch.where((info == 0)[..., None, None], root, plain) * size


def _centred(mean: Tensor) -> Tensor:
    """Subtract the median over tokens, coordinate by coordinate: one far outlier does not move it."""
    return mean - mean.detach().median(-2, keepdim=True).values


def _blockwise(maps: tuple[Tensor, ...], values: Tensor) -> Tensor:
    if not maps:
        return values
    sizes = [m.shape[-1] for m in maps]
    parts = zip(maps, values.split(sizes, -1), strict=True)
    return torch.cat([(m @ v.unsqueeze(-1)).squeeze(-1) for m, v in parts], -1)
