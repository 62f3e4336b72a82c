r"""Outputs of random ReLU networks: how far from Gaussian an ensemble over weights is at width n.

With weights N(0, 2 / n) and one input, the preactivations of a layer are independent N(0, s^2) given the layer below, and
s^2 of the next layer is s^2 times the mean of n independent 2 relu(z)^2, each of mean 1 and second moment 6. The output of
depth D is N(0, s_D^2) given the hidden layers, so that

    E f^4 / (E f^2)^2 = 3 (1 + 5/n)^D,      excess kurtosis = 3 [(1 + 5/n)^D - 1],

exactly: 15/n for one hidden layer, and 15 D / n to first order, the depth over the width. This is non-Gaussianity over
*weights*, not over data of one network.

Source: Yaida, MSML 2020 (arXiv:1910.00019); Hanin & Nica, Commun. Math. Phys. 376, 287 (2020); the exact form is derived
above.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from rgprobe.testbeds.options import require

__all__ = ["exact", "sample"]


def sample(*, networks: int, width: int, depth: int = 1, seed: int = 0) -> Float64[np.ndarray, " networks"]:
    """One output of each of many independent networks, for one input of mean square 1.

    Preactivations are drawn from their law given the layer below instead of through weight matrices, which for a
    single input is the same.

    Args:
        networks: at least 1.
        width: n, of every hidden layer, at least 1.
        depth: D, hidden layers, at least 1.
        seed: of the generator.

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> sample(networks=3, width=5).shape
        (3,)
    """
    _check(width, depth)
    require(networks >= 1, "networks", expected="an integer >= 1", received=networks)
    generator = np.random.default_rng(seed)
    variance = np.ones(networks)
    for _ in range(depth):
        z = generator.standard_normal((networks, width))
        variance = variance * 2 * (np.maximum(z, 0.0) ** 2).mean(1)
    return np.sqrt(variance) * generator.standard_normal(networks)


def exact(*, width: int, depth: int = 1) -> float:
    """Excess kurtosis 3 [(1 + 5/n)^D - 1] over weights; 15/n for one hidden layer.

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> round(exact(width=100), 12), round(exact(width=100, depth=2), 12)
        (0.15, 0.3075)
    """
    _check(width, depth)
    return float(3 * np.expm1(depth * np.log1p(5 / width)))


def _check(width: int, depth: int) -> None:
    require(width >= 1, "width", expected="an integer >= 1", received=width)
    require(depth >= 1, "depth", expected="an integer >= 1", received=depth)
