r"""Broadcast tree: a spin is copied down a b-ary tree, each edge wrong with probability (1 - theta) / 2.

Two leaves whose lowest common ancestor stands h levels above them are joined by 2h edges, so

    E[s_i s_j] = theta^(2h).

Averaged over all pairs of leaves at distance r = |i - j| of a tree of depth D, with N_h(r) = b^(D-h) max(b^h - r, 0) of
the b^D - r pairs joined at or below height h,

    C(r) = sum_h theta^(2h) [N_h(r) - N_(h-1)(r)] / (b^D - r),

an exact curve for the finite tree. It follows a power law, r^(-eta) with eta = -2 ln theta / ln b, but ripples around it
with period b and falls short of it near the size of the tree: compare measurements with the curve.

Source: Evans, Kenyon, Peres, Schulman, Ann. Appl. Probab. 10, 410 (2000); Lin & Tegmark, Entropy 19, 299 (2017).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int8

from rgprobe.testbeds.options import require

__all__ = ["BroadcastTree", "exact", "sample"]


@dataclass(frozen=True, eq=False)
class BroadcastTree:
    """What is known about a tree.

    Attributes:
        pair_correlation: theta^(2h) for leaves joined at height h = 0 ... D.
        correlation: C(r) for leaf distances r = 0 ... b^D - 1, averaged over all pairs.
        exponent: eta of the power law C(r) ~ r^(-eta).
    """

    pair_correlation: Float64[np.ndarray, " heights"]
    correlation: Float64[np.ndarray, " distances"]
    exponent: float


def sample(
    *, depth: int, samples: int, theta: float, branching: int = 2, seed: int = 0
) -> Int8[np.ndarray, "samples leaves"]:
    """Leaf spins of independent trees, in left-to-right order.

    Args:
        depth: D, levels of edges, at least 1.
        samples: number of trees, at least 1.
        theta: correlation of a child with its parent, in (0, 1].
        branching: b, children per node, at least 2.
        seed: of the generator.

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> sample(depth=2, samples=2, theta=1.0, seed=3)
        array([[-1, -1, -1, -1],
               [-1, -1, -1, -1]], dtype=int8)
    """
    _check(depth, theta, branching)
    require(samples >= 1, "samples", expected="an integer >= 1", received=samples)
    generator = np.random.default_rng(seed)
    spins = np.where(generator.random((samples, 1)) < 0.5, -1, 1).astype(np.int8)
    for _ in range(depth):
        spins = np.repeat(spins, branching, axis=1)
        spins = np.where(generator.random(spins.shape) < (1 - theta) / 2, -spins, spins)
    return spins


def exact(*, depth: int, theta: float, branching: int = 2) -> BroadcastTree:
    """Correlation by height, by leaf distance, and the exponent of the law between them.

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> tree = exact(depth=3, theta=0.5)
        >>> tree.pair_correlation
        array([1.      , 0.25    , 0.0625  , 0.015625])
        >>> tree.correlation[:3].round(4), tree.exponent
        (array([1.    , 0.1629, 0.0469]), 2.0)
    """
    _check(depth, theta, branching)
    pair = theta ** (2.0 * np.arange(depth + 1))
    sizes = branching ** np.arange(depth + 1)
    r = np.arange(sizes[-1])
    joined = (sizes[-1] // sizes)[:, None] * np.maximum(sizes[:, None] - r, 0)
    newly = np.diff(joined, axis=0, prepend=0)
    return BroadcastTree(pair, pair @ newly / (sizes[-1] - r), float(-2 * np.log(theta) / np.log(branching)))


def _check(depth: int, theta: float, branching: int) -> None:
    require(depth >= 1, "depth", expected="an integer >= 1", received=depth)
    require(0 < theta <= 1, "theta", expected="a number in (0, 1]", received=theta)
    require(branching >= 2, "branching", expected="an integer >= 2", received=branching)
