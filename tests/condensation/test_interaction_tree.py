"""Distances made of interactions, and average linkage with and without the restriction to neighbours."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.cluster.hierarchy import is_valid_linkage, linkage
from scipy.spatial.distance import squareform

from rgprobe.condensation import brackets
from rgprobe.condensation.interaction_tree import average_linkage, interaction_distances
from rgprobe.errors import NumericalRefusal, OptionError


def hierarchical(levels=3, decay=0.3):
    """Interactions that fall by a factor per level of a balanced binary tree."""
    place = range(2**levels)
    height = np.array([[(i ^ j).bit_length() for j in place] for i in place])
    return np.where(height > 0, decay ** height.astype(float), 0.0)


@pytest.mark.parametrize("adjacency", ["any", "contiguous"])
def test_a_planted_hierarchy_is_recovered_whatever_the_strength_of_its_leaves(adjacency):
    generator = np.random.default_rng(0)
    strength = np.exp(generator.normal(size=(2, 8)))
    skewed = hierarchical() * np.outer(*strength)  # what a leaf says, and what it hears
    tree = average_linkage(interaction_distances(skewed), adjacency=adjacency)
    assert brackets.linkage_clades(tree) == brackets.balanced(8)
    plain = average_linkage(interaction_distances(skewed, normalise=False), adjacency=adjacency)
    assert brackets.linkage_clades(plain) != brackets.balanced(8)


def test_distances_are_logarithms_of_shares():
    distances = interaction_distances(hierarchical(), normalise=False)
    np.testing.assert_allclose(distances[0], [0, 0, *[-np.log(0.3)] * 2, *[-2 * np.log(0.3)] * 4], atol=1e-12)
    np.testing.assert_allclose(interaction_distances(hierarchical()), distances, atol=1e-12)  # all leaves are alike
    np.testing.assert_array_equal(distances, distances.T)


def test_one_direction_is_enough_and_scale_does_not_matter():
    one_way = np.triu(hierarchical())
    np.testing.assert_allclose(interaction_distances(1e-200 * one_way), interaction_distances(one_way), atol=1e-9)


def test_what_says_nothing_is_far_from_everything():
    silent = hierarchical()
    silent[3] = silent[:, 3] = 0.0
    distances = interaction_distances(silent, floor=1e-3)
    np.testing.assert_allclose(np.delete(distances[3], 3), np.log(1e3))
    assert not interaction_distances(np.zeros((3, 3)))[0].any()


@pytest.mark.parametrize("value", [np.nan, -1.0])
def test_undefined_interactions_are_refused(value):
    broken = hierarchical()
    broken[2, 5] = value
    with pytest.raises(NumericalRefusal, match=r"interaction\[2, 5\]"):
        interaction_distances(broken)


@pytest.mark.parametrize("n", [1, 2, 7, 20])
def test_contiguous_linkage_against_a_loop_over_all_pairs(n):
    x = np.random.default_rng(n).normal(size=(n, 3))
    distances = np.linalg.norm(x[:, None] - x[None], axis=-1)
    tree = average_linkage(distances, adjacency="contiguous")
    clusters, expected = [frozenset([i]) for i in range(n)], set()
    while len(clusters) > 1:
        costs = [np.mean([distances[i, j] for i in a for j in b]) for a, b in pairwise(clusters)]
        k = int(np.argmin(costs))
        clusters[k : k + 2] = [clusters[k] | clusters[k + 1]]
        expected.add(clusters[k])
    assert brackets.linkage_clades(tree) | ({frozenset(range(n))} if n > 1 else set()) == expected
    if n > 1:
        assert is_valid_linkage(tree)
        assert (np.diff(tree[:, 2]) >= 0).all()


def test_any_is_scipy_and_other_words_are_refused():
    distances = interaction_distances(hierarchical())
    np.testing.assert_array_equal(average_linkage(distances), linkage(squareform(distances), "average"))
    with pytest.raises(OptionError, match="adjacency"):
        average_linkage(distances, adjacency="some")
