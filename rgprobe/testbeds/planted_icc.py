r"""Families of paraphrases with a planted intraclass correlation, and the law of its estimate.

Member p of family f is sqrt(icc) u_f + sqrt(1 - icc) e_fp with standard normal u, e in every dimension, so that

    icc = between / (between + within),

the share of the variance that families explain. With F families of k members in d dimensions the mean squares have
expectations (1 - icc) + k icc between and (1 - icc) within families; their ratio over that of the expectations is F
distributed with d (F - 1) and d F (k - 1) degrees of freedom. The one-way estimate, (ratio - 1) / (ratio + k - 1), is an
increasing function of the ratio, so its quantiles are exact too.

Source: Shrout & Fleiss, Psychol. Bull. 86, 420 (1979), ICC(1,1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.stats import f as f_distribution

from rgprobe.testbeds.options import require

__all__ = ["ICCTruth", "exact", "sample"]


@dataclass(frozen=True)
class ICCTruth:
    """What is known about families of a given icc.

    Attributes:
        icc: the planted value.
        between: expected mean square between families.
        within: expected mean square within families.
        estimate_interval: central interval of the one-way estimate, of the asked coverage.
    """

    icc: float
    between: float
    within: float
    estimate_interval: tuple[float, float]


def sample(
    *, families: int, members: int, icc: float, dim: int = 1, seed: int = 0
) -> Float64[np.ndarray, "families members dim"]:
    """Families of unit total variance per dimension.

    Args:
        families: F, at least 2.
        members: k, at least 2.
        icc: in [0, 1].
        dim: independent dimensions of equal icc, at least 1.
        seed: of the generator.

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> drawn = sample(families=3, members=4, icc=1.0)
        >>> bool((drawn == drawn[:, :1]).all())
        True
    """
    _check(families, members, icc, dim)
    generator = np.random.default_rng(seed)
    own = generator.standard_normal((families, 1, dim))
    return np.sqrt(icc) * own + np.sqrt(1 - icc) * generator.standard_normal((families, members, dim))


def exact(*, families: int, members: int, icc: float, dim: int = 1, coverage: float = 0.95) -> ICCTruth:
    """Expected mean squares, and the interval in which the one-way estimate lies with the given probability.

    Raises:
        OptionError: an option outside its domain, or coverage outside (0, 1).

    Example:
        >>> known = exact(families=40, members=8, icc=0.2)
        >>> round(known.between, 12), [round(end, 3) for end in known.estimate_interval]
        (2.4, [0.089, 0.313])
    """
    _check(families, members, icc, dim)
    require(0 < coverage < 1, "coverage", expected="a number in (0, 1)", received=coverage)
    between, within = 1 - icc + members * icc, 1 - icc
    if within == 0:
        return ICCTruth(icc, between, within, (1.0, 1.0))
    tails = np.array([1 - coverage, 1 + coverage]) / 2
    freedom = dim * (families - 1), dim * families * (members - 1)
    ratio = between / within * f_distribution.ppf(tails, *freedom)
    low, high = (ratio - 1) / (ratio + members - 1)
    return ICCTruth(icc, between, within, (float(low), float(high)))


def _check(families: int, members: int, icc: float, dim: int) -> None:
    require(families >= 2, "families", expected="an integer >= 2", received=families)
    require(members >= 2, "members", expected="an integer >= 2", received=members)
    require(0 <= icc <= 1, "icc", expected="a number in [0, 1]", received=icc)
    require(dim >= 1, "dim", expected="an integer >= 1", received=dim)
