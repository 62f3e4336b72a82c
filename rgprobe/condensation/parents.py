"""Topology as a parent array, the form in which trees are stored."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from rgprobe.errors import BadInput

__all__ = ["linkage_from_pairs", "linkage_from_parents"]


def linkage_from_pairs(pairs: np.ndarray, costs: Float64[np.ndarray, "M"]) -> Float64[np.ndarray, "M 4"]:
    """SciPy linkage matrix of merged node pairs (N-1, 2) and single costs: heights are cumulative costs."""
    n = len(costs) + 1
    sizes = np.ones(2 * n - 1)
    for k, pair in enumerate(pairs):
        sizes[n + k] = sizes[pair].sum()
    return np.column_stack([np.sort(pairs, axis=1).astype(np.float64), np.cumsum(costs), sizes[n:]])


def linkage_from_parents(
    parents: np.ndarray, costs: Float64[np.ndarray, "M"]
) -> tuple[Float64[np.ndarray, "M 4"], Float64[np.ndarray, "M"]]:
    """Linkage matrix and merge costs of a parent array (2N-1,), -1 for the root.

    Raises:
        BadInput: the array is not that of a binary tree numbered in merge order; costs negative, not finite or too few.
    """
    n = costs.shape[0] + 1 if costs.ndim == 1 else 0
    if parents.dtype.kind not in "iu" or parents.shape != (2 * n - 1,):
        raise _unfit(
            "parents", f"{2 * n - 1} integers for {n - 1} merge costs", f"{parents.dtype} of shape {parents.shape}"
        )
    if not (np.isfinite(costs).all() and (costs >= 0).all()):
        raise _unfit("merge_costs", "finite numbers >= 0", "a negative or non-finite cost")
    children = np.arange(2 * n - 2)
    above = parents[:-1].astype(np.int64)
    if parents[-1] != -1 or (above < n).any() or (above <= children).any() or (above > 2 * n - 2).any():
        raise _unfit("parents", "each parent a later internal node, -1 for the last", "another numbering")
    if (np.bincount(above, minlength=2 * n - 1)[n:] != 2).any():
        raise _unfit("parents", "two children for each internal node", "another number")
    pairs = np.argsort(above, kind="stable").reshape(-1, 2)
    return linkage_from_pairs(pairs, costs), costs.copy()


def _unfit(culprit: str, expected: str, received: str) -> BadInput:
    return BadInput(
        culprit, expected=expected, received=received, remedy="pass tree.parents and tree.merge_costs as stored"
    )
