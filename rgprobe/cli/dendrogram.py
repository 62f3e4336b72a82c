"""A condensation tree drawn in text: one line per token, branches to the right, losses in nats."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.cells import cell_len, set_cell_size

from rgprobe.condensation import CondensationTree

__all__ = ["dendrogram_lines", "leaf_order"]

LEFT, RIGHT, UP, DOWN = 1, 2, 4, 8
UNICODE = {0: " ", LEFT | RIGHT: "─", UP | DOWN: "│", LEFT | DOWN: "┐", LEFT | UP: "┘", RIGHT | DOWN: "┌", RIGHT | UP: "└",
           LEFT | RIGHT | DOWN: "┬", LEFT | RIGHT | UP: "┴", UP | DOWN | LEFT: "┤", UP | DOWN | RIGHT: "├", 15: "┼",
           LEFT: "─", RIGHT: "─", UP: "│", DOWN: "│"}  # fmt: skip
LONGEST_LABEL = 24


def leaf_order(tree: CondensationTree) -> np.ndarray:
    """Tokens from top to bottom: subtrees are contiguous, and the one with the earlier token comes first."""
    n = tree.n_leaves
    members = {token: [token] for token in range(n)}
    for k, (a, b) in enumerate(tree.linkage[:, :2].astype(int).tolist()):
        first, second = sorted((members.pop(a), members.pop(b)), key=min)
        members[n + k] = first + second
    return np.array(members[2 * n - 2])


def dendrogram_lines(
    tree: CondensationTree, labels: Sequence[str], clusters: np.ndarray, *, width: int, ascii_only: bool = False
) -> list[str]:
    """Lines of text, at most `width` cells wide where the labels leave room for branches.

    A line holds the token's cluster at the chosen cut, its text, the branches, and the information lost, nats, once the
    token is in one meta-token with the line above it. Branches stand at a distance proportional to that loss, except that
    each merge stands right of those it contains.

    Args:
        tree: N tokens.
        labels: N printable texts.
        clusters: (N,) cluster of each token.
        width: of the terminal, cells.
        ascii_only: draw with `-`, `|` and `+`.

    Example:
        >>> tree = CondensationTree.from_parents([3, 3, 4, 4, -1], [0.25, 0.5])
        >>> print("\\n".join(dendrogram_lines(tree, ["to", "be", "or"], tree.cut(n_clusters=2), width=30)))
        1  to  ─────┬──────────┐
        1  be  ─────┘          │  0.25
        2  or  ────────────────┘  0.75
    """
    order = leaf_order(tree)
    label_width = min(max(cell_len(label) for label in labels), LONGEST_LABEL)
    numbers = _joining_losses(tree, order)
    number_width = max((len(number) for number in numbers), default=0)
    cluster_width = len(str(int(clusters.max()) + 1))
    drawing = _drawing(tree, order, max(width - label_width - number_width - cluster_width - 6, 8), ascii_only)
    return [
        f"{clusters[token] + 1:>{cluster_width}}  {set_cell_size(labels[token], label_width)}  {branches}  {number}".rstrip()
        for token, branches, number in zip(order, drawing, numbers, strict=True)
    ]


def _joining_losses(tree: CondensationTree, order: np.ndarray) -> list[str]:
    """Per line, the cumulative loss of the merge that joins it with the line above; none for the first."""
    numbers = [""] * tree.n_leaves
    line = np.argsort(order).tolist()
    spans = [(line[token], line[token]) for token in range(tree.n_leaves)]
    for (a, b), height in zip(tree.linkage[:, :2].astype(int).tolist(), tree.heights, strict=True):
        upper, lower = sorted((spans[a], spans[b]))
        numbers[lower[0]] = f"{height:.3g}"
        spans.append((upper[0], lower[1]))
    return numbers


def _drawing(tree: CondensationTree, order: np.ndarray, width: int, ascii_only: bool) -> list[str]:
    n = tree.n_leaves
    line = np.argsort(order)
    rows, columns = [int(line[token]) for token in range(n)], [0] * n
    total = tree.heights[-1] if n > 1 else 0.0
    grid = np.zeros((n, width), dtype=np.uint8)
    for (a, b), height in zip(tree.linkage[:, :2].astype(int).tolist(), tree.heights, strict=True):
        share = height / total if total > 0 else 0.0
        column = min(max(round(share * (width - 1)), columns[a] + 1, columns[b] + 1), width - 1)
        for child in (a, b):
            grid[rows[child], columns[child] : column] |= RIGHT
            grid[rows[child], columns[child] + 1 : column + 1] |= LEFT
        upper, lower = sorted((rows[a], rows[b]))
        grid[upper:lower, column] |= DOWN
        grid[upper + 1 : lower + 1, column] |= UP
        rows.append((upper + lower) // 2)
        columns.append(column)
    signs = {mask: _plain(mask) for mask in range(16)} if ascii_only else {**dict.fromkeys(range(16), "?"), **UNICODE}
    return ["".join(signs[int(mask)] for mask in row) for row in grid]


def _plain(mask: int) -> str:
    if not mask:
        return " "
    if not mask & (UP | DOWN):
        return "-"
    return "|" if not mask & (LEFT | RIGHT) else "+"
