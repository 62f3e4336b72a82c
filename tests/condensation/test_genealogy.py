"""What becomes of clusters from layer to layer: planted splits and merges, a slow reference, and agreement by chance."""

from itertools import combinations

import numpy as np
import pytest
from condensation_cases import categorical, gaussian

from rgprobe.condensation import CondensationTree, cluster_losses, condense
from rgprobe.condensation.agreement import cophenetic_correlation
from rgprobe.condensation.chance_agreement import agreements, chance_agreement, compared_with
from rgprobe.condensation.genealogy import (
    KINDS,
    event_shares,
    events,
    genealogy,
    overlap,
    partition_agreement,
    persisting,
)
from rgprobe.errors import BadInput, OptionError
from rgprobe.testbeds import planted_tree


def random_partition(generator, size, clusters):
    labels = generator.integers(clusters, size=size)
    return np.unique(labels, return_inverse=True)[1]


def events_by_closure(before, after):
    """Tokens that share a cluster on either side belong together, and so on until nothing changes."""
    group = list(range(len(before)))
    changed = True
    while changed:
        changed = False
        for i, j in combinations(range(len(before)), 2):
            if (before[i] == before[j] or after[i] == after[j]) and group[i] != group[j]:
                group[i] = group[j] = min(group[i], group[j])
                changed = True
    return sorted(tuple(np.flatnonzero(np.array(group) == g).tolist()) for g in set(group))


@pytest.mark.parametrize("seed", range(20))
def test_events_are_the_smallest_groups_closed_on_both_sides(seed):
    generator = np.random.default_rng(seed)
    before, after = (random_partition(generator, 23, count) for count in (15, 12))
    found = events(before, after)
    assert sorted(event.tokens for event in found) == events_by_closure(before, after)
    for event in found:
        tokens = list(event.tokens)
        sides = set(before[tokens].tolist()), set(after[tokens].tolist())
        assert (set(event.before), set(event.after)) == sides
        several = tuple(len(side) > 1 for side in sides)
        kinds = {(False, False): "persists", (False, True): "splits", (True, False): "merges", (True, True): "mixes"}
        assert event.kind == kinds[several]
    shares = event_shares(before, after)
    assert shares.sum() == pytest.approx(1.0)
    assert shares[KINDS.index("mixes")] == pytest.approx(sum(len(e.tokens) for e in found if e.kind == "mixes") / 23)


def test_a_hierarchy_cut_coarser_and_finer_splits_and_merges_as_planted():
    beliefs = planted_tree.sample(depth=4, noise=0.05)
    fine, coarse = (condense(beliefs).cut(n_clusters=m) for m in (8, 4))
    assert event_shares(coarse, fine).tolist() == [0, 1, 0, 0]
    assert event_shares(fine, coarse).tolist() == [0, 0, 1, 0]
    assert [len(event.before) for event in events(fine, coarse)] == [2] * 4
    assert event_shares(fine, fine).tolist() == [1, 0, 0, 0]


def test_overlap_holds_the_weights_of_both_partitions():
    generator = np.random.default_rng(3)
    before, after = random_partition(generator, 31, 5), random_partition(generator, 31, 7)
    w = generator.uniform(0.1, 1.0, 31)
    w /= w.sum()
    shared = overlap(before, after, w)
    np.testing.assert_allclose(shared.sum(1), np.bincount(before, w), rtol=1e-12)
    np.testing.assert_allclose(shared.sum(0), np.bincount(after, w), rtol=1e-12)


def test_only_whole_clusters_of_several_tokens_persist():
    before = np.array([0, 0, 1, 1, 1, 2, 3, 3])
    assert persisting(before, before) == 1.0
    assert persisting(before, np.array([0, 0, 1, 1, 2, 3, 4, 5])) == pytest.approx(1 / 3)
    assert persisting(before, np.array([0, 0, 0, 1, 1, 2, 2, 2])) == 0.0
    assert np.isnan(persisting(np.arange(5), np.arange(5)))  # all alone at both layers


def test_partitions_that_say_nothing_have_no_agreement():
    labels = np.array([0, 0, 1, 2])
    assert np.isnan(partition_agreement(labels, np.arange(4)))
    assert np.isnan(partition_agreement(np.zeros(4, dtype=int), labels))


def test_a_genealogy_of_one_tree_is_all_persistence():
    tree = condense(gaussian(17))
    found = genealogy([tree, tree, tree], n_clusters=5)
    assert agreements(found) == pytest.approx(np.ones((2, 3)))
    assert all(event.kind == "persists" for passage in found.passages for event in passage.events)
    assert found.losses == pytest.approx(np.full(3, tree.loss(5)))


@pytest.mark.parametrize("cut", [{"n_clusters": 4}, {"loss": 0.2}, {"fraction": 0.4}, {}])
def test_every_way_to_cut_keeps_its_budget(cut):
    trees = [condense(categorical(19, seed=seed)) for seed in range(3)]
    found = genealogy(trees, **cut)
    for tree, labels, loss in zip(trees, found.partitions, found.losses, strict=True):
        clusters = labels.max() + 1
        budget = cut.get("loss", cut.get("fraction", 0.25) * tree.loss(1))
        assert loss == tree.loss(int(clusters))
        assert clusters == 4 if "n_clusters" in cut else loss <= budget < tree.loss(int(clusters) - 1)


def test_losses_of_clusters_are_those_of_the_partition():
    rows = [categorical(19, seed=seed) for seed in range(2)]
    found = genealogy([condense(r) for r in rows], n_clusters=6)
    for layer, beliefs in enumerate(rows):
        expected = cluster_losses(beliefs, found.partitions[layer])
        np.testing.assert_allclose(found.cluster_losses(layer), expected, rtol=1e-9, atol=1e-12)


def test_passages_report_the_functions_they_name():
    trees = [condense(categorical(19, seed=seed)) for seed in range(2)]
    (passage,) = (found := genealogy(trees, n_clusters=4)).passages
    assert passage.adjusted_rand == partition_agreement(*found.partitions)
    assert passage.cophenetic == cophenetic_correlation(*trees)
    assert passage.persisting == persisting(*found.partitions)


def test_permuting_the_tokens_of_all_trees_changes_no_agreement():
    rows = [categorical(21, seed=seed) for seed in range(3)]
    order = np.random.default_rng(0).permutation(21)
    one, other = (genealogy([condense(r[o]) for r in rows], n_clusters=6) for o in (np.arange(21), order))
    np.testing.assert_allclose(agreements(one), agreements(other), rtol=1e-9)


def test_chance_agreement_of_unrelated_trees_is_the_agreement():
    trees = [condense(categorical(25, seed=seed)) for seed in (1, 2)]
    found = genealogy(trees, n_clusters=8)
    drawn = chance_agreement(found, draws=400, seed=1)[:, 0]
    assert abs(drawn[:, 0].mean()) < 3 * drawn[:, 0].std() / 20  # the index is 0 on average
    assert abs(drawn[:, 1].mean()) < 3 * drawn[:, 1].std() / 20
    low, high = np.quantile(drawn[:, :2], [0.005, 0.995], axis=0)
    assert (low < agreements(found)[0, :2]).all()
    assert (agreements(found)[0, :2] < high).all()


def test_runs_of_neighbours_agree_by_adjacency_and_a_shift_knows_it():
    """Two trees of unrelated contiguous clusters: far above permuted tokens, within shifted ones."""
    above = {"permuted": [], "shifted": []}
    for seed in range(12):
        rows = [categorical(40, v=5, seed=100 * seed + layer) for layer in range(2)]
        found = genealogy([condense(r, adjacency="contiguous") for r in rows], n_clusters=8)
        for null, gaps in above.items():
            gaps.append(
                agreements(found)[0, 0] - chance_agreement(found, null=null, draws=39, seed=seed)[:, 0, 0].mean()
            )
    error = {null: np.std(gaps, ddof=1) / np.sqrt(len(gaps)) for null, gaps in above.items()}
    assert np.mean(above["permuted"]) > 3 * error["permuted"]
    assert abs(np.mean(above["shifted"])) < 2.5 * error["shifted"]


def test_draws_are_those_of_their_seed_and_the_seed_is_zero():
    found = genealogy([condense(categorical(15, seed=s)) for s in (1, 2)], n_clusters=5)
    drawn = chance_agreement(found, draws=5)
    np.testing.assert_array_equal(drawn, chance_agreement(found, draws=5, seed=0))
    assert not np.array_equal(drawn, chance_agreement(found, draws=5, seed=1))


def test_another_text_is_laid_on_position_by_position():
    texts = [genealogy([condense(categorical(15, seed=s)) for s in pair], n_clusters=5) for pair in ((1, 2), (3, 4))]
    one, other = texts
    assert compared_with(one, one) == pytest.approx(agreements(one))
    row = compared_with(one, other)[0]
    assert row[0] == partition_agreement(one.partitions[0], other.partitions[1])
    assert row[1] == pytest.approx(cophenetic_correlation(one.trees[0], other.trees[1]))


def test_every_passage_has_its_own_chance():
    """Of three layers, of which the first two are one: passages keep their order, in draws and against another text."""
    one, other = (condense(categorical(19, seed=seed)) for seed in (1, 2))
    found = genealogy([one, one, other], n_clusters=6)
    assert compared_with(found, found) == pytest.approx(agreements(found))
    assert agreements(found)[0, 0] == pytest.approx(1.0)
    drawn = chance_agreement(found, draws=3)
    assert drawn.shape == (3, 2, 3)
    twin = chance_agreement(genealogy([one, other], n_clusters=6), draws=3)
    np.testing.assert_array_equal(drawn[:, 1], twin[:, 0])


def test_the_smallest_trees_have_a_genealogy():
    alone = genealogy([CondensationTree.from_parents([-1], [])] * 2)
    assert np.isnan(agreements(alone)).all()
    assert np.isnan(chance_agreement(alone, null="shifted", draws=2)).all()
    assert alone.passages[0].events[0].kind == "persists"
    assert genealogy([condense(categorical(4))]).passages == ()


def test_what_is_no_genealogy_is_refused():
    tree, other = condense(categorical(4)), condense(categorical(5))
    with pytest.raises(BadInput, match="no tree"):
        genealogy([])
    with pytest.raises(BadInput, match="same weighted tokens"):
        genealogy([tree, other])
    with pytest.raises(BadInput, match="other weights"):
        genealogy([tree, condense(categorical(4), [1.0, 2.0, 3.0, 4.0])])
    with pytest.raises(OptionError, match="n_clusters and loss"):
        genealogy([tree], n_clusters=2, loss=0.1)
    with pytest.raises(OptionError, match="permuted"):
        chance_agreement(genealogy([tree, tree]), null="shuffled")
    with pytest.raises(BadInput, match="as many recorded tokens"):
        compared_with(genealogy([tree, tree]), genealogy([other, other]))
