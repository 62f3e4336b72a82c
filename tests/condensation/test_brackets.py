"""Clades against gold parses: crossing, identical, nonbinary; the trees that read nothing."""

import numpy as np
import pytest

from rgprobe.condensation import brackets
from rgprobe.errors import BadInput


def sets(*clades):
    return {frozenset(clade) for clade in clades}


def test_identical_trees_score_one_and_disjoint_ones_zero():
    gold = sets({0, 1}, {2, 3}, {2, 3, 4})
    score = brackets.bracket_score(gold, gold, leaves=6)
    assert (score.precision, score.recall, score.f1, score.crossing) == (1.0, 1.0, 1.0, 0.0)
    other = brackets.bracket_score(sets({1, 2}, {3, 4}), gold, leaves=6)
    assert (other.precision, other.recall, other.f1) == (0.0, 0.0, 0.0)
    assert other.crossing == 1.0  # {3, 4} overlaps {2, 3}, {1, 2} overlaps {0, 1}


def test_a_clade_inside_or_outside_another_does_not_cross():
    assert brackets.bracket_score(sets({0, 1}, {4, 5}), sets({0, 1, 2}), leaves=6).crossing == 0.0


def test_single_leaves_and_the_whole_count_for_nothing():
    bare, gold = sets({0, 1}), sets({0, 1}, {2, 3})
    dressed = bare | sets({0}, {3}, range(4))
    assert brackets.bracket_score(dressed, gold | sets(range(4)), leaves=4) == brackets.bracket_score(
        bare, gold, leaves=4
    )
    assert brackets.bracket_score(bare, gold, leaves=4).f1 == pytest.approx(2 / 3)


def test_a_binary_tree_cannot_reach_a_flat_parse():
    gold = sets({0, 1, 2}, {3, 4, 5})  # of two nodes with three children each
    finest = gold | sets({0, 1}, {3, 4})
    score = brackets.bracket_score(finest, gold, leaves=6)
    assert score.recall == 1.0
    assert score.f1 == pytest.approx(brackets.best_binary_f1(gold, leaves=6)) == pytest.approx(2 / 3)
    assert brackets.best_binary_f1(sets({0, 1}, {2, 3}), leaves=4) == 1.0


def test_empty_parses_have_no_score():
    score = brackets.bracket_score(sets({0, 1}), set(), leaves=3)
    assert np.isnan([score.recall, score.f1, brackets.best_binary_f1(set(), leaves=3)]).all()


def test_a_stray_leaf_is_refused():
    with pytest.raises(BadInput, match=r"clades: expected leaves from 0 to 2, received 3"):
        brackets.bracket_score(sets({2, 3}), set(), leaves=3)


@pytest.mark.parametrize("leaves", [3, 5, 8, 13])
def test_every_baseline_is_a_binary_tree_over_neighbours(leaves):
    generator = np.random.default_rng(leaves)
    trees = [brackets.right_branching(leaves), brackets.left_branching(leaves), brackets.balanced(leaves)]
    trees += [brackets.random_contiguous(leaves, generator) for _ in range(5)]
    for tree in trees:
        assert len(tree) == leaves - 2
        assert all(max(clade) - min(clade) == len(clade) - 1 for clade in tree)
        assert brackets.bracket_score(tree, tree, leaves=leaves).crossing == 0.0


def test_the_balanced_tree_of_a_power_of_two_is_the_parse_of_a_full_binary_tree():
    halves = sets(*(range(i, i + size) for size in (2, 4) for i in range(0, 8, size)))
    assert brackets.balanced(8) == halves


def test_clades_of_a_linkage():
    merges = np.array([[0.0, 3.0, 0.1, 2], [1.0, 2.0, 0.2, 2], [4.0, 5.0, 0.3, 4]])
    assert brackets.linkage_clades(merges) == sets({0, 3}, {1, 2})
