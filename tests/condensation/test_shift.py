"""Means that move while covariances stay: against the definition, by exhaustive search, and with its sum rule."""

import numpy as np
import pytest
import torch

from rgprobe.condensation import condense
from rgprobe.condensation.partition import cluster_losses, meta_tokens, partition_loss
from rgprobe.errors import OptionError
from rgprobe.gaussian import Gaussian


def beliefs(n, dim, seed):
    generator = torch.Generator().manual_seed(seed)
    factor = torch.randn(n, dim, dim, generator=generator, dtype=torch.float64)
    mean = torch.randn(n, dim, generator=generator, dtype=torch.float64)
    return Gaussian.from_covariance(mean, factor @ factor.mT + 0.1 * torch.eye(dim, dtype=torch.float64))


def loss(q, members, weights):
    """(1/2) sum w (mu - m)^T Lambda (mu - m) at its minimum over m, from the normal equations."""
    precision, mean, w = q.precision.numpy()[members], q.mean.numpy()[members], weights[members]
    m = np.linalg.solve(np.einsum("n,nij->ij", w, precision), np.einsum("n,nij,nj->i", w, precision, mean))
    return 0.5 * sum(w_i * (x - m) @ p @ (x - m) for w_i, x, p in zip(w, mean, precision, strict=True))


@pytest.mark.parametrize(("n", "dim", "seed"), [(2, 1, 0), (7, 3, 1), (11, 5, 2)])
def test_greedy_merging_is_that_of_the_definition(n, dim, seed):
    q = beliefs(n, dim, seed)
    weights = np.random.default_rng(seed).dirichlet(np.ones(n))
    tree = condense(q, weights, centroid="shift")
    clusters, costs = [[i] for i in range(n)], []
    while len(clusters) > 1:
        pairs = {
            (a, b): loss(q, clusters[a] + clusters[b], weights)
            - loss(q, clusters[a], weights)
            - loss(q, clusters[b], weights)
            for a in range(len(clusters))
            for b in range(a)
        }
        (a, b), cost = min(pairs.items(), key=lambda item: item[1])
        costs.append(cost)
        merged = clusters[a] + clusters[b]
        clusters = [c for i, c in enumerate(clusters) if i not in (a, b)] + [merged]
    np.testing.assert_allclose(tree.merge_costs, costs, rtol=1e-9)
    assert tree.loss(1) == pytest.approx(loss(q, list(range(n)), weights), rel=1e-9)


def test_the_losses_of_a_cut_are_those_of_its_partition():
    q, weights = beliefs(9, 4, 3), np.full(9, 1 / 9)
    tree = condense(q, centroid="shift")
    for count in (1, 3, 6, 9):
        labels = tree.cut(n_clusters=count)
        assert tree.loss(count) == pytest.approx(partition_loss(q, labels, centroid="shift"), abs=1e-12)
        each = [loss(q, np.flatnonzero(labels == c), weights) for c in range(count)]
        np.testing.assert_allclose(cluster_losses(q, labels, centroid="shift"), each, atol=1e-12)


def test_equal_precisions_give_ward_s_tree():
    from scipy.cluster.hierarchy import linkage

    mean = torch.from_numpy(np.random.default_rng(4).standard_normal((12, 3)))
    q = Gaussian.from_diagonal(mean, torch.ones(12, 3, dtype=torch.float64))
    ward = linkage(mean.numpy(), "ward")
    # Ward's height is the square root of twice the loss in units of the weights
    np.testing.assert_allclose(
        np.sort(condense(q, centroid="shift").merge_costs), np.sort(ward[:, 2] ** 2 / 4 / 12), rtol=1e-9
    )


def test_meta_tokens_are_pools():
    q, labels = beliefs(6, 2, 5), np.array([0, 0, 1, 1, 1, 2])
    shifted, pooled = (meta_tokens(q, labels, centroid=name)[0].mean for name in ("shift", "pool"))
    assert torch.equal(shifted, pooled)


def test_categorical_beliefs_have_no_mean_to_move():
    rows = np.full((3, 2), 0.5)
    with pytest.raises(OptionError, match="centroid"):
        condense(rows, centroid="shift")
    with pytest.raises(OptionError, match="centroid"):
        partition_loss(rows, np.zeros(3, dtype=int), centroid="shift")
