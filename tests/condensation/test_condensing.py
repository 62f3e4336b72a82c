"""Fast greedy condensation equals the obvious one; its costs obey the sum rule; bad beliefs are refused by name."""

import numpy as np
import pytest
import torch
from condensation_cases import ADJACENCIES, CENTROIDS, beliefs, categorical, gaussian, weights
from scipy.stats import entropy

from rgprobe.condensation import condense, partition_loss
from rgprobe.condensation.reference import condense_reference
from rgprobe.errors import BadInput, NumericalRefusal, OptionError
from rgprobe.gaussian import Gaussian

KINDS = ("categorical", "gaussian")
SIZES = [("categorical", n) for n in (1, 2, 3, 7, 17, 33)] + [("gaussian", n) for n in (1, 2, 3, 7, 17)]


@pytest.mark.parametrize("adjacency", ADJACENCIES)
@pytest.mark.parametrize("centroid", CENTROIDS)
@pytest.mark.parametrize(("kind", "n"), SIZES)
def test_fast_equals_reference(kind, n, centroid, adjacency):
    q, w = beliefs(kind, n), weights(n)
    fast = condense(q, w, centroid=centroid, adjacency=adjacency)
    slow = condense_reference(q, w, centroid=centroid, adjacency=adjacency)
    np.testing.assert_array_equal(fast.linkage[:, [0, 1, 3]], slow.linkage[:, [0, 1, 3]])
    np.testing.assert_allclose(fast.merge_costs, slow.merge_costs, rtol=1e-9, atol=1e-14)
    assert fast.n_ties == 0


@pytest.mark.parametrize("seed", range(1, 13))
def test_fast_equals_reference_over_seeds(seed):
    n = 4 + seed
    q, w = categorical(n, v=2 + seed, seed=seed, scale=0.3 * seed), weights(n, seed)
    for centroid in CENTROIDS:
        fast, slow = condense(q, w, centroid=centroid), condense_reference(q, w, centroid=centroid)
        np.testing.assert_array_equal(fast.linkage[:, :2], slow.linkage[:, :2])
        np.testing.assert_allclose(fast.merge_costs, slow.merge_costs, rtol=1e-9)


@pytest.mark.parametrize("adjacency", ADJACENCIES)
@pytest.mark.parametrize("centroid", CENTROIDS)
def test_33_gaussians_equal_reference(centroid, adjacency):
    q, w = gaussian(33, k=2), weights(33)
    fast = condense(q, w, centroid=centroid, adjacency=adjacency)
    slow = condense_reference(q, w, centroid=centroid, adjacency=adjacency)
    np.testing.assert_array_equal(fast.linkage[:, :2], slow.linkage[:, :2])
    np.testing.assert_allclose(fast.merge_costs, slow.merge_costs, rtol=1e-9)


@pytest.mark.parametrize("adjacency", ADJACENCIES)
@pytest.mark.parametrize("centroid", CENTROIDS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_cut_costs_what_its_partition_loses(kind, centroid, adjacency):
    """D(1) is the sum rule; the other m are its form for every cluster."""
    q, w = beliefs(kind, 17), weights(17)
    tree = condense(q, w, centroid=centroid, adjacency=adjacency)
    for m in (1, 2, 5, 9, 16):
        loss = partition_loss(q, tree.cut(n_clusters=m), w, centroid=centroid)
        assert tree.loss(m) == pytest.approx(loss, rel=1e-9, abs=1e-13)


def test_categorical_total_is_mutual_information():
    q, w = categorical(33, v=63), weights(33)
    p = w / w.sum()
    information = entropy(p @ q) - p @ entropy(q, axis=1)
    assert condense(q, w).loss(1) == pytest.approx(information, rel=1e-9)


@pytest.mark.parametrize("centroid", CENTROIDS)
def test_product_beliefs_add_over_their_factors(centroid):
    """Two factors with equal beliefs cost twice one factor; a padded factor of equal beliefs costs nothing."""
    one = gaussian(7)
    mean = one.mean[:, None].expand(7, 2, 3)
    twice = Gaussian.from_covariance(mean, one.covariance[:, None].expand(7, 2, 3, 3))
    single, double = condense(one, centroid=centroid), condense(twice, centroid=centroid)
    np.testing.assert_array_equal(single.linkage[:, :2], double.linkage[:, :2])
    np.testing.assert_allclose(double.merge_costs, 2 * single.merge_costs, rtol=1e-12)


@pytest.mark.parametrize("centroid", CENTROIDS)
def test_product_beliefs_obey_the_sum_rule(centroid):
    q, w = gaussian(7, factors=3), weights(7)
    tree = condense(q, w, centroid=centroid)
    for m in (1, 3):
        loss = partition_loss(q, tree.cut(n_clusters=m), w, centroid=centroid)
        assert tree.loss(m) == pytest.approx(loss, rel=1e-9)


def test_single_costs_may_invert_but_heights_do_not():
    costs = [condense(categorical(33, seed=s), adjacency="contiguous").merge_costs for s in range(5)]
    assert any((np.diff(c) < 0).any() for c in costs)
    heights = [condense(categorical(33, seed=s), adjacency="contiguous").heights for s in range(5)]
    assert all((np.diff(h) >= 0).all() for h in heights)


def test_contiguous_clusters_are_intervals():
    tree = condense(categorical(33), adjacency="contiguous")
    for m in (2, 5, 11):
        assert (np.diff(tree.cut(n_clusters=m)) >= 0).all()


def test_zero_probabilities_are_beliefs_too():
    q = np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.2, 0.5, 0.3]])
    fast, slow = condense(q), condense_reference(q)
    np.testing.assert_array_equal(fast.linkage[:, :2], slow.linkage[:, :2])
    np.testing.assert_allclose(fast.merge_costs, slow.merge_costs, rtol=1e-12)
    pooled, slow_pooled = condense(q[1:], centroid="pool"), condense_reference(q[1:], centroid="pool")
    np.testing.assert_array_equal(pooled.linkage[:, :2], slow_pooled.linkage[:, :2])
    np.testing.assert_allclose(pooled.merge_costs, slow_pooled.merge_costs, rtol=1e-12)


def test_pool_refuses_disjoint_supports():
    with pytest.raises(NumericalRefusal, match="no class in common"):
        condense(np.eye(3), centroid="pool")


def test_torch_float32_equals_its_float64_upcast():
    q = torch.softmax(torch.from_numpy(categorical(7)).float(), dim=-1)
    np.testing.assert_array_equal(condense(q).linkage, condense(q.double().numpy()).linkage)


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        (np.array([[0.5, 0.5], [0.5, np.nan]]), NumericalRefusal, r"beliefs\[1\]: expected finite"),
        (np.array([[0.5, 0.5], [1.5, -0.5]]), NumericalRefusal, r"beliefs\[1\]: expected probabilities >= 0"),
        (
            np.array([[0.5, 0.5], [0.5, 0.5], [0.5, 0.51]]),
            NumericalRefusal,
            r"beliefs\[2\]: expected a row that sums to 1",
        ),
        (np.zeros((0, 3)), BadInput, "nothing empty"),
        (np.full(4, 0.25), BadInput, "probability rows"),
        (np.array([["a", "b"]]), BadInput, "probability rows"),
    ],
)
def test_unfit_beliefs_are_named(rows, error, message):
    with pytest.raises(error, match=message):
        condense(rows)


def test_rows_within_rounding_are_divided_by_their_sum():
    q = categorical(7)
    np.testing.assert_allclose(condense(q * (1 + 5e-7)).merge_costs, condense(q).merge_costs, rtol=1e-9)


@pytest.mark.parametrize("bad", [[1.0, 1.0, 0.0], [1.0, np.inf, 1.0], [1.0, -1.0, 1.0]])
def test_unfit_weights_are_named(bad):
    with pytest.raises(OptionError, match=r"weights\["):
        condense(categorical(3), bad)


def test_weights_of_another_length_are_refused():
    with pytest.raises(BadInput, match="3 numbers"):
        condense(categorical(3), [1.0, 1.0])


@pytest.mark.parametrize("options", [{"centroid": "mean"}, {"adjacency": "near"}])
def test_unknown_options_are_refused(options):
    with pytest.raises(OptionError, match="expected"):
        condense(categorical(3), **options)
