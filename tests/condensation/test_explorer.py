"""The node table of a tree against the tree's own methods, and its JSON form."""

import json

import numpy as np
import pytest
from condensation_cases import categorical, weights

from rgprobe.condensation import CondensationTree, condense
from rgprobe.condensation.explorer import tree_table
from rgprobe.errors import BadInput
from rgprobe.plots.tree_layout import leaf_order


@pytest.mark.parametrize("adjacency", ["any", "contiguous"])
def test_every_column_is_what_the_tree_says(adjacency):
    n, places = 13, np.arange(13) * 3 + 2
    names = tuple(f" t{place}" for place in places)
    tree = condense(categorical(n), weights(n), adjacency=adjacency, labels=names)
    table = tree_table(tree, positions=places)
    np.testing.assert_array_equal(table.parent, tree.parents)
    np.testing.assert_array_equal(table.merge_loss[n:], tree.merge_costs)
    np.testing.assert_array_equal(table.height[n:], tree.heights)
    assert not table.merge_loss[:n].any()
    assert not table.height[:n].any()
    for node in range(2 * n - 1):
        below = tree.leaves(node)
        assert table.leaves[node] == tuple(below)
        assert table.support[node] == len(below)
        assert table.positions[node] == tuple(places[below])
        assert table.weight[node] == pytest.approx(tree.weights[below].sum())
        assert table.text[node] == "".join(names[leaf] for leaf in below)
    assert list(table.order) == leaf_order(tree)


def test_json_gives_the_tree_back():
    tree = condense(categorical(7), labels=tuple("abcdefg"))
    record = json.loads(json.dumps(tree_table(tree).to_dict(), allow_nan=False))
    costs = record["merge_loss"][7:]
    again = CondensationTree.from_parents(
        record["parent"], costs, weights=record["weight"][:7], labels=record["text"][:7]
    )
    np.testing.assert_array_equal(again.linkage, tree.linkage)
    assert set(record) == set(vars(tree_table(tree)))


def test_a_single_token_and_unlabelled_trees():
    assert tree_table(CondensationTree.from_parents([-1], [])).to_dict()["text"] == ["0"]
    with pytest.raises(BadInput, match="one per token"):
        tree_table(condense(categorical(4)), positions=[1, 2])
