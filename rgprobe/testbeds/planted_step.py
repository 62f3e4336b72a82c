r"""Series with one step in autocorrelated noise: what a changepoint finder has to find, and not to find.

y_t = step [t >= at] + x_t, x_t an AR(1) process of unit variance and correlation phi^|r|. The difference of the means after
and before `at` has expectation `step` and the variance w^T C w, C the noise's covariance and w the weights of the two
means; for long segments of lengths a and b this tends to (1 + phi)/(1 - phi) (1/a + 1/b). A finder that takes the noise for
independent, variance 1/a + 1/b, sees steps where there are none.

Source: elementary; for detection in such noise, Robbins et al., J. Time Ser. Anal. 32, 498 (2011).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from rgprobe.testbeds.ar1 import correlated
from rgprobe.testbeds.options import require

__all__ = ["StepTruth", "exact", "sample"]


@dataclass(frozen=True)
class StepTruth:
    """What is known about the series.

    Attributes:
        at: first index after the step.
        difference: expected difference of the means after and before.
        standard_error: of that difference, correlations included.
        naive_standard_error: of that difference, were the noise independent.
    """

    at: int
    difference: float
    standard_error: float
    naive_standard_error: float


def sample(
    *, series: int, length: int, at: int, step: float, phi: float = 0.0, seed: int = 0
) -> Float64[np.ndarray, "series length"]:
    """Independent series.

    Args:
        series: at least 1.
        length: at least 2.
        at: first index after the step, from 1 to length - 1.
        step: height in units of the noise's standard deviation; 0 for none.
        phi: correlation of neighbours, |phi| < 1.
        seed: of the generator.

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> drawn = sample(series=3, length=9, at=4, step=100.0)
        >>> np.abs(np.diff(drawn, axis=1)).argmax(1) + 1
        array([4, 4, 4])
    """
    _check(length, at, step, phi)
    require(series >= 1, "series", expected="an integer >= 1", received=series)
    x = correlated(np.random.default_rng(seed).standard_normal((length, series)), phi)
    x[at:] += step
    return x.T


def exact(*, length: int, at: int, step: float, phi: float = 0.0) -> StepTruth:
    """Expected difference of the means, and its standard error.

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> known = exact(length=20, at=10, step=2.0, phi=0.5)
        >>> round(known.standard_error, 4), round(known.naive_standard_error, 4)
        (0.6929, 0.4472)
    """
    _check(length, at, step, phi)
    t = np.arange(length)
    weights = np.where(t < at, -1 / at, 1 / (length - at))
    covariance = phi ** np.abs(t[:, None] - t).astype(float)
    variance = weights @ covariance @ weights
    return StepTruth(at, float(step), float(np.sqrt(variance)), float(np.sqrt(weights @ weights)))


def _check(length: int, at: int, step: float, phi: float) -> None:
    require(length >= 2, "length", expected="an integer >= 2", received=length)
    require(1 <= at < length, "at", expected=f"an integer from 1 to {length - 1}", received=at)
    require(bool(np.isfinite(step)), "step", expected="a finite number", received=step)
    require(abs(phi) < 1, "phi", expected="a number with |phi| < 1", received=phi)
