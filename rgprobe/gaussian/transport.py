"""Moving beliefs between gauge frames.

Convention: U_i carries the local frame of token i into the common one's coordinates, transport from j to i is
Omega_ij = U_i U_j^-1, and KL(q_i || Omega_ij q_j) = KL(U_i^-1 q_i || U_j^-1 q_j) because KL does not change under a
common invertible map.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from rgprobe.checks import one_of
from rgprobe.errors import BadInput, NumericalRefusal, OptionError
from rgprobe.gaussian.arguments import check_gaussian
from rgprobe.gaussian.double_double import difference, product, two_sum
from rgprobe.gaussian.exponential import matrix_exponential
from rgprobe.gaussian.record import Gaussian
from rgprobe.gaussian.validation import check_finite, check_float, name_at

__all__ = ["frames", "pushforward", "to_common_frame"]


def pushforward(p: Gaussian, matrix: Float[Tensor, "*#batch J K"]) -> Gaussian:
    """Image of a belief under a linear map, N(A mu, A Sigma A^T).

    The image covariance keeps twice the digits of float64, so near-equal beliefs stay comparable after a common map.

    Args:
        p: batch shape (...), dimension K.
        matrix: A, (..., J, K) of full row rank, J <= K; batch dimensions broadcast.

    Returns:
        Belief of dimension J, float64.

    Raises:
        BadInput: the last dimension of ``matrix`` is not K.
        NumericalRefusal: the image is singular (A without full row rank), or A is not finite.

    Example:
        >>> import torch
        >>> p = Gaussian.from_diagonal(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 3.0]))
        >>> image = pushforward(p, torch.tensor([[1.0, 1.0]]))
        >>> image.mean.item(), image.covariance.item()
        (3.0, 4.0)
    """
    check_gaussian("p", p)
    check_float("matrix", matrix, 2)
    check_finite("matrix", matrix, 2)
    if matrix.shape[-1] != p.dim:
        raise BadInput(
            "matrix",
            expected=f"trailing shape (J, {p.dim})",
            received=f"shape {tuple(matrix.shape)}",
            remedy="a map on K-dimensional beliefs has K columns",
        )
    return _image(p, matrix.double(), torch.zeros_like(matrix, dtype=torch.float64))


def to_common_frame(p: Gaussian, frame: Float[Tensor, "*#batch K K"]) -> Gaussian:
    """U^-1 acting on each belief: N(U^-1 mu, U^-1 Sigma U^-T).

    U^-1 is a float64 solve refined once with twice the digits, so neither a general nor an orthogonal U costs accuracy.

    Args:
        p: batch shape (...), dimension K.
        frame: U, group elements (..., K, K); batch dimensions broadcast.

    Returns:
        Belief in the common frame, float64.

    Raises:
        BadInput: ``frame`` is not (..., K, K).
        NumericalRefusal: a frame is singular or not finite; names the index.

    Example:
        >>> import torch
        >>> p = Gaussian.from_diagonal(torch.tensor([2.0, 0.0]), torch.tensor([4.0, 1.0]))
        >>> to_common_frame(p, torch.diag(torch.tensor([2.0, 1.0]))).covariance.tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    check_gaussian("p", p)
    check_float("frame", frame, 2)
    check_finite("frame", frame, 2)
    if frame.shape[-2:] != (p.dim, p.dim):
        raise BadInput(
            "frame",
            expected=f"trailing shape ({p.dim}, {p.dim})",
            received=f"shape {tuple(frame.shape)}",
            remedy="a frame is a square matrix on the belief space",
        )
    u = frame.double()
    zero = torch.zeros_like(u)
    eye = torch.eye(p.dim, dtype=u.dtype, device=u.device).expand_as(u)
    solved, info = torch.linalg.solve_ex(u, eye)
    bad = (info != 0) | ~torch.isfinite(solved.detach()).flatten(-2).all(-1)
    if bad.any():
        raise NumericalRefusal(
            name_at("frame", bad), expected="an invertible frame", received="a singular matrix", remedy="use exp(phi)"
        )
    residual = difference((eye, zero), product((u, zero), (solved, zero)))[0]
    return _image(p, *two_sum(solved, solved @ residual))


def frames(
    phi: Float[Tensor, "..."],
    group: Literal["so", "gl"] = "so",
    *,
    coordinates: bool = False,
) -> Float[Tensor, "*batch K K"]:
    """Group elements U = exp(phi), in the dtype of phi, differentiable.

    Args:
        phi: algebra elements (..., K, K): skew-symmetric for ``"so"`` (then U is a rotation), any for ``"gl"``.
        group: ``"so"`` or ``"gl"``.
        coordinates: phi holds the K (K - 1) / 2 entries below the diagonal, row by row, (..., K (K - 1) / 2); ``"so"``
            only.

    Raises:
        OptionError: an unknown group, or coordinates for ``"gl"``.
        BadInput: a phi of the wrong shape, or not skew; names the index.

    Example:
        >>> import math, torch
        >>> quarter = frames(torch.tensor([math.pi / 2]), coordinates=True)
        >>> quarter.round().abs().tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """
    one_of("group", group, ("so", "gl"))
    if coordinates and group == "gl":
        raise OptionError("coordinates", expected='False for "gl"', received="True", remedy="pass phi as (..., K, K)")
    check_float("phi", phi, 1 if coordinates else 2)
    check_finite("phi", phi, 1 if coordinates else 2)
    algebra = _skew_from_coordinates(phi) if coordinates else phi
    if algebra.shape[-1] != algebra.shape[-2]:
        raise BadInput(
            "phi", expected="shape (..., K, K)", received=f"{tuple(phi.shape)}", remedy="pass square matrices"
        )
    if group == "so":
        _check_skew(algebra)
    wide = algebra if algebra.dtype in (torch.float32, torch.float64) else algebra.float()
    return matrix_exponential(wide).to(algebra.dtype)


def _image(p: Gaussian, high: Tensor, low: Tensor) -> Gaussian:
    """N((high + low) mu, (high + low) Sigma (high + low)^T), the covariance kept as a double-double."""
    mean = p.mean.double().unsqueeze(-1)
    image_mean = product((high, low), (mean, torch.zeros_like(mean)))[0].squeeze(-1)
    half = product((high, low), p.structure.pair())
    up, down = product((high, low), (half[0].mT, half[1].mT))
    # Symmetric to the last bit: the lower triangle stands for both.
    up, down = (x.tril() + x.tril(-1).mT for x in (up, down))
    return Gaussian._from_full(image_mean, up, down)


def _skew_from_coordinates(phi: Tensor) -> Tensor:
    """Skew matrix from its entries below the diagonal, row by row."""
    count = phi.shape[-1]
    k = round((1 + (1 + 8 * count) ** 0.5) / 2)
    if k * (k - 1) // 2 != count:
        raise BadInput(
            "phi",
            expected="K (K - 1) / 2 coordinates (1, 3, 6, 10, ...)",
            received=f"{count}",
            remedy="pass the entries below the diagonal, row by row",
        )
    rows, columns = torch.tril_indices(k, k, offset=-1, device=phi.device)
    lower = phi.new_zeros(*phi.shape[:-1], k, k)
    lower[..., rows, columns] = phi
    return lower - lower.mT


def _check_skew(phi: Tensor) -> None:
    """Refuse what is not skew-symmetric: its exponential would not be a rotation."""
    d = phi.detach()
    bad = (d + d.mT).abs().amax((-2, -1)) > 4 * torch.finfo(d.dtype).eps * d.abs().amax((-2, -1))
    if bad.any():
        raise BadInput(
            name_at("phi", bad),
            expected="a skew-symmetric matrix",
            received="phi + phi^T not zero",
            remedy='pass (phi - phi.mT) / 2, or group="gl"',
        )
