"""Permuting the tokens permutes the tree, ties included; reversing a sequence reverses its contiguous tree."""

import numpy as np
import pytest
import torch
from condensation_cases import CENTROIDS, categorical, gaussian, nested

from rgprobe.condensation import condense
from rgprobe.gaussian import Gaussian

CORNERS = 0.8 * np.eye(5) + 0.04 * np.ones((5, 5))  # all pairs tie, no row equals another
SQUARE = Gaussian.from_covariance(
    torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]).double(), 0.3 * torch.eye(2).double()
)


def permuted_trees(beliefs, n, **options):
    """Topologies with leaves named by content, for several orders of the tokens."""
    for seed in range(8):
        order = np.random.default_rng(seed).permutation(n)
        moved = beliefs[torch.from_numpy(order)] if isinstance(beliefs, Gaussian) else beliefs[order]
        tree = condense(moved, **options)
        yield tree, order


@pytest.mark.parametrize("centroid", CENTROIDS)
@pytest.mark.parametrize(("beliefs", "n"), [(CORNERS, 5), (SQUARE, 4), (categorical(17), 17), (gaussian(7), 7)])
def test_permuting_tokens_permutes_the_tree(beliefs, n, centroid):
    expected = condense(beliefs, centroid=centroid)
    for tree, order in permuted_trees(beliefs, n, centroid=centroid):
        assert nested(tree, order.tolist()) == nested(expected, range(n))
        np.testing.assert_allclose(tree.merge_costs, expected.merge_costs, rtol=1e-9)
        assert tree.n_ties == expected.n_ties


@pytest.mark.parametrize("centroid", CENTROIDS)
def test_duplicates_are_interchangeable(centroid):
    """Exact duplicates merge first, for nothing, and leaves named by content give one tree whatever the order."""
    names = [0, 1, 0, 2, 1, 0, 3]
    beliefs = categorical(4)[names]
    expected = condense(beliefs, centroid=centroid)
    assert expected.merge_costs[:3].tolist() == [0.0, 0.0, 0.0]
    assert expected.merge_costs[3] > 1e-3
    for tree, order in permuted_trees(beliefs, 7, centroid=centroid):
        assert nested(tree, np.array(names)[order].tolist()) == nested(expected, names)


@pytest.mark.parametrize("centroid", CENTROIDS)
def test_gaussian_duplicates_merge_for_nothing(centroid):
    beliefs = gaussian(4)[torch.tensor([0, 1, 0, 2, 1, 0, 3])]
    assert condense(beliefs, centroid=centroid).merge_costs[:3].tolist() == [0.0, 0.0, 0.0]


def test_ties_are_counted():
    assert condense(categorical(17)).n_ties == 0
    assert condense(np.tile(categorical(1), (5, 1))).n_ties == 3  # the last merge has one pair left
    # Four corners: six equal pairs; then one equal pair of corners against two dearer ones; then a single pair.
    assert condense(0.8 * np.eye(4) + 0.05).n_ties == 1


def test_ties_of_neighbours_are_counted():
    assert condense(categorical(17), adjacency="contiguous").n_ties == 0
    assert condense(np.tile(categorical(1), (5, 1)), adjacency="contiguous").n_ties == 3


def test_tied_pairs_go_by_weight_then_content():
    """The two least rows in lexicographic order merge first, wherever they stand."""
    corners = 0.5 * np.eye(4) + 0.125  # dyadic: no rounding in the row sums; row 3 is the least, row 2 the next
    for tree, order in permuted_trees(corners, 4):
        assert set(order[tree.linkage[0, :2].astype(int)].tolist()) == {2, 3}


@pytest.mark.parametrize("centroid", CENTROIDS)
def test_reversing_a_sequence_reverses_its_contiguous_tree(centroid):
    for beliefs in (categorical(17), CORNERS, categorical(4)[[0, 1, 1, 2, 3]]):
        n = len(beliefs)
        forward = condense(beliefs, centroid=centroid, adjacency="contiguous")
        backward = condense(beliefs[::-1].copy(), centroid=centroid, adjacency="contiguous")
        assert nested(backward, range(n - 1, -1, -1)) == nested(forward, range(n))


def test_many_duplicates_stay_feasible():
    tree = condense(np.tile(categorical(2), (60, 1)))
    assert tree.effective_clusters(0.5) == 2
    assert tree.merge_costs[:-1].max() == 0.0


@pytest.mark.parametrize("centroid", CENTROIDS)
@pytest.mark.parametrize("seed", range(12))
def test_lattice_beliefs_full_of_ties_and_duplicates(seed, centroid):
    generator = np.random.default_rng(seed)
    counts = generator.integers(1, 4, size=(generator.integers(5, 13), generator.integers(2, 5)))
    beliefs = counts / counts.sum(axis=1, keepdims=True)
    names = [tuple(row) for row in beliefs.round(12).tolist()]
    expected = condense(beliefs, centroid=centroid)
    for tree, order in permuted_trees(beliefs, len(names), centroid=centroid):
        assert nested(tree, [names[i] for i in order]) == nested(expected, names)
        assert tree.n_ties == expected.n_ties
