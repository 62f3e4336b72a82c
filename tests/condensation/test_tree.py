"""The record: SciPy accepts it, cuts are exact, files give it back, any label survives."""

import dataclasses
import json
import re

import numpy as np
import pytest
from condensation_cases import CENTROIDS, beliefs, categorical, weights
from scipy.cluster.hierarchy import dendrogram, fcluster, is_monotonic, is_valid_linkage

from rgprobe.condensation import CondensationTree, condense, partition_loss
from rgprobe.condensation.newick import escape_label
from rgprobe.errors import BadInput, OptionError
from rgprobe.gaussian import Gaussian, kl, merge

NASTY = (
    "it's",
    "(a,b);",
    "x:1",
    "[c]",
    "two\nlines",
    "\x00\x1b",
    "\ud800",
    "\u202eabc",
    "déjà",
    "",
    "\\n",
    "$$",
    "<b>",
    "=1+1",
)


@pytest.mark.parametrize("kind", ["categorical", "gaussian"])
def test_scipy_accepts_the_linkage(kind):
    tree = condense(beliefs(kind, 17), weights(17))
    assert is_valid_linkage(tree.linkage)
    assert is_monotonic(tree.linkage)
    assert sorted(dendrogram(tree.linkage, no_plot=True)["leaves"]) == list(range(17))
    for m in (1, 3, 17):
        ours, theirs = tree.cut(n_clusters=m), fcluster(tree.linkage, m, "maxclust")
        assert len({(a, b) for a, b in zip(ours, theirs, strict=True)}) == m == len(set(theirs))


def test_heights_are_cumulative_costs_and_information_counts_down():
    tree = condense(categorical(7))
    np.testing.assert_allclose(tree.heights, np.cumsum(tree.merge_costs))
    assert tree.information.shape == (7,)
    assert [tree.loss(m) for m in range(1, 8)] == tree.information.tolist()
    assert tree.loss(7) == 0.0
    assert tree.loss(1) == tree.heights[-1]


def test_cut_by_height_spends_at_most_that():
    tree = condense(categorical(17))
    for m in (1, 4, 16):
        np.testing.assert_array_equal(tree.cut(height=tree.loss(m)), tree.cut(n_clusters=m))
        np.testing.assert_array_equal(tree.cut(height=tree.loss(m) * (1 - 1e-12)), tree.cut(n_clusters=m + 1))
    np.testing.assert_array_equal(tree.cut(height=0.0), np.arange(17))


def test_cut_numbers_clusters_by_first_leaf():
    tree = condense(categorical(17))
    for m in range(1, 18):
        labels = tree.cut(n_clusters=m)
        first = [int(np.flatnonzero(labels == c)[0]) for c in range(m)]
        assert first == sorted(first)
        assert labels.max() == m - 1


@pytest.mark.parametrize(
    "options", [{}, {"n_clusters": 2, "height": 1.0}, {"n_clusters": 0}, {"n_clusters": 8}, {"height": -1.0}]
)
def test_impossible_cuts_are_refused(options):
    with pytest.raises(OptionError):
        condense(categorical(7)).cut(**options)


def test_nan_height_is_refused():
    with pytest.raises(OptionError, match="height"):
        condense(categorical(7)).cut(height=float("nan"))


def test_leaves_of_nodes():
    tree = condense(categorical(7))
    assert tree.leaves(3).tolist() == [3]
    assert tree.leaves(12).tolist() == list(range(7))
    assert tree.leaves(7).tolist() == tree.linkage[0, :2].astype(int).tolist()
    with pytest.raises(OptionError, match="node"):
        tree.leaves(13)


def test_effective_clusters_is_the_least_that_suffices():
    tree = condense(categorical(17))
    for fraction in (0.0, 0.1, 0.5, 1.0):
        m = tree.effective_clusters(fraction)
        assert tree.loss(m) <= fraction * tree.loss(1)
        assert m == 1 or tree.loss(m - 1) > fraction * tree.loss(1)
    assert tree.effective_clusters() == tree.effective_clusters(0.5) != tree.effective_clusters(0.75)
    with pytest.raises(OptionError, match="fraction"):
        tree.effective_clusters(1.5)


@pytest.mark.parametrize("centroid", CENTROIDS)
@pytest.mark.parametrize("kind", ["categorical", "gaussian"])
def test_meta_tokens_condense_on_as_the_tokens_did(kind, centroid):
    """Merge associativity: the tree of 5 meta-tokens is the top of the tree of 17 tokens."""
    q, w = beliefs(kind, 17), weights(17)
    tree = condense(q, w, centroid=centroid)
    rows, masses = tree.meta_tokens(5)
    assert masses.sum() == pytest.approx(1.0)
    top = condense(rows, masses, centroid=centroid)
    np.testing.assert_allclose(top.merge_costs, tree.merge_costs[-4:], rtol=1e-8)
    np.testing.assert_array_equal(top.cut(n_clusters=2)[tree.cut(n_clusters=5)], tree.cut(n_clusters=2))


def test_two_step_merge_is_one_step_merge():
    q = beliefs("gaussian", 7)
    root, _ = condense(q).meta_tokens(1)
    assert isinstance(root, Gaussian)
    assert kl(root[0], merge(q)).item() < 1e-12


def test_one_token_is_a_tree_without_merges():
    tree = condense(categorical(1), labels=["only"])
    assert tree.linkage.shape == (0, 4)
    assert tree.information.tolist() == [0.0]
    assert tree.cut(n_clusters=1).tolist() == tree.cut(height=0.0).tolist() == [0]
    assert tree.parents.tolist() == [-1]
    assert tree.to_newick() == "'only';"
    assert tree.effective_clusters() == 1
    assert CondensationTree.from_json(tree.to_json()).n_leaves == 1


def test_the_record_is_frozen():
    tree = condense(categorical(7))
    with pytest.raises(dataclasses.FrozenInstanceError):
        tree.n_ties = 3
    with pytest.raises(ValueError, match="read-only"):
        tree.linkage[0, 2] = 1.0


def test_parents_and_json_give_the_tree_back():
    tree = condense(categorical(14), weights(14), centroid="pool", adjacency="contiguous", labels=NASTY)
    text = tree.to_json()
    assert text.isascii()
    again = CondensationTree.from_json(text)
    for name in ("linkage", "merge_costs", "weights"):
        np.testing.assert_array_equal(getattr(again, name), getattr(tree, name))
    assert (again.labels, again.centroid, again.adjacency) == (NASTY, "pool", "contiguous")
    assert again.to_json() == text
    rows, _ = again.meta_tokens(3, categorical(14))
    np.testing.assert_allclose(rows, tree.meta_tokens(3)[0], rtol=1e-14)
    with pytest.raises(OptionError, match="beliefs"):
        again.meta_tokens(3)


@pytest.mark.parametrize(
    ("parents", "costs"),
    [
        ([3, 3, 4, 4, 4], [0.1, 0.2]),
        ([3, 3, 3, 4, -1], [0.1, 0.2]),
        ([4, 4, 3, 3, -1], [0.1, -0.2]),
        ([4, 4, 3, 3, -1], [0.1, np.nan]),
        ([2, 2, -1], [0.1, 0.2]),
        ([0, 3, 4, 4, -1], [0.1, 0.2]),
        ([3, 4, 4, 3, -1], [0.1, 0.2]),  # a node of its own making
    ],
)
def test_arrays_that_are_no_tree_are_refused(parents, costs):
    with pytest.raises(BadInput):
        CondensationTree.from_parents(parents, costs)


@pytest.mark.parametrize("drop", ["", "format", "parents", "weights", "everything"])
def test_other_json_is_refused(drop):
    record = json.loads(condense(categorical(3)).to_json())
    record.pop(drop, None)
    text = {"": "{torn", "everything": "[]"}.get(drop, json.dumps(record))
    with pytest.raises(BadInput, match="tree JSON"):
        CondensationTree.from_json(text)


def test_labels_must_fit():
    with pytest.raises(BadInput, match="labels"):
        condense(categorical(3), labels=["a"])


def test_newick_is_one_parseable_line_with_every_label():
    tree = condense(categorical(14), labels=NASTY)
    text = tree.to_newick()
    assert text.isprintable()
    text.encode("utf-8")
    quoted = re.findall(r"'(?:[^']|'')*'", text)
    assert sorted(quoted) == sorted(escape_label(label) for label in NASTY)
    bare = re.sub(r"'(?:[^']|'')*'", "", text)
    assert set(bare) <= set("(),:;.0123456789e-+")
    assert bare.count("(") == bare.count(")") == 13
    assert len(set(quoted)) == 14


def test_newick_branches_add_up_to_the_heights():
    tree = CondensationTree.from_parents([3, 3, 4, 4, -1], [0.25, 0.5])
    assert tree.to_newick() == "('2':0.75,('0':0.25,'1':0.25):0.5);"


def test_partition_loss_of_singletons_is_zero():
    assert partition_loss(categorical(7), np.arange(7)) == 0.0
