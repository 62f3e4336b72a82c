"""D34: trees of the data and of activations, on hierarchies that are known, and against the obvious computations."""

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster
from sklearn.metrics import adjusted_rand_score, mutual_info_score

from rgprobe.diagnostics import data_tree
from rgprobe.errors import BadInput, NumericalRefusal
from rgprobe.testbeds import random_hierarchy


def sentences(samples, *, depth=3, seed=0):
    rules = random_hierarchy.grammar(depth=depth, seed=seed)
    return rules, random_hierarchy.sample(rules, samples=samples, seed=seed + 1)


def floor(samples, symbols=8):
    return (symbols - 1) ** 2 / (2 * samples)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_tree_of_the_positions_is_the_parse(seed):
    rules, drawn = sentences(60_000, seed=seed)
    tree = data_tree.information_tree(data_tree.position_information(drawn.leaves), floor=floor(60_000))
    assert data_tree.parse_recall(tree, random_hierarchy.clades(rules)) == 1.0


def test_information_is_that_of_the_contingency_table_less_its_bias():
    tokens = np.random.default_rng(3).integers(5, size=(501, 3))
    tokens[:, 1] = (tokens[:, 0] + tokens[:, 1] // 3) % 5
    found = data_tree.position_information(tokens)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        seen = len(np.unique(tokens[:, [i, j]], axis=0)) - 2 * 5 + 1
        expected = mutual_info_score(tokens[:, i], tokens[:, j]) - seen / (2 * 501)
        assert found[i, j] == found[j, i] == pytest.approx(expected, abs=1e-12)


def test_independent_positions_have_no_information():
    tokens = np.random.default_rng(5).integers(8, size=(4001, 4))
    pairs = data_tree.position_information(tokens)[np.triu_indices(4, 1)]
    assert abs(pairs.mean()) < 5 * np.sqrt(2 * 49) / (2 * 4001) / np.sqrt(6)


@pytest.mark.parametrize("width", [3, 11])
def test_state_information_is_that_of_the_joint_covariance(width):
    generator = np.random.default_rng(width)
    states = generator.normal(size=(997, 3, width)) @ generator.normal(size=(width, width))
    states[:, 1] += 0.7 * states[:, 0]
    found = data_tree.state_information(states, rank=width)
    covariance = np.cov(states.reshape(997, -1), rowvar=False).reshape(3, width, 3, width)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        joint = covariance[np.ix_([i, j], range(width), [i, j], range(width))].reshape(2 * width, -1)
        logs = [np.linalg.slogdet(c)[1] for c in (covariance[i, :, i], covariance[j, :, j], joint)]
        expected = (logs[0] + logs[1] - logs[2]) / 2 - width**2 / (2 * 997)
        assert found[i, j] == pytest.approx(expected, rel=1e-9)


def test_states_that_are_the_tokens_have_the_parse_of_the_tokens():
    rules, drawn = sentences(20_000)
    embedding = np.random.default_rng(0).normal(size=(8, 12))
    tree = data_tree.information_tree(data_tree.state_information(embedding[drawn.leaves]), floor=floor(20_000))
    tokens = data_tree.information_tree(data_tree.position_information(drawn.leaves), floor=floor(20_000))
    assert data_tree.parse_recall(tree, random_hierarchy.clades(rules)) == 1.0
    assert data_tree.cophenetic_agreement(tree, tokens) > 0.95


def test_types_that_are_synonyms_share_a_branch():
    """Groups of two leaves are types; what stands beside them depends on the symbol that made them, not on which synonym."""
    rules, drawn = sentences(60_000)
    groups = drawn.leaves.reshape(len(drawn.leaves), -1, 2) @ [8, 1]
    pairs = groups.reshape(-1, 2)
    names, columns = np.unique(pairs, return_inverse=True)
    columns = columns.reshape(pairs.shape)
    counts = np.zeros((len(names), 2 * len(names)))
    np.add.at(counts, (columns[:, 0], columns[:, 1]), 1)  # what stands to the right, then to the left
    np.add.at(counts, (columns[:, 1], len(names) + columns[:, 0]), 1)
    tree = data_tree.profile_tree(data_tree.pointwise_information(counts))
    symbol = {int(code): above for above, rows in enumerate(rules.rules[-1] @ [8, 1]) for code in rows}
    parents = [symbol[int(code)] for code in names]
    assert adjusted_rand_score(parents, fcluster(tree, 8, "maxclust")) == 1.0


def test_agreement_of_a_tree_with_itself_and_with_its_permutations():
    rows = np.random.default_rng(1).normal(size=(17, 5))
    tree, other = data_tree.profile_tree(rows), data_tree.profile_tree(rows + 0.01)
    assert data_tree.cophenetic_agreement(tree, other) == pytest.approx(1.0, abs=1e-9)
    null = data_tree.permuted_agreement(tree, tree, draws=200, seed=2)
    assert abs(null.mean()) < 4 * null.std() / np.sqrt(200)
    assert null.max() < 1.0
    np.testing.assert_array_equal(null, data_tree.permuted_agreement(tree, tree, draws=200, seed=2))


def test_scaling_a_row_or_shifting_all_leaves_the_tree_as_it_was():
    rows = np.random.default_rng(4).normal(size=(9, 4))
    tree = data_tree.profile_tree(rows)
    np.testing.assert_allclose(data_tree.profile_tree(rows + 3.0), tree, atol=1e-12)
    np.testing.assert_allclose(data_tree.profile_tree(rows * 5.0), tree, atol=1e-12)


def test_pointwise_information_is_zero_where_counts_are_independent():
    counts = np.outer([1.0, 2.0, 5.0], [3.0, 4.0])
    np.testing.assert_allclose(data_tree.pointwise_information(counts), 0.0, atol=1e-15)


@pytest.mark.parametrize(
    ("call", "culprit"),
    [
        (lambda: data_tree.position_information(np.array([[0, 1]])), "tokens"),
        (lambda: data_tree.position_information(np.array([[0, 1], [-1, 1]])), "tokens"),
        (lambda: data_tree.information_tree(np.eye(3), floor=0.0), "floor"),
        (lambda: data_tree.pointwise_information(np.array([[0.0, 0.0], [1.0, 0.0]])), "counts"),
        (lambda: data_tree.pointwise_information(np.array([[-1.0, 2.0]])), "counts"),
        (lambda: data_tree.cophenetic_agreement(np.ones((2, 4)), np.ones((3, 4))), "trees"),
    ],
)
def test_bad_input_is_refused_by_name(call, culprit):
    with pytest.raises(BadInput, match=culprit):
        call()


@pytest.mark.parametrize(
    ("call", "culprit"),
    [
        (lambda: data_tree.state_information(np.zeros((10, 2, 3))), "states"),
        (lambda: data_tree.information_tree(np.full((3, 3), np.nan), floor=0.1), "information"),
        (lambda: data_tree.profile_tree(np.ones((3, 2))), "rows"),
        (lambda: data_tree.profile_tree(np.array([[1.0, np.nan], [0.0, 1.0]])), "rows"),
    ],
)
def test_what_has_no_tree_is_refused(call, culprit):
    with pytest.raises(NumericalRefusal, match=culprit):
        call()


def test_a_tree_of_one_height_agrees_with_nothing():
    flat = data_tree.profile_tree(np.eye(3))
    assert np.isnan(data_tree.cophenetic_agreement(flat, flat))
    assert np.isnan(data_tree.parse_recall(flat, {frozenset({0}), frozenset(range(len(flat) + 1))}))
