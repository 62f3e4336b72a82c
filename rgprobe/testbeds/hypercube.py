r"""Uniform points in a k-dimensional cube, embedded isometrically: data of a known intrinsic dimension.

The cube is [0, 1]^k, turned into `ambient` dimensions at random, so distances are those of the cube. Near a point
inside, the ratio mu of the distances to the second and the first neighbour follows P(mu > m) = m^(-k), the law that the
TwoNN estimate inverts. Points near a face have neighbours on one side only, and sparse samples in many dimensions are all
near a face: finite samples are estimated low, a 5-dimensional cube of 2,000 points near 4.7, and from about 10
dimensions on no sample of practical size gives the absolute number.

Source: Facco, d'Errico, Rodriguez, Laio, Sci. Rep. 7, 12140 (2017).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from rgprobe.testbeds.options import require

__all__ = ["HypercubeTruth", "exact", "sample"]


@dataclass(frozen=True)
class HypercubeTruth:
    """What is known about the cube.

    Attributes:
        intrinsic_dimension: k.
        mean_squared_distance: E|x - y|^2 = k / 6 of two independent points.
        mean_log_ratio: E ln mu = 1 / k, for points without faces nearby.
    """

    intrinsic_dimension: int
    mean_squared_distance: float
    mean_log_ratio: float


def sample(*, points: int, dim: int, ambient: int, seed: int = 0) -> Float64[np.ndarray, "points ambient"]:
    """Independent uniform points.

    Args:
        points: at least 1.
        dim: k, at least 1.
        ambient: dimensions embedded in, at least k.
        seed: of points and rotation.

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> x = sample(points=5, dim=2, ambient=4)
        >>> x.shape, int(np.linalg.matrix_rank(x))
        ((5, 4), 2)
    """
    exact(dim=dim)
    require(points >= 1, "points", expected="an integer >= 1", received=points)
    require(ambient >= dim, "ambient", expected=f"an integer >= {dim}", received=ambient)
    generator = np.random.default_rng(seed)
    frame, _ = np.linalg.qr(generator.standard_normal((ambient, dim)))
    return generator.random((points, dim)) @ frame.T


def exact(*, dim: int) -> HypercubeTruth:
    """The dimension, and moments by which a sample can be checked.

    Raises:
        OptionError: dim below 1.

    Example:
        >>> exact(dim=3)
        HypercubeTruth(intrinsic_dimension=3, mean_squared_distance=0.5, mean_log_ratio=0.3333333333333333)
    """
    require(dim >= 1, "dim", expected="an integer >= 1", received=dim)
    return HypercubeTruth(dim, dim / 6, 1 / dim)
