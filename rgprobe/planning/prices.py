"""What each amount of a job costs, from jobs that were timed."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64
from scipy.optimize import nnls

__all__ = ["fitted", "shown"]

SHOWN = 4.0  # F = 12 with eight samples and four amounts: noise alone has it in some 3% of fits at most


def fitted(
    amounts: Float64[np.ndarray, "samples amounts"], took: Float64[np.ndarray, " samples"]
) -> Float64[np.ndarray, " amounts"]:
    """Non-negative prices of the amounts, by least squares of relative errors.

    A price below zero would make large jobs cheap. Amounts that no sample varies share their price in some way, which does not
    matter where they grow together.

    Source: Lawson and Hanson (1974).

    Example:
        >>> seen = np.array([[1.0, 1.0], [1.0, 4.0], [1.0, 9.0]])
        >>> np.round(fitted(seen, seen @ np.array([5.0, 2.0])), 6).tolist()
        [5.0, 2.0]
    """
    scale = amounts.max(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    weight = 1.0 / np.maximum(took, 1e-12)
    prices, _ = nnls(amounts / scale * weight[:, None], took * weight)
    return prices / scale


def shown(
    amounts: Float64[np.ndarray, "samples amounts"], took: Float64[np.ndarray, " samples"]
) -> Float64[np.ndarray, " amounts"]:
    """Prices as `fitted` finds them, that of the last amount 0 unless without it squared errors are four times as large.

    Example:
        >>> seen = np.array([[1.0, 1.0], [1.0, 4.0], [1.0, 9.0]])
        >>> shown(seen, np.array([5.0, 5.01, 4.99])).tolist()[1], round(shown(seen, seen @ np.array([5.0, 2.0])).tolist()[1], 6)
        (0.0, 2.0)
    """
    few, every = np.append(fitted(amounts[:, :-1], took), 0.0), fitted(amounts, took)
    errors = [float((((amounts @ prices) / np.maximum(took, 1e-12) - 1) ** 2).sum()) for prices in (few, every)]
    return every if errors[0] > SHOWN * errors[1] else few
