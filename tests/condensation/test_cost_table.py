"""Trees grown from lower bounds are those that the evaluation of every pair gives; the bounds are lower bounds."""

from itertools import product

import numpy as np
import pytest
import torch
from condensation_cases import CENTROIDS, categorical, gaussian, nested, weights

from rgprobe.condensation import condense, cost_table, gaussian_bounds
from rgprobe.condensation.categorical_bounds import moment_bound, pool_bound
from rgprobe.condensation.categorical_costs import CategoricalMoment, CategoricalPool
from rgprobe.condensation.gaussian_costs import GaussianMoment, GaussianPool, GaussianShift
from rgprobe.condensation.reference import condense_reference
from rgprobe.gaussian import Gaussian

SLOTS = {
    ("categorical", "moment"): CategoricalMoment,
    ("categorical", "pool"): CategoricalPool,
    ("gaussian", "moment"): GaussianMoment,
    ("gaussian", "pool"): GaussianPool,
    ("gaussian", "shift"): GaussianShift,
}


@pytest.fixture
def _never_eager(monkeypatch):
    monkeypatch.setattr(cost_table, "EAGER_UP_TO", 0)


def draw(kind, seed):
    """Beliefs of one of several characters: concentrated, spread, with zeros, with repeated tokens, in groups."""
    generator = np.random.default_rng(seed)
    n = int(generator.integers(4, 9))
    if kind == "gaussian":
        return gaussian(n, k=int(generator.integers(1, 11)), seed=seed), n
    rows = categorical(n, v=int(generator.integers(2, 40)), seed=seed, scale=[0.01, 0.5, 3.0, 8.0][seed % 4])
    if seed % 5 == 0:
        rows = rows[generator.integers(0, n, size=n)]
    if seed % 7 == 0:
        rows = np.where(rows < 0.3 / rows.shape[1], 0.0, rows)
        rows[:, 0] = 0.1  # pools need a class that all have
    return rows / rows.sum(axis=1, keepdims=True), n


@pytest.mark.usefixtures("_never_eager")
@pytest.mark.parametrize("seed", range(50))
@pytest.mark.parametrize(("kind", "centroid"), [key for key in SLOTS if key[1] != "shift"])
def test_lazy_equals_reference_in_200_cases(kind, centroid, seed):
    beliefs, n = draw(kind, seed)
    w = weights(n, seed)
    fast, slow = condense(beliefs, w, centroid=centroid), condense_reference(beliefs, w, centroid=centroid)
    if fast.n_ties == 0:  # the reference takes the first of tied pairs
        np.testing.assert_array_equal(fast.linkage[:, [0, 1, 3]], slow.linkage[:, [0, 1, 3]])
    np.testing.assert_allclose(fast.merge_costs, slow.merge_costs, rtol=1e-9, atol=1e-14)


def many(kind, n, seed=3):
    """Groups around a few beliefs, some tokens repeated: costs over many scales."""
    generator = np.random.default_rng(seed)
    group = generator.integers(0, 9, size=n)
    if kind == "categorical":
        logits = 2.0 * generator.normal(size=(9, 65))[group] + 0.3 * generator.normal(size=(n, 65))
        rows = np.exp(logits - logits.max(axis=1, keepdims=True))
        rows[n // 2 : n // 2 + 9] = rows[0]
        return rows / rows.sum(axis=1, keepdims=True)
    mean = 3.0 * generator.normal(size=(9, 11))[group] + generator.normal(size=(n, 11))
    root = generator.normal(size=(n, 11, 23)) / np.sqrt(23)
    return Gaussian.from_covariance(torch.from_numpy(mean), torch.from_numpy(root @ root.transpose(0, 2, 1)))


@pytest.mark.parametrize(("kind", "centroid"), SLOTS)
def test_lazy_equals_eager_where_bounds_decide(kind, centroid, monkeypatch):
    beliefs, w = many(kind, 131), weights(131)
    monkeypatch.setattr(cost_table, "EAGER_UP_TO", 131)
    eager = condense(beliefs, w, centroid=centroid)
    monkeypatch.setattr(cost_table, "EAGER_UP_TO", 0)
    lazy = condense(beliefs, w, centroid=centroid)
    np.testing.assert_array_equal(lazy.linkage[:, [0, 1, 3]], eager.linkage[:, [0, 1, 3]])
    np.testing.assert_allclose(lazy.merge_costs, eager.merge_costs, rtol=1e-10)
    assert lazy.n_ties == eager.n_ties


@pytest.mark.parametrize(("kind", "centroid"), SLOTS)
def test_bounds_spare_most_evaluations(kind, centroid, monkeypatch):
    """The reason why bounds exist: of groups of beliefs, costs between groups are seldom evaluated."""
    asked = []
    costs = SLOTS[kind, centroid].costs
    monkeypatch.setattr(SLOTS[kind, centroid], "costs", lambda s, a, b: asked.append(len(b)) or costs(s, a, b))
    condense(many(kind, 131), centroid=centroid)
    assert sum(asked) < 131**2 / 3


@pytest.mark.parametrize("scale", [1e-6, 1e-2, 1.0, 6.0])
@pytest.mark.parametrize(("kind", "centroid"), SLOTS)
def test_bounds_are_lower_bounds(kind, centroid, scale):
    generator = np.random.default_rng(int(1000 * scale))
    if kind == "categorical":
        logits = scale * generator.normal(size=(33, 129)) + generator.normal(size=129)
        beliefs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    else:
        beliefs = gaussian(33, k=11, seed=int(scale))
        beliefs = Gaussian.from_covariance(scale * beliefs.mean, beliefs.covariance + beliefs.covariance[:1] / scale)
    w = generator.lognormal(sigma=3.0, size=33)
    slots = SLOTS[kind, centroid](beliefs, w / w.sum())
    slots.join(4, 7)
    slots.move(32, 7)
    bounds = slots.bounds(slice(0, 32), slice(0, 32))
    a, b = np.triu_indices(32, 1)
    costs = slots.costs(a, b)
    assert (bounds[a, b] <= costs * (1 + 1e-12)).all()
    assert (bounds[b, a] <= costs * (1 + 1e-12)).all()


@pytest.mark.parametrize("centroid", ["moment", "pool", "shift"])
def test_bounds_are_the_same_in_blocks_of_any_size(centroid, monkeypatch):
    slots = SLOTS["gaussian", centroid](gaussian(33, k=5), np.full(33, 1 / 33))
    whole = slots.bounds(slice(0, 33), slice(2, 33))
    monkeypatch.setattr(gaussian_bounds, "BLOCK", 7)
    np.testing.assert_allclose(slots.bounds(slice(0, 33), slice(2, 33)), whole, rtol=1e-12)


@pytest.mark.parametrize("centroid", ["moment", "pool", "shift"])
def test_bounds_of_near_pairs_in_groups_far_apart_allow_for_rounding(centroid):
    """Means of 1e8 standard deviations leave differences of 1e-3 five digits: bounds say so, and stay below."""
    generator = np.random.default_rng(0)
    mean = 1e-3 * generator.normal(size=(40, 5)) + 1e8 * generator.normal(size=(2, 1, 5)).repeat(20, axis=1).reshape(
        40, 5
    )
    beliefs = Gaussian.from_covariance(torch.from_numpy(mean), torch.eye(5, dtype=torch.float64).expand(40, 5, 5))
    slots = SLOTS["gaussian", centroid](beliefs, np.full(40, 1 / 40))
    a, b = np.triu_indices(20, 1)
    assert (slots.bounds(slice(0, 20), slice(0, 20))[a, b] <= slots.costs(a, b)).all()


@pytest.mark.parametrize("centroid", CENTROIDS)
def test_categorical_bounds_hold_for_any_two_classes_and_shares(centroid):
    """Rows of two classes reach every likelihood ratio; the infimum over them is the bound's constant."""
    p = np.array([0.0, 1e-9, 1e-4, 0.03, 0.3, 0.5, 0.8, 0.999, 1.0])
    rows = np.stack([p, 1 - p], axis=1)
    for share in (1e-6, 1e-3, 0.1, 0.4, 0.5):
        for i, j in product(range(len(p)), repeat=2):
            slots = SLOTS["categorical", centroid](rows[[i, j]], np.array([share, 1 - share]))
            bound, cost = slots.bounds(slice(0, 1), slice(1, 2))[0, 0], slots.costs(0, np.array([1]))[0]
            assert bound <= cost * (1 + 1e-9)


def test_bounds_that_equal_their_cost_stay_below_it():
    """Rounding must never lift a bound above a cost: nothing in common (moment) and equal weights (pool) leave no room."""
    half, squared = np.array([0.5]), np.array([1e-9, 0.1, 0.5, 0.9])
    assert (moment_bound(np.array([1.0]), half, half) < np.log(2)).all()
    assert (pool_bound(squared, half, half) < -np.log1p(-squared)).all()


@pytest.mark.usefixtures("_never_eager")
@pytest.mark.parametrize("centroid", CENTROIDS)
def test_permuting_tokens_permutes_the_lazy_tree(centroid):
    names = [0, 1, 0, 2, 1, 0, 3, 4, 5, 5]
    beliefs = categorical(6)[names]
    expected = condense(beliefs, centroid=centroid)
    for seed in range(8):
        order = np.random.default_rng(seed).permutation(len(names))
        tree = condense(beliefs[order], centroid=centroid)
        assert nested(tree, np.array(names)[order].tolist()) == nested(expected, names)
        assert tree.n_ties == expected.n_ties


@pytest.mark.usefixtures("_never_eager")
def test_a_lazy_pool_meets_disjoint_supports():
    rows = np.array([[0.5, 0.5, 0.0, 0.0], [0.4, 0.6, 0.0, 0.0], [0.0, 0.1, 0.9, 0.0], [0.0, 0.2, 0.5, 0.3]])
    fast, slow = condense(rows, centroid="pool"), condense_reference(rows, centroid="pool")
    np.testing.assert_array_equal(fast.linkage[:, :2], slow.linkage[:, :2])
    np.testing.assert_allclose(fast.merge_costs, slow.merge_costs, rtol=1e-12)
