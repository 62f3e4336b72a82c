import numpy as np
import pytest

from rgprobe.condensation import CondensationTree
from rgprobe.plots import tree
from rgprobe.plots.dendrogram import leaf_order

LABELS = (" be", " not", "<i>", ",", " be")


@pytest.fixture
def five():
    # {0,4}, {2,3}, {1}+{0,4}, all
    return CondensationTree.from_parents([5, 7, 6, 6, 5, 7, 8, 8, -1], [0.1, 0.2, 0.05, 0.4], labels=LABELS)


def test_leaves_are_readable_tokens_without_crossings(five):
    axis = tree(five).layout.yaxis
    assert leaf_order(five) == [0, 4, 1, 2, 3]
    assert axis.ticktext == ("be", "be", "not", "&lt;i&gt;", ",")
    assert axis.tickvals == (0, 1, 2, 3, 4)


def test_dots_stand_at_the_cumulative_losses(five):
    figure = tree(five)
    assert np.array_equal(figure.data[1].x, five.heights)
    assert figure.layout.xaxis.title.text == "information lost so far (nats per token)"


def test_hover_tells_tokens_loss_and_support(five):
    text = tree(five).data[1].customdata[2]
    assert text == (
        "be, not, be<br>this merge loses 0.05 nats<br>so far 0.35 nats<br>support 3 of 5 tokens, weight 0.6"
    )


def test_every_branch_reaches_from_child_to_parent(five):
    lines = tree(five).data[0]
    ends = [x for x in lines.x if x is not None]
    assert len(ends) == 4 * 4
    assert max(ends) == five.heights[-1]


def test_a_single_token_is_a_tree():
    alone = CondensationTree.from_parents([-1], [], labels=["x"])
    assert tree(alone).layout.yaxis.ticktext == ("x",)
