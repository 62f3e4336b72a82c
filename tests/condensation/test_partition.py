"""Meta-tokens and the loss of any partition."""

import numpy as np
import pytest
import torch
from condensation_cases import CENTROIDS, beliefs, categorical, gaussian, weights

from rgprobe.condensation import cluster_losses, condense, meta_tokens, partition_loss
from rgprobe.errors import BadInput, NumericalRefusal, OptionError
from rgprobe.gaussian import Gaussian, kl, merge, pool

LABELS = np.array([4, 0, 4, 9, 0, 9, 4])


@pytest.mark.parametrize("centroid", CENTROIDS)
def test_gaussian_meta_tokens_are_merges(centroid):
    q, w = gaussian(7), weights(7)
    merged, masses = meta_tokens(q, LABELS, w, centroid=centroid)
    assert isinstance(merged, Gaussian)
    np.testing.assert_allclose(masses * w.sum(), [w[[1, 4]].sum(), w[[0, 2, 6]].sum(), w[[3, 5]].sum()])
    combine = merge if centroid == "moment" else pool
    index = torch.tensor([0, 2, 6])
    assert kl(merged[1], combine(q[index], torch.from_numpy(w)[index])).item() < 1e-12


def test_categorical_meta_tokens_by_hand():
    q = np.array([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]])
    labels, w = np.array([1, 0, 1]), np.array([1.0, 2.0, 3.0])
    rows, masses = meta_tokens(q, labels, w)
    np.testing.assert_allclose(rows, [[0.9, 0.1], [0.275, 0.725]])
    np.testing.assert_allclose(masses, [1 / 3, 2 / 3])
    pooled, _ = meta_tokens(q, labels, w, centroid="pool")
    geometric = np.array([0.5**0.25 * 0.2**0.75, 0.5**0.25 * 0.8**0.75])
    np.testing.assert_allclose(pooled[1], geometric / geometric.sum())


@pytest.mark.parametrize("kind", ["categorical", "gaussian"])
def test_product_and_plain_beliefs_agree_on_one_factor(kind):
    q, w = beliefs(kind, 7), weights(7)
    if kind == "gaussian":
        wide = Gaussian.from_covariance(q.mean[:, None], q.covariance[:, None])
        assert partition_loss(wide, LABELS, w) == pytest.approx(partition_loss(q, LABELS, w), rel=1e-12)
    assert cluster_losses(q, LABELS, w).sum() == pytest.approx(partition_loss(q, LABELS, w), rel=1e-14)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e7])
@pytest.mark.parametrize("distance", [1.0, 1e-3, 1e-6])
@pytest.mark.parametrize("factors", [1, 3])
def test_losses_from_log_determinants_are_weighted_divergences(factors, distance, scale):
    """Clusters at one distance from each other, near-equal members in one of them, products of several Gaussians."""
    rng = np.random.default_rng(factors)
    mean = distance * rng.standard_normal((7, factors, 5))
    mean[[1, 4]] = mean[1] + 1e-8 * rng.standard_normal((2, factors, 5))
    root = np.eye(5) + distance * rng.standard_normal((7, factors, 5, 5))
    root[4] = root[1]
    q = Gaussian.from_covariance(
        torch.from_numpy(scale * mean), torch.from_numpy(scale**2 * root @ root.swapaxes(-1, -2))
    )
    w = weights(7)
    for centroid in CENTROIDS:
        losses = cluster_losses(q, LABELS, w, centroid=centroid)
        for loss, members in zip(losses, ([1, 4], [0, 2, 6], [3, 5]), strict=True):
            share = torch.from_numpy(w[members] / w.sum())
            direct = 0.0
            for factor in range(factors):
                some = q[members, factor]
                centre = (merge if centroid == "moment" else pool)(some, share)
                nats = kl(some, centre) if centroid == "moment" else kl(centre, some)
                direct += float((share * nats).sum())
            assert loss == pytest.approx(direct, rel=1e-9)


@pytest.mark.parametrize("centroid", CENTROIDS)
def test_greedy_beats_random_partitions(centroid):
    q = categorical(33, scale=1.0)
    tree = condense(q, centroid=centroid)
    generator = np.random.default_rng(0)
    for _ in range(20):
        labels = generator.permutation(tree.cut(n_clusters=6))
        assert partition_loss(q, labels, centroid=centroid) > tree.loss(6)


def test_near_equal_rows_keep_their_digits():
    """For q = u (1 +- d) the loss is d^2 / 2 to leading order."""
    d = 1e-7
    q = np.array([[0.5 * (1 + d), 0.5 * (1 - d)], [0.5 * (1 - d), 0.5 * (1 + d)]])
    for centroid in CENTROIDS:
        assert partition_loss(q, np.zeros(2, dtype=int), centroid=centroid) == pytest.approx(d * d / 2, rel=1e-7)
        assert condense(q, centroid=centroid).loss(1) == pytest.approx(d * d / 2, rel=1e-7)


def test_unfit_partitions_are_refused():
    with pytest.raises(BadInput, match="labels"):
        partition_loss(categorical(3), np.array([0, 1]))
    with pytest.raises(BadInput, match="labels"):
        partition_loss(categorical(3), np.array([0.0, 1.0, 1.0]))
    with pytest.raises(OptionError, match="centroid"):
        partition_loss(categorical(3), np.array([0, 1, 1]), centroid="mean")
    with pytest.raises(NumericalRefusal, match="no class in common"):
        partition_loss(np.eye(3), np.zeros(3, dtype=int), centroid="pool")
