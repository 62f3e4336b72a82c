"""Student's t, at the confidence that every interval of rgprobe has."""

from __future__ import annotations

import numpy as np
from scipy import special

__all__ = ["CONFIDENCE", "t_quantile"]

CONFIDENCE = 0.95


def t_quantile(freedom: int | np.integer | np.ndarray) -> np.ndarray | np.float64:
    """How many standard errors the two-sided 95% interval reaches to either side of a mean.

    Args:
        freedom: degrees of freedom, whole or not, elementwise; fewer than one count as one.

    Example:
        >>> t_quantile(np.array([0, 1, 10])).round(3).tolist(), round(float(t_quantile(19)), 3)
        ([12.706, 12.706, 2.228], 2.093)
    """
    return special.stdtrit(np.maximum(freedom, 1), (1 + CONFIDENCE) / 2)
