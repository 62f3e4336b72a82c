"""Planted Gaussian binary tree: leaves whose means descend from a hierarchy of splits; the right tree is known."""

from __future__ import annotations

import math

import torch

from rgprobe.gaussian import Gaussian
from rgprobe.testbeds.options import require

__all__ = ["exact", "sample"]


def sample(
    *, depth: int = 4, dim: int = 8, ratio: float = 0.5, spread: float = 1.0, noise: float = 0.0, seed: int = 0
) -> Gaussian:
    r"""Beliefs at the 2^depth leaves of a complete binary tree, in left-to-right order.

    A node of level k (root 0) with mean mu has children mu +- l_(k+1) u, u a random unit vector of its own, with branch
    lengths l_k = ratio^(k - depth), so that the last branches have length 1. A leaf is N(mu + noise * z, spread^2 S), z
    standard normal per coordinate over sqrt(dim), S a random covariance with eigenvalues within a factor 2 of each
    other. In 8 or more dimensions greedy condensation finds every planted clade up to noise 0.1, with either centroid;
    in 2 dimensions cousins overlap and it does not.

    Args:
        depth: levels of splits, at least 1.
        dim: K, at least 2.
        ratio: length of a branch over that of its parent's, in (0, 1).
        spread: standard deviation of the leaf beliefs in units of the last branch.
        noise: root-mean-square displacement of the leaf means in units of the last branch.
        seed: of the generator; equal seeds give equal beliefs.

    Returns:
        Gaussian of batch shape (2^depth,), float64.

    Raises:
        OptionError: depth < 1, dim < 2, ratio outside (0, 1), spread not positive or noise negative.

    Example:
        >>> sample(depth=3, dim=4)
        Gaussian(batch_shape=(8,), dim=4, kept=Full, dtype=torch.float64)
    """
    require(depth >= 1, "depth", expected="an integer >= 1", received=depth)
    require(dim >= 2, "dim", expected="an integer >= 2", received=dim)
    require(0 < ratio < 1, "ratio", expected="a number in (0, 1)", received=ratio)
    require(0 < spread < math.inf, "spread", expected="a number > 0", received=spread)
    require(0 <= noise < math.inf, "noise", expected="a number >= 0", received=noise)
    generator = torch.Generator().manual_seed(seed)
    means = torch.zeros(1, dim, dtype=torch.float64)
    for level in range(1, depth + 1):
        u = torch.randn(len(means), dim, generator=generator, dtype=torch.float64)
        step = ratio ** (level - depth) * u / u.norm(dim=-1, keepdim=True)
        means = torch.stack([means - step, means + step], dim=1).reshape(-1, dim)
    jitter = torch.randn(means.shape, generator=generator, dtype=torch.float64) / math.sqrt(dim)
    turns, _ = torch.linalg.qr(torch.randn(len(means), dim, dim, generator=generator, dtype=torch.float64))
    variances = spread**2 * 2 ** (torch.rand(len(means), 1, dim, generator=generator, dtype=torch.float64) - 0.5)
    covariance = (turns * variances) @ turns.mT
    return Gaussian.from_covariance(means + noise * jitter, (covariance + covariance.mT) / 2)


def exact(*, depth: int = 4) -> set[frozenset[int]]:
    """The planted clades: leaf sets of the inner nodes below the root.

    Example:
        >>> sorted(sorted(c) for c in exact(depth=2))
        [[0, 1], [2, 3]]
    """
    require(depth >= 1, "depth", expected="an integer >= 1", received=depth)
    sizes = (2 ** (depth - level) for level in range(1, depth))
    return {frozenset(range(i, i + size)) for size in sizes for i in range(0, 2**depth, size)}
