import numpy as np
import pytest
from rich.cells import cell_len

from rgprobe.cli.dendrogram import dendrogram_lines, leaf_order
from rgprobe.condensation import condense


@pytest.fixture(scope="module", params=[2, 3, 7, 31])
def tree(request):
    rows = np.random.default_rng(request.param).dirichlet(np.ones(5), size=request.param)
    return condense(rows)


def test_subtrees_are_contiguous_and_the_earlier_token_is_above(tree):
    order = leaf_order(tree)
    line = np.argsort(order)
    assert sorted(order) == list(range(tree.n_leaves))
    for merge in range(tree.n_leaves - 1):
        lines = line[tree.leaves(tree.n_leaves + merge)]
        assert lines.max() - lines.min() == len(lines) - 1
        assert order[lines.min()] == tree.leaves(tree.n_leaves + merge).min()


def test_each_loss_stands_once_and_every_line_fits(tree):
    labels = [f"token{i}" for i in range(tree.n_leaves)]
    lines = dendrogram_lines(tree, labels, tree.cut(n_clusters=1), width=79)
    shown = sorted(float(line.split()[-1]) for line in lines[1:])
    np.testing.assert_allclose(shown, tree.heights, rtol=5e-3)
    assert max(cell_len(line) for line in lines) <= 79


def test_every_branch_connects(tree):
    """Each cell that points to a neighbour is pointed back at, save the root's right end and the leaves' left ends."""
    labels = ["x"] * tree.n_leaves
    lines = dendrogram_lines(tree, labels, tree.cut(n_clusters=1), width=60)
    left, right = set("─┐┘┬┴┤┼"), set("─└┌┬┴├┼")
    up, down = set("│┘└┴┤├┼"), set("│┐┌┬┤├┼")
    grid = [line.ljust(60) for line in lines]
    for y, row in enumerate(grid):
        for x, cell in enumerate(row):
            if cell in down:
                assert grid[y + 1][x] in up
            if cell in up:
                assert grid[y - 1][x] in down
            if cell in right and row[x + 1] != " ":
                assert row[x + 1] in left


def test_ascii_drawing_and_wide_labels():
    tree = condense(np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9]]))
    plain = dendrogram_lines(tree, ["a", "b", "c"], tree.cut(n_clusters=2), width=40, ascii_only=True)
    assert all(line.isascii() for line in plain)
    wide = dendrogram_lines(tree, ["漢字", "b", "c" * 90], tree.cut(n_clusters=2), width=80)
    starts = {cell_len(line[: min(line.find(sign) for sign in "─" if sign in line)]) for line in wide}
    assert len(starts) == 1
