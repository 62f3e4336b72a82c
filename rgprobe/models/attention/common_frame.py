"""Beliefs of N tokens moved into one frame, centred and whitened: N maps instead of the N^2 of pairwise transport.

KL(q_i || U_i U_j^-1 q_j) = KL(U_i^-1 q_i || U_j^-1 q_j), and it does not change under a further common invertible map.
That freedom serves the numbers: a common map makes the average shape of the precisions (or of the covariances) the
identity, each weighted by one over its trace so that no single sharp token decides, and a common shift puts the bulk of
the means near zero. Neither enters the value, so neither needs a gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rgprobe.models.attention.features import Block, DenseBlock, DiagonalBlock, IsotropicBlock
from rgprobe.models.attention.inverses import frame_inverse, spd_inverse
from rgprobe.models.attention.local_covariance import DiagonalCovariance, FullCovariance, LocalCovariance
from rgprobe.models.attention.products import matvec, shared_product

__all__ = ["CommonFrame", "dense_common_frame", "diagonal_common_frame", "framed_blocks", "isotropic_common_frame"]

# Matrix entries that the whitening looks at, in evenly spaced tokens: any map is exact, so a sample is as good.
SAMPLE = 2**16
# ... but at least these many tokens.
FEWEST = 16


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
    if frame is None or orthogonal:
        u = torch.eye(k, dtype=mean.dtype, device=mean.device).expand(*mean.shape, k) if frame is None else frame
        contragredient = u if frame is None else frame_inverse(u, orthogonal=True).mT
        block, out_of, into, spread = _rotated(mean, covariance, u, contragredient)
    else:
        block, out_of, into, spread = _transformed(mean, covariance, frame)
    if frame is None:
        return CommonFrame((block,), (), (), spread)
    return CommonFrame((block,), (out_of,), (into,), spread)


def _rotated(
    mean: Tensor, covariance: LocalCovariance, u: Tensor, contragredient: Tensor
) -> tuple[DenseBlock, Tensor, Tensor, Tensor]:
    """Frames whose U^-T is at hand: one factorisation per token, of whichever side the structure does not give away."""
    from_covariance = isinstance(covariance, FullCovariance)
    x, other = (contragredient, u) if from_covariance else (u, contragredient)
    sharpened = covariance.covariance_times(x) if from_covariance else covariance.precision_times(x)
    whitening, unwhitening, spread = _whitening(x, sharpened)
    moved, dual = shared_product(x, whitening), shared_product(other, unwhitening.mT)
    given = moved.mT @ shared_product(sharpened, whitening)
    inverse, log_det = spd_inverse(given)
    if from_covariance:
        block = DenseBlock(_carried(moved.mT, mean), given, inverse, -log_det)
        return block, moved.mT, dual, spread
    return DenseBlock(_carried(dual.mT, mean), inverse, given, log_det), dual.mT, moved, spread


def _transformed(mean: Tensor, covariance: LocalCovariance, u: Tensor) -> tuple[DenseBlock, Tensor, Tensor, Tensor]:
    """Any frames: inverted after whitening, when what all of them share is no longer in the way.

    U' = U W, P = U'^T Lambda U', S = P^-1, and U'^-1 = S (Lambda U')^T comes as a by-product.
    """
    sharpened = covariance.precision_times(u)
    whitening, _, spread = _whitening(u, sharpened)
    into, sharpened = shared_product(u, whitening), shared_product(sharpened, whitening)
    precision = into.mT @ sharpened
    moved_covariance, log_det = spd_inverse(precision)
    out_of = frame_inverse(into, guess=(moved_covariance.detach() @ sharpened.detach().mT))
    return DenseBlock(_carried(out_of, mean), moved_covariance, precision, log_det), out_of, into, spread


def diagonal_common_frame(mean: Float[Tensor, "*batch N K"], variance: Float[Tensor, "*batch N K"]) -> CommonFrame:
    """Beliefs that are diagonal in the common frame; trivial frames.

    Example:
        >>> import torch
        >>> common = diagonal_common_frame(torch.ones(5, 2), torch.full((5, 2), 4.0))
        >>> common.blocks[0].mean[0].tolist(), common.blocks[0].variance[0].round(decimals=4).tolist()
        ([0.0, 0.0], [1.0, 1.0])
    """
    with torch.no_grad():
        precision = variance.reciprocal()
        trace = precision.sum(-1, keepdim=True)
        shape = (precision / trace).mean(-2, keepdim=True) * _typical(trace, -2)
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
        scale = _typical(variance.reciprocal(), -2)
    spread = torch.ones(mean.shape[:-2], dtype=mean.dtype, device=mean.device)
    if rotation is None:
        return CommonFrame((IsotropicBlock(_centred(mean * scale.sqrt()), variance * scale),), (), (), spread)
    inverse = frame_inverse(rotation, orthogonal=True)
    carried = _carried(inverse, mean * scale.sqrt())
    return CommonFrame((IsotropicBlock(carried, variance * scale),), (inverse,), (rotation,), spread)


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


@torch.no_grad()
def _whitening(x: Tensor, product: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """W (..., K, K) for which the average shape of W^T x_j^T product_j W is the identity, W^-1, and the scales' ratio."""
    k, n = x.shape[-1], max(x.shape[-3], product.shape[-3])
    step = max(1, n // max(SAMPLE // k**2, FEWEST))
    x, product = (m if m.shape[-3] == 1 else m[..., ::step, :, :] for m in (x, product))
    lead = torch.broadcast_shapes(x.shape[:-2], product.shape[:-2])
    trace = (x * product).sum((-2, -1)).expand(lead)
    left = x * trace.reciprocal()[..., None, None]
    shape = left.flatten(-3, -2).mT @ product.expand(*lead, k, k).flatten(-3, -2) / lead[-1]
    shape = 0.5 * (shape + shape.mT)
    # any invertible map is exact, so a ridge costs nothing; if even that fails, the diagonal will do
    eye = torch.eye(k, dtype=x.dtype, device=x.device)
    root, info = torch.linalg.cholesky_ex(shape + 4 * k * torch.finfo(x.dtype).eps * eye)
    plain = torch.diag_embed(shape.diagonal(dim1=-2, dim2=-1).clamp_min(torch.finfo(x.dtype).eps).sqrt())
    root = torch.where((info == 0)[..., None, None], root, plain)
    scale = root.diagonal(dim1=-2, dim2=-1)
    root = root * _typical(trace, -1).unsqueeze(-1).sqrt()
    whitening = torch.linalg.solve_triangular(root.mT, eye.expand_as(root), upper=True)
    return whitening, root.mT, scale.amax(-1) / scale.amin(-1)


def _typical(positive: Tensor, dim: int) -> Tensor:
    """Geometric mean along one dimension, kept: one outlier among N counts by its N-th root."""
    return positive.log().mean(dim, keepdim=True).exp()


def _carried(maps: Tensor, mean: Tensor) -> Tensor:
    return _centred(matvec(maps, mean))


def _centred(mean: Tensor) -> Tensor:
    """Subtract where the bulk of the means lies: their average, reweighted once by one over the squared distance.

    Any constant is exact. This one is as robust as need be (an outlier at distance d among N moves it by O(1), not by
    d / N) and, unlike a median, as cheap as an average.
    """
    with torch.no_grad():
        first = mean.mean(-2, keepdim=True)
        distance = (mean - first).square().sum(-1, keepdim=True)
        weight = (distance + torch.finfo(mean.dtype).eps * (1.0 + distance.amax(-2, keepdim=True))).reciprocal()
        centre = (weight * mean).sum(-2, keepdim=True) / weight.sum(-2, keepdim=True)
    return mean - centre


def _blockwise(maps: tuple[Tensor, ...], values: Tensor) -> Tensor:
    if not maps:
        return values
    sizes = [m.shape[-1] for m in maps]
    parts = zip(maps, values.split(sizes, -1), strict=True)
    return torch.cat([matvec(m, v) for m, v in parts], -1)
