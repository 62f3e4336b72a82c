"""The planted tree is found, whatever the centroid, up to noise .1; unrelated beliefs do not show it."""

import pytest
import torch

from rgprobe.condensation import condense
from rgprobe.condensation.agreement import clade_recall
from rgprobe.errors import OptionError
from rgprobe.gaussian import Gaussian
from rgprobe.testbeds.planted_tree import exact, sample


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.1])
@pytest.mark.parametrize("centroid", ["moment", "pool"])
@pytest.mark.parametrize("depth", [3, 4, 5])
def test_planted_clades_are_recovered(depth, centroid, noise):
    for seed in range(3):
        tree = condense(sample(depth=depth, noise=noise, seed=seed), centroid=centroid)
        assert clade_recall(tree, exact(depth=depth)) == 1.0


def test_order_of_the_leaves_does_not_matter():
    beliefs = sample(depth=4, noise=0.1)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    place = torch.argsort(order).tolist()
    moved = {frozenset(place[i] for i in clade) for clade in exact(depth=4)}
    assert clade_recall(condense(beliefs[order]), moved) == 1.0


def test_shuffled_means_lose_the_tree():
    beliefs = sample(depth=4)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    shuffled = Gaussian.from_covariance(beliefs.mean[order], beliefs.covariance)
    assert clade_recall(condense(shuffled), exact(depth=4)) < 0.2


def test_branches_have_the_stated_lengths():
    means = sample(depth=3, ratio=0.5).mean
    pairs = means.reshape(4, 2, -1)
    torch.testing.assert_close((pairs[:, 0] - pairs[:, 1]).norm(dim=-1), torch.full((4,), 2.0, dtype=torch.float64))
    middle = pairs.mean(1).reshape(2, 2, -1)
    torch.testing.assert_close((middle[:, 0] - middle[:, 1]).norm(dim=-1), torch.full((2,), 4.0, dtype=torch.float64))


def test_sizes_and_seeds():
    assert len(exact(depth=4)) == 14
    assert exact(depth=1) == set()
    assert torch.equal(sample(seed=3).mean, sample(seed=3).mean)
    assert not torch.equal(sample(seed=3).mean, sample(seed=4).mean)


@pytest.mark.parametrize(
    "options", [{"depth": 0}, {"dim": 1}, {"ratio": 1.0}, {"spread": 0.0}, {"noise": -0.1}, {"noise": float("nan")}]
)
def test_impossible_plants_are_refused(options):
    with pytest.raises(OptionError):
        sample(**options)
