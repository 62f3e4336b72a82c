r"""Coarse-graining in feature space: integrate out directions along which states vary little, or average units that agree.

Two ways to go from d coordinates to d / c, fitted to a population of states with mean m and standard deviations s:

    principal   x -> m + V V^T (x - m), V the d / c leading principal directions: a cutoff in the spectrum of the covariance
    paired      z = (x - m) / s; the two coordinates of largest |correlation| are replaced by their (signed) mean, then the
                next two, ..., and the same again with the means: clusters of c coordinates, one number each

A random subspace of d / c dimensions is the null: it cuts as much, blindly. The field that is left, each coordinate over its
standard deviation in the population, has moments that a Gaussian keeps at every cutoff, by either way.

Source: Bradde & Bialek, J. Stat. Phys. 167, 462 (2017) for the cutoff; Meshulam, Gauthier, Brody, Tank & Bialek, Phys. Rev.
Lett. 123, 178103 (2019) for pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int
from torch import Tensor

__all__ = [
    "FeatureCut",
    "field_moments",
    "paired_cut",
    "paired_units",
    "principal_cut",
    "principal_directions",
    "random_cut",
]


@dataclass(frozen=True, eq=False)
class FeatureCut:
    """A projection of states, orthogonal in coordinates measured in units of `scale`.

    Attributes:
        mean: of the population, (d,).
        scale: 1, or standard deviations, (d,).
        directions: orthonormal columns that are kept, (d, k).
        spread: standard deviation in the population of each coordinate of what is left, (d,).
    """

    mean: Float64[Tensor, " d"]
    scale: Float64[Tensor, " d"]
    directions: Float64[Tensor, "d k"]
    spread: Float64[Tensor, " d"]

    def __call__(self, states: Float64[Tensor, "*rows d"]) -> Float64[Tensor, "*rows d"]:
        """States without what is cut: m + s V V^T (x - m) / s."""
        return self.mean + self.field(states)

    def field(self, states: Float64[Tensor, "*rows d"]) -> Float64[Tensor, "*rows d"]:
        """What is left about the mean."""
        return ((states - self.mean) / self.scale) @ self.directions @ self.directions.T * self.scale


def principal_directions(points: Float64[Tensor, "n d"]) -> Float64[Tensor, "d d"]:
    """Principal directions of points as columns, the variance along them falling.

    Example:
        >>> import torch
        >>> points = torch.tensor([[0.0, 3.0], [0.0, -3.0], [1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
        >>> principal_directions(points)[:, 0].abs()
        tensor([0., 1.], dtype=torch.float64)
    """
    centred = points - points.mean(0)
    return torch.linalg.eigh(centred.T @ centred).eigenvectors.flip(1)


def principal_cut(points: Float64[Tensor, "n d"], directions: Float64[Tensor, "d d"], factor: int) -> FeatureCut:
    """Keep the leading 1 / factor of the principal directions."""
    return _cut(points, torch.ones_like(points[0]), directions[:, : _kept_of(points.shape[1], factor)])


def random_cut(points: Float64[Tensor, "n d"], factor: int, generator: torch.Generator) -> FeatureCut:
    """Keep a random subspace of as many dimensions, uniform over all of them."""
    width = points.shape[1]
    drawn = torch.randn(width, _kept_of(width, factor), generator=generator, dtype=points.dtype)
    return _cut(points, torch.ones_like(points[0]), torch.linalg.qr(drawn).Q)


def paired_cut(points: Float64[Tensor, "n d"], clusters: Sequence[Int[np.ndarray, "_"]]) -> FeatureCut:
    """Replace the coordinates of each cluster, in standard deviations, by their signed mean.

    Args:
        points: the population.
        clusters: of `paired_units`: coordinates + 1, negative where a coordinate enters with a minus sign.
    """
    directions = points.new_zeros(points.shape[1], len(clusters))
    for column, cluster in enumerate(clusters):
        members = torch.from_numpy(np.abs(cluster) - 1)
        directions[members, column] = torch.from_numpy(np.sign(cluster) / np.sqrt(len(cluster))).to(points)
    spread = points.std(0, correction=0)
    return _cut(points, torch.where(spread > 0, spread, torch.ones_like(spread)), directions)


def paired_units(points: Float64[Tensor, "n d"], levels: int) -> list[list[Int[np.ndarray, "_"]]]:
    """Clusters of 2, 4, 8, ... coordinates: pairs of largest |correlation| first, then pairs of their signed sums.

    What is left over where a number of units is odd stays alone.

    Returns:
        for each level the clusters, in the order in which they were made; see `paired_cut` for their entries.

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0, 0.0, -1.0, 0.1], [0.0, 1.0, 0.1, 1.0], [-1.0, 0.0, 1.0, 0.0]], dtype=torch.float64)
        >>> [cluster.tolist() for cluster in paired_units(x, 1)[0]]
        [[1, -3], [2, 4]]
    """
    units = (points - points.mean(0)).numpy()
    spread = units.std(0)
    units = units / np.where(spread > 0, spread, 1.0)
    clusters = [np.array([index + 1]) for index in range(units.shape[1])]
    found = []
    for _ in range(levels):
        pairs, alone = _greedy_pairs(_correlations(units))
        merged = [np.concatenate([clusters[a], sign * clusters[b]]) for a, b, sign in pairs]
        sums = [units[:, a] + sign * units[:, b] for a, b, sign in pairs]
        clusters = [*merged, *(clusters[index] for index in alone)]
        units = np.stack([*sums, *(units[:, index] for index in alone)], 1)
        found.append(clusters)
    return found


def field_moments(states: Float64[Tensor, "n d"], cut: FeatureCut) -> tuple[float, float]:
    """Second and fourth moment of the field that a cut leaves, each coordinate over its spread in the population.

    A coordinate of which nothing is left does not count. For Gaussian states the fourth is three times the second squared.
    """
    alive = cut.spread > 1e-9 * cut.spread.max()
    field = cut.field(states)[:, alive] / cut.spread[alive]
    return float(field.square().mean()), float(field.pow(4).mean())


def _kept_of(width: int, factor: int) -> int:
    """Dimensions that are left, at least one."""
    return max(width // factor, 1)


def _cut(points: Tensor, scale: Tensor, directions: Tensor) -> FeatureCut:
    mean = points.mean(0)
    bare = FeatureCut(mean, scale, directions, torch.ones_like(mean))
    return FeatureCut(mean, scale, directions, bare.field(points).std(0, correction=0))


def _correlations(units: np.ndarray) -> np.ndarray:
    centred = units - units.mean(0)
    size = np.sqrt((centred**2).sum(0))
    centred = centred / np.where(size > 0, size, 1.0)
    return centred.T @ centred


def _greedy_pairs(correlation: np.ndarray) -> tuple[list[tuple[int, int, int]], list[int]]:
    """(a, b, sign) from the largest |correlation| down, each unit once, and what is left alone."""
    rows, columns = np.triu_indices(len(correlation), 1)
    order = np.argsort(-np.abs(correlation[rows, columns]), kind="stable")
    free = np.ones(len(correlation), dtype=bool)
    pairs = []
    for a, b in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if free[a] and free[b]:
            free[[a, b]] = False
            pairs.append((a, b, -1 if correlation[a, b] < 0 else 1))
    return pairs, np.flatnonzero(free).tolist()
