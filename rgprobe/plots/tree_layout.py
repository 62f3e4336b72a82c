"""Where the nodes of a condensation tree stand when it is drawn: interactive figures and those for papers share it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rgprobe.condensation import CondensationTree

__all__ = ["TreeLayout", "leaf_order", "tree_layout"]


@dataclass(frozen=True, eq=False)
class TreeLayout:
    """Places of the 2N - 1 nodes: the tokens first, then the merges in their order.

    Attributes:
        order: tokens from top to bottom, without crossings.
        rows: (2N-1,) place across: 0 to N - 1 for the tokens, half way between its branches for a merge.
        heights: (2N-1,) information lost so far, nats per token; 0 for the tokens.
        forks: per merge, the four corners of its bracket: (rows, heights).
    """

    order: tuple[int, ...]
    rows: np.ndarray
    heights: np.ndarray
    forks: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...]


def tree_layout(tree: CondensationTree) -> TreeLayout:
    """Lay a tree out.

    Example:
        >>> from rgprobe.condensation import condense
        >>> layout = tree_layout(condense(np.array([[0.8, 0.2], [0.1, 0.9], [0.7, 0.3]])))
        >>> layout.order, layout.rows.tolist()
        ((0, 2, 1), [0.0, 2.0, 1.0, 0.5, 1.25])
    """
    n = tree.n_leaves
    order = leaf_order(tree)
    rows = np.empty(2 * n - 1)
    rows[order] = np.arange(n)
    heights = np.concatenate([np.zeros(n), tree.heights])
    forks = []
    for k, (a, b) in enumerate(tree.linkage[:, :2].astype(int)):
        rows[n + k] = (rows[a] + rows[b]) / 2
        top = float(heights[n + k])
        across = (float(rows[a]), float(rows[a]), float(rows[b]), float(rows[b]))
        forks.append((across, (float(heights[a]), top, top, float(heights[b]))))
    return TreeLayout(tuple(order), rows, heights, tuple(forks))


def leaf_order(tree: CondensationTree) -> list[int]:
    """Tokens from top to bottom, without crossings; of two branches the one with the earlier token comes first."""
    n = tree.n_leaves
    members = [[leaf] for leaf in range(n)]
    for a, b in tree.linkage[:, :2].astype(int):
        members.append(members[a] + members[b] if min(members[a]) < min(members[b]) else members[b] + members[a])
    return members[-1]
