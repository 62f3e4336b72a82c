"""A tree as a table of its nodes: what a notebook needs to draw it, and to link it to the tokens of a text and to a heatmap.

A condensation tree is stored as parents and single costs alone. Everything here follows from those and from where its tokens
stand in the text, so the tree stays the one source; docs/trees.md documents the JSON form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int

from rgprobe.condensation.tree import CondensationTree
from rgprobe.errors import BadInput

__all__ = ["TreeTable", "tree_table"]


@dataclass(frozen=True, eq=False)
class TreeTable:
    """The 2N - 1 nodes of a tree, tokens first, then merges in their order; node i of every column is the same node.

    Attributes:
        parent: -1 for the root.
        merge_loss: nats per token that the merge lost by itself; 0 for tokens.
        height: nats per token lost so far, when the node was made; 0 for tokens. Where a dendrogram draws it.
        weight: of the tokens below.
        support: number of tokens below.
        leaves: indices of the tokens below among the tree's own, ascending: rows and columns of a heatmap.
        positions: of those tokens in their text.
        text: of a token; of a merge the texts below, one after the other.
        order: the tokens from top to bottom of a drawing without crossings; of two branches that with the earlier token is
            first.
    """

    parent: Int[np.ndarray, "nodes"]
    merge_loss: Float64[np.ndarray, "nodes"]
    height: Float64[np.ndarray, "nodes"]
    weight: Float64[np.ndarray, "nodes"]
    support: Int[np.ndarray, "nodes"]
    leaves: tuple[tuple[int, ...], ...]
    positions: tuple[tuple[int, ...], ...]
    text: tuple[str, ...]
    order: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, in the names of the attributes, ready for JSON."""
        columns = ("parent", "merge_loss", "height", "weight", "support")
        return {
            **{name: getattr(self, name).tolist() for name in columns},
            "leaves": [list(row) for row in self.leaves],
            "positions": [list(row) for row in self.positions],
            "text": list(self.text),
            "order": list(self.order),
        }


def tree_table(tree: CondensationTree, *, positions: Sequence[int] | np.ndarray | None = None) -> TreeTable:
    """Every node of a tree with its loss, its support and its text.

    Args:
        tree: a condensation tree.
        positions: where its tokens stand in their text, in the order of the tree's tokens; 0 to N - 1 by default.

    Raises:
        BadInput: another number of positions than of tokens.

    Example:
        >>> from rgprobe.condensation import condense
        >>> tree = condense(np.array([[0.9, 0.1], [0.1, 0.9], [0.8, 0.2]]), labels=("cat", " the", " dog"))
        >>> table = tree_table(tree, positions=[4, 5, 9])
        >>> table.parent.tolist(), table.positions[3], table.text[3], table.order
        ([3, 4, 3, 4, -1], (4, 9), 'cat dog', (0, 2, 1))
    """
    n = tree.n_leaves
    where = np.arange(n) if positions is None else np.asarray(positions)
    if len(where) != n:
        raise BadInput(
            "positions", expected=f"{n}, one per token", received=str(len(where)), remedy="pass recorded ones"
        )
    labels = tree.labels or tuple(str(place) for place in where)
    drawn = _drawn(tree)
    leaves = tuple(tuple(sorted(below)) for below in drawn)
    return TreeTable(
        tree.parents,
        np.concatenate([np.zeros(n), tree.merge_costs]),
        np.concatenate([np.zeros(n), tree.heights]),
        np.array([tree.weights[list(below)].sum() for below in leaves]),
        np.array([len(below) for below in leaves]),
        leaves,
        tuple(tuple(where[list(below)].tolist()) for below in leaves),
        tuple("".join(labels[leaf] for leaf in below) for below in leaves),
        drawn[-1],
    )


def _drawn(tree: CondensationTree) -> list[tuple[int, ...]]:
    """Tokens below each node in the order of a drawing."""
    drawn: list[tuple[int, ...]] = [(leaf,) for leaf in range(tree.n_leaves)]
    for a, b in tree.linkage[:, :2].astype(int).tolist():
        drawn.append(drawn[a] + drawn[b] if min(drawn[a]) < min(drawn[b]) else drawn[b] + drawn[a])
    return drawn
