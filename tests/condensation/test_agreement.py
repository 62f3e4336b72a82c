"""Agreement scores: 1 for a tree with itself, by hand for small trees, NaN where nothing is asserted."""

import math

import numpy as np
import pytest
from condensation_cases import categorical

from rgprobe.condensation import CondensationTree, condense
from rgprobe.condensation.agreement import bracket_f1, clade_recall, clades, cophenetic_correlation, cut_agreement
from rgprobe.errors import BadInput

CATERPILLAR = CondensationTree.from_parents([4, 4, 5, 6, 5, 6, -1], [0.1, 0.2, 0.3])  # (((0,1),2),3)
BALANCED = CondensationTree.from_parents([4, 4, 5, 5, 6, 6, -1], [0.1, 0.2, 0.3])  # ((0,1),(2,3))


def test_clades_by_hand():
    assert clades(CATERPILLAR) == {frozenset({0, 1}), frozenset({0, 1, 2})}
    assert clades(BALANCED) == {frozenset({0, 1}), frozenset({2, 3})}


def test_scores_by_hand():
    assert bracket_f1(CATERPILLAR, BALANCED) == 0.5
    assert clade_recall(CATERPILLAR, {frozenset({0, 1}), frozenset({0, 1, 2, 3}), frozenset({3})}) == 1.0
    assert clade_recall(BALANCED, {frozenset({0, 2})}) == 0.0
    # Cophenetic distances of pairs 01 02 03 12 13 23: .1 .3 .6 .3 .6 .6 and .1 .6 .6 .6 .6 .3.
    expected = np.corrcoef([0.1, 0.3, 0.6, 0.3, 0.6, 0.6], [0.1, 0.6, 0.6, 0.6, 0.6, 0.3])[0, 1]
    assert cophenetic_correlation(CATERPILLAR, BALANCED) == pytest.approx(expected)
    # {0,1,2},{3} against {0,1},{2,3}: index 1 of expected 1, maximum 2.5.
    assert cut_agreement(CATERPILLAR, BALANCED, n_clusters=2) == pytest.approx(0.0)


def test_a_tree_agrees_with_itself():
    tree = condense(categorical(17))
    assert bracket_f1(tree, tree) == 1.0
    assert cophenetic_correlation(tree, tree) == pytest.approx(1.0)
    assert cut_agreement(tree, tree, n_clusters=5) == 1.0


def test_what_asserts_nothing_scores_nan():
    pair = condense(categorical(2))
    assert math.isnan(bracket_f1(pair, pair))
    assert math.isnan(cophenetic_correlation(pair, pair))
    free = condense(np.tile(categorical(1), (5, 1)))
    assert math.isnan(cophenetic_correlation(free, condense(categorical(5))))


def test_trees_over_other_tokens_are_refused():
    with pytest.raises(BadInput, match="same tokens"):
        bracket_f1(condense(categorical(3)), BALANCED)
