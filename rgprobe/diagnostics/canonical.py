"""Gaussian information and canonical correlations from one covariance, with its copies without each prompt.

Everything here follows from determinants and singular values of small covariances, so that a delete-one copy costs a matrix of
second moments and no second look at the data.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64, Int
from scipy import special, stats

from rgprobe.diagnostics.pooling import Estimates
from rgprobe.errors import NumericalRefusal

__all__ = [
    "ROWS_PER_VARIABLE",
    "canonical_pairs",
    "covariances",
    "gaussian_information",
    "leading_scores",
    "normal_scores",
    "require_rows",
    "shrinkage",
]

ROWS_PER_VARIABLE = 10  # a covariance from fewer rows is mostly noise, and information is read off its determinant


def normal_scores(values: Float[np.ndarray, "row variable"]) -> Float64[np.ndarray, "row variable"]:
    """Phi^-1((rank - 1/2) / n) of each variable: a few tokens of huge size cannot carry a correlation any more.

    Example:
        >>> normal_scores(np.array([[1.0], [1e9], [2.0]])).ravel().round(3)
        array([-0.967,  0.967,  0.   ])
    """
    return special.ndtri((stats.rankdata(values, axis=0) - 0.5) / len(values))


def leading_scores(
    points: Float[np.ndarray, "row variable"], count: int, *, skip: int = 0
) -> Float64[np.ndarray, "row component"]:
    """Normal scores along principal components `skip` + 1 ... `skip` + `count`, or as many as there are.

    Example:
        >>> leading_scores(np.random.default_rng(0).standard_normal((50, 7)), 4, skip=5).shape
        (50, 2)
    """
    centred = points.astype(np.float64) - points.mean(0, dtype=np.float64)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    present = int((values > 1e-12 * values[-1]).sum())
    kept = vectors[:, ::-1][:, skip : min(skip + count, present)]
    return normal_scores(centred @ kept)


def covariances(rows: Float[np.ndarray, "row variable"], owner: Int[np.ndarray, "row"]) -> Estimates:
    """Covariance of all rows, and without those of each prompt in turn; the prompts that own a row take part.

    Example:
        >>> x = np.random.default_rng(0).standard_normal((30, 2))
        >>> found = covariances(x, np.arange(30) % 5)
        >>> bool(np.allclose(found.deleted[3], np.cov(x[np.arange(30) % 5 != 3].T, bias=True)))
        True
    """
    present, place = np.unique(owner, return_inverse=True)
    x = rows - rows.mean(0, dtype=np.float64)  # any common centre cancels; this one keeps the digits
    width = x.shape[1]
    sums, products = np.zeros((len(present), width)), np.zeros((len(present), width, width))
    for prompt in range(len(present)):
        mine = x[place == prompt]
        sums[prompt], products[prompt] = mine.sum(0), mine.T @ mine
    counts = np.bincount(place)[:, None, None].astype(float)

    def covariance(count: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        mean = first / count[..., 0]
        return second / count - mean[..., :, None] * mean[..., None, :]

    full = covariance(counts.sum(0), sums.sum(0), products.sum(0))
    return Estimates(full, covariance(counts.sum(0) - counts, sums.sum(0) - sums, products.sum(0) - products))


def shrinkage(covariance: Float64[np.ndarray, "k k"], rows: int) -> float:
    """Intensity lambda in [0, 1] by which off-diagonal correlations are best shrunk towards 0.

        lambda = sum_(i != j) Var(r_ij) / sum_(i != j) r_ij^2,      Var(r) = (1 - r^2)^2 / (rows - 1).

    Source: Schaefer and Strimmer, Stat. Appl. Genet. Mol. Biol. 4, 32 (2005), with the Gaussian variance of r.

    Example:
        >>> round(shrinkage(np.array([[1.0, 0.5], [0.5, 1.0]]), 101), 4)
        0.0225
    """
    scale = np.sqrt(np.diagonal(covariance))
    r = (covariance / scale / scale[:, None])[~np.eye(len(covariance), dtype=bool)]
    noise, signal = ((1 - r**2) ** 2).sum() / max(rows - 1, 1), (r**2).sum()
    return float(min(1.0, noise / signal)) if signal > 0 else 1.0


def gaussian_information(
    covariance: Float64[np.ndarray, "*batch k k"],
    first: slice,
    second: slice,
    *,
    given: slice | None = None,
    shrink: float = 0.0,
) -> Float64[np.ndarray, "*batch"]:
    """I(first; second | given) of Gaussian variables, nats.

        I(x; y | z) = 1/2 [ln det C_xz + ln det C_yz - ln det C_z - ln det C_xyz]
                    = -1/2 sum_i ln(1 - rho_i^2),   rho_i the partial canonical correlations.

    Args:
        covariance: of all variables.
        first, second, given: which of them are x, y and z.
        shrink: off-diagonal entries are multiplied by 1 - shrink.

    Source: Cover and Thomas, Elements of Information Theory, chapter 8; Rao (1969) for partial canonical correlations.

    Example:
        >>> c = np.array([[1.0, 0.6], [0.6, 1.0]])
        >>> round(float(gaussian_information(c, slice(0, 1), slice(1, 2))), 6), round(float(-np.log(1 - 0.36)) / 2, 6)
        (0.223144, 0.223144)
    """
    eye = np.eye(covariance.shape[-1], dtype=bool)
    shrunk = np.where(eye, covariance, (1 - shrink) * covariance)
    every = np.arange(covariance.shape[-1])
    x, y, z = every[first], every[second], every[given] if given is not None else every[:0]

    def volume(*parts: np.ndarray) -> np.ndarray:
        chosen = np.concatenate(parts)
        return np.asarray(np.linalg.slogdet(shrunk[..., chosen[:, None], chosen])[1])

    with np.errstate(
        invalid="ignore"
    ):  # a volume of zero, of variables that determine each other: infinite, or undefined
        return np.asarray((volume(x, z) + volume(y, z) - volume(z) - volume(x, y, z)) / 2)


def canonical_pairs(
    covariance: Float64[np.ndarray, "*batch k k"], size: int
) -> tuple[Float64[np.ndarray, "*batch pairs"], Float64[np.ndarray, "*batch size pairs"]]:
    """Canonical correlations of the first `size` variables with the others, falling, and the filters of the first.

    A filter f holds the weights of standardised variables; f . x has unit variance and correlates with its partner by rho.

    Source: Hotelling, Biometrika 28, 321 (1936).

    Raises:
        NumericalRefusal: variables of one side that determine each other.

    Example:
        >>> rho, filters = canonical_pairs(np.array([[1.0, 0, 0], [0, 1, 0.6], [0, 0.6, 1]]), 2)
        >>> rho.round(6), abs(filters[:, 0]).round(6)
        (array([0.6]), array([0., 1.]))
    """
    scale = np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))
    r = covariance / scale[..., None, :] / scale[..., :, None]
    try:
        first, second = np.linalg.cholesky(r[..., :size, :size]), np.linalg.cholesky(r[..., size:, size:])
    except np.linalg.LinAlgError:
        raise NumericalRefusal(
            "canonical correlations", expected="variables that do not determine each other", received="a singular covariance",
            remedy="leave out variables that are copies or combinations of others",
        ) from None  # fmt: skip
    half = np.linalg.solve(first, r[..., :size, size:])
    whitened = np.swapaxes(np.linalg.solve(second, np.swapaxes(half, -1, -2)), -1, -2)
    left, rho, _ = np.linalg.svd(whitened, full_matrices=False)
    return rho, np.linalg.solve(np.swapaxes(first, -1, -2), left)


def require_rows(name: str, rows: int, variables: int) -> None:
    """Refuse a covariance of many variables from few rows.

    Raises:
        NumericalRefusal: fewer than 10 rows per variable.
    """
    if rows < ROWS_PER_VARIABLE * variables:
        raise NumericalRefusal(
            name, expected=f"{ROWS_PER_VARIABLE} rows or more for each of {variables} variables", received=f"{rows} rows",
            remedy="give more prompts or longer ones, or fewer dimensions",
        )  # fmt: skip
