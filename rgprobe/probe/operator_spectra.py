"""Singular values, eigenvalues and moments of a linear operator that is known by its products alone.

Leading singular values come from Golub-Kahan-Lanczos bidiagonalisation: with orthonormal V and U,

    A V_m = U_m B_m,     A^T U_m = V_m B_m^T + beta_m v_(m+1) e_m^T,

the singular values of the small bidiagonal B_m approach those of A from the leading end, and the i-th is within
beta_m |e_m^T p_i| of one of A's, p_i being the left singular vectors of B_m. Bases are orthogonalised in full, in float64.
The leading eigenvalue comes from Arnoldi's process in the same way. Means over the whole spectrum come from random signs z:
E z^T M z = tr M.

Source: Golub and Kahan, SIAM J. Numer. Anal. B 2, 205 (1965); Arnoldi, Q. Appl. Math. 9, 17 (1951); Hutchinson, Commun. Stat.
Simul. 19, 433 (1990).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from rgprobe.checks import whole_number

__all__ = [
    "LeadingEigenvalue",
    "LeadingValues",
    "Operator",
    "OperatorMoments",
    "leading_eigenvalue",
    "leading_singular_values",
    "operator_moments",
]

CLOSED = 1e-10  # relative to the operator: what is left of a vector after orthogonalisation is rounding


@dataclass(frozen=True, eq=False)
class Operator:
    """A linear map of vectors, as products.

    Attributes:
        size: of the vectors that go in.
        forward: (k, size) -> (k, size out), A v of each row.
        back: (k, size out) -> (k, size), A^T u of each row.
    """

    size: int
    forward: Callable[[Tensor], Tensor]
    back: Callable[[Tensor], Tensor]

    @classmethod
    def of(cls, matrix: Float[Tensor, "rows columns"]) -> Operator:
        """A matrix at hand."""
        return cls(matrix.shape[1], lambda v: v.to(matrix) @ matrix.mT, lambda u: u.to(matrix) @ matrix)


@dataclass(frozen=True, eq=False)
class LeadingValues:
    """The largest singular values, falling.

    Attributes:
        values: sigma_1 >= sigma_2 >= ...
        bounds: each is within its bound of a singular value of the operator.
        steps: of the bidiagonalisation: products with A, and as many with A^T.
    """

    values: Float64[Tensor, " count"]
    bounds: Float64[Tensor, " count"]
    steps: int


@dataclass(frozen=True)
class LeadingEigenvalue:
    """The eigenvalue of largest modulus.

    Attributes:
        value: lambda.
        residual: |A y - lambda y| of its unit Ritz vector; for a normal operator lambda is within it of an eigenvalue.
    """

    value: complex
    residual: float


@dataclass(frozen=True)
class OperatorMoments:
    """Means over the spectrum of a square operator A on N dimensions.

    Attributes:
        mean_square: |A|_F^2 / N, the mean square singular value: growth of the square of a random perturbation.
        effective_rank: (sum sigma^2)^2 / (N sum sigma^4), share of the directions that carry it, between 1/N and 1.
        nonnormality: see `operator_moments`, between 0 and 1.
    """

    mean_square: float
    effective_rank: float
    nonnormality: float


def leading_singular_values(
    operator: Operator, *, count: int = 8, steps: int = 64, tolerance: float = 1e-6, seed: int = 0
) -> LeadingValues:
    """The largest singular values of an operator, from products with it and with its transpose.

    Stops when all bounds are below `tolerance` times the largest value, or after `steps`. Where the Krylov space closes, a new
    random direction is taken, up to `count` times, so that multiple singular values are found as often as they occur.

    Args:
        operator: A.
        count: how many; fewer are returned if there are fewer dimensions or steps.
        steps: at most.
        tolerance: relative to the largest singular value.
        seed: of the first direction.

    Raises:
        OptionError: count or steps below 1.

    Example:
        >>> a = torch.diag(torch.tensor([1.0, 3.0, 2.0, 3.0], dtype=torch.float64))
        >>> leading_singular_values(Operator.of(a), count=3).values.round(decimals=6).tolist()
        [3.0, 3.0, 2.0]
    """
    whole_number("count", count, least=1)
    whole_number("steps", steps, least=1)
    generator = torch.Generator().manual_seed(seed)
    right = [_direction(operator.size, generator)]
    left: list[Tensor] = []
    diagonal, above = list[float](), list[float]()
    closures = 0
    while True:
        u, alpha, _ = _next(_one(operator.forward, right[-1]), left, diagonal + above, generator)
        left.append(u)
        diagonal.append(alpha)
        v, beta, closed = _next(_one(operator.back, u), right, diagonal + above, generator)
        closures += closed
        found = _ritz_values(diagonal, above, beta, min(count, operator.size))
        converged = len(found.values) == min(count, operator.size) and bool(
            (found.bounds <= tolerance * found.values[0]).all()
        )
        # within one Krylov space a multiple value shows once: each closure may uncover one more copy
        if len(right) >= min(steps, operator.size) or (converged and (not closed or closures >= count)):
            return found
        right.append(v)
        above.append(beta)


def leading_eigenvalue(
    operator: Operator, *, steps: int = 32, tolerance: float = 1e-6, seed: int = 0
) -> LeadingEigenvalue:
    """The eigenvalue of largest modulus of a square operator, from products with it.

    Stops when its residual is below `tolerance` times its modulus, or after `steps`.

    Raises:
        OptionError: steps below 1.

    Example:
        >>> a = torch.tensor([[0.0, -0.5], [0.5, 0.0]], dtype=torch.float64)  # a quarter turn, halved
        >>> round(abs(leading_eigenvalue(Operator.of(a)).value), 6)
        0.5
    """
    whole_number("steps", steps, least=1)
    generator = torch.Generator().manual_seed(seed)
    limit = min(steps, operator.size)
    basis = [_direction(operator.size, generator)]
    hessenberg = torch.zeros(limit, limit, dtype=torch.float64)
    while True:
        size = len(basis)
        image = _one(operator.forward, basis[-1])
        hessenberg[:size, size - 1] = torch.stack(basis) @ image
        v, beta, _ = _next(image, basis, [], generator)
        values, vectors = torch.linalg.eig(hessenberg[:size, :size])
        top = int(values.abs().argmax())
        residual = beta * float(vectors[-1, top].abs())
        if residual <= tolerance * float(values[top].abs()) or size >= limit:
            return LeadingEigenvalue(complex(values[top]), residual)
        hessenberg[size, size - 1] = beta
        basis.append(v)


def operator_moments(operator: Operator, *, draws: int = 4, seed: int = 0) -> OperatorMoments:
    """Mean square singular value, effective rank and non-normality of a square operator, from random signs.

    Non-normality compares the Gram matrices of the two sides of D = A - c 1, c = tr A / N:

        sqrt(1 - <D^T D, D D^T> / |D^T D|_F^2) = |D^T D - D D^T|_F / (sqrt 2 |D^T D|_F).

    It is 0 for a normal operator, whose singular vectors on both sides agree, 1 where they are disjoint (a shift), 1/sqrt 2 for
    independent Gaussian entries. It needs no eigenvalues, has no units, and neither a factor nor a multiple of the identity
    changes it: what a residual connection adds to a block is no part of it. Undefined (NaN) where D vanishes.

    Costs two products with A and two with A^T per draw. Relative errors are of order sqrt(2 / (draws N)).

    Source: Henrici, Numer. Math. 4, 24 (1962), the commutator as a measure of the departure from normality.

    Raises:
        OptionError: draws below 1.

    Example:
        >>> found = operator_moments(Operator.of(2 * torch.eye(5, dtype=torch.float64)))
        >>> found.mean_square, found.effective_rank, found.nonnormality
        (4.0, 1.0, nan)
    """
    whole_number("draws", draws, least=1)
    generator = torch.Generator().manual_seed(seed)
    z = torch.randint(0, 2, (draws, operator.size), generator=generator).double() * 2 - 1
    pushed, pulled = operator.forward(z).double().to(z), operator.back(z).double().to(z)
    shift = float((z * pushed).sum()) / (draws * operator.size)
    out, back = pushed - shift * z, pulled - shift * z  # D z and D^T z
    inner = operator.back(out).double().to(z) - shift * out  # D^T D z
    outer = operator.forward(back).double().to(z) - shift * back  # D D^T z
    gram = inner + shift * out + shift * pulled  # A^T A z
    square, fourth = float(pushed.square().sum()), float(gram.square().sum())
    # both sides estimate |D^T D|_F^2; their difference is taken before any sum, so that normal operators give 0
    both = float(inner.square().sum() + outer.square().sum())
    vanishes = both <= (CLOSED * square / draws) ** 2
    return OperatorMoments(
        mean_square=square / (draws * operator.size),
        effective_rank=square**2 / (fourth * draws * operator.size) if fourth > 0 else float("nan"),
        nonnormality=float("nan") if vanishes else float(((inner - outer).square().sum() / both).sqrt()),
    )


def _ritz_values(diagonal: list[float], above: list[float], beta: float, count: int) -> LeadingValues:
    """Singular values of the bidiagonal matrix, and how far they may be from those of the operator."""
    small = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    if above:
        small = small + torch.diag(torch.tensor(above, dtype=torch.float64), 1)
    left, values, _ = torch.linalg.svd(small)
    return LeadingValues(values[:count], beta * left[-1, :count].abs(), len(diagonal))


def _next(
    vector: Tensor, basis: list[Tensor], known: list[float], generator: torch.Generator
) -> tuple[Tensor, float, bool]:
    """What a vector adds to an orthonormal basis: unit vector, length, and whether nothing (then a random one)."""
    rest = _orthogonal(vector, basis)
    length = float(rest.norm())
    if length > CLOSED * max([float(vector.norm()), *known]):
        return rest / length, length, False
    if len(basis) >= len(vector):
        return torch.zeros_like(vector), 0.0, True
    fresh = _orthogonal(_direction(len(vector), generator).to(vector), basis)
    return fresh / fresh.norm(), 0.0, True


def _orthogonal(vector: Tensor, basis: list[Tensor]) -> Tensor:
    # once is not enough: what is left after the first time may be mostly rounding
    for _ in range(2 if basis else 0):
        rows = torch.stack(basis)
        vector = vector - (rows @ vector) @ rows
    return vector


def _direction(size: int, generator: torch.Generator) -> Float64[Tensor, " size"]:
    vector = torch.randn(size, generator=generator, dtype=torch.float64)
    return vector / vector.norm()


def _one(product: Callable[[Tensor], Tensor], vector: Tensor) -> Float64[Tensor, " size"]:
    return product(vector[None])[0].double().to(vector)
