"""How an amount grows with a size: the exponent of a power law, with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

__all__ = ["Growth", "growth"]


@dataclass(frozen=True)
class Growth:
    """Slope of log amount against log size.

    Attributes:
        exponent: least squares; NaN for a single size.
        low, high: 95% interval, Student's t with two degrees of freedom fewer than points; NaN below three. What it carries
            is noise and curvature together: small sizes are mostly overhead, so a line bends.
    """

    exponent: float
    low: float
    high: float

    def __str__(self) -> str:
        if math.isnan(self.low):
            return "-" if math.isnan(self.exponent) else f"{self.exponent:.2f}"
        return f"{self.exponent:.2f} ({self.low:.2f} to {self.high:.2f})"


def growth(sizes: Sequence[float | int], amounts: Sequence[float | int]) -> Growth:
    """The exponent of amounts ~ sizes^exponent.

    Example:
        >>> str(growth([1, 2, 4, 8], [3, 12, 48, 192])), str(growth([1, 2], [1, 2])), str(growth([1], [1]))
        ('2.00 (2.00 to 2.00)', '1.00', '-')
    """
    if len(sizes) < 2:
        return Growth(math.nan, math.nan, math.nan)
    x, y = np.log(sizes), np.log(amounts)
    slope, level = np.polyfit(x, y, 1)
    if len(sizes) < 3:
        return Growth(float(slope), math.nan, math.nan)
    left = y - slope * x - level
    error = math.sqrt(float(left @ left) / (len(x) - 2) / float(((x - x.mean()) ** 2).sum()))
    reach = float(stats.t.ppf(0.975, len(x) - 2)) * error
    return Growth(float(slope), float(slope) - reach, float(slope) + reach)
