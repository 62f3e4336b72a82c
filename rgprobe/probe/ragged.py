"""Arrays of unequal shape in one array."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["stack_ragged"]


def stack_ragged(arrays: Sequence[np.ndarray], fill: float | int) -> np.ndarray:
    """Stack along a new first axis; what an array lacks is filled; one array alone is not copied.

    Example:
        >>> stack_ragged([np.array([3, 4]), np.array([5])], -1)
        array([[ 3,  4],
               [ 5, -1]])
    """
    if len(arrays) == 1:
        return arrays[0][None]
    shape = np.max([array.shape for array in arrays], axis=0)
    out = np.full((len(arrays), *shape), fill, dtype=arrays[0].dtype)
    for row, array in zip(out, arrays, strict=True):
        row[tuple(slice(0, size) for size in array.shape)] = array
    return out
