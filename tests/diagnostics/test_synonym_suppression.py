"""Synonym exchanges: distances against plain loops, known displacements, and a coarse-graining that forgets level by level."""

import numpy as np
import pytest

from rgprobe.diagnostics import synonym_suppression
from rgprobe.errors import NumericalRefusal
from rgprobe.testbeds import random_hierarchy


def test_the_spread_is_that_over_all_pairs():
    states = np.random.default_rng(0).normal(size=(23, 2, 5))
    pairs = [((states[i] - states[j]) ** 2).sum(-1) for i in range(23) for j in range(i)]
    np.testing.assert_allclose(
        synonym_suppression.random_pair_spread(states), np.sqrt(np.mean(pairs, axis=0)), rtol=1e-12
    )


@pytest.mark.parametrize("shape", [(7, 4), (9, 3, 5), (6, 2, 3, 11)])
def test_distances_are_those_of_a_loop(shape):
    generator = np.random.default_rng(1)
    states, swapped = generator.normal(size=(2, *shape))
    found = synonym_suppression.swap_distances(states, swapped)
    spread = synonym_suppression.random_pair_spread(states)
    for index in np.ndindex(*shape[:-1]):
        expected = np.sqrt(((states[index] - swapped[index]) ** 2).sum()) / spread[index[1:]]
        assert found[index] == pytest.approx(expected, rel=1e-12)


def test_scale_and_shift_do_not_matter():
    states, swapped = np.random.default_rng(2).normal(size=(2, 9, 3, 4))
    np.testing.assert_allclose(
        synonym_suppression.swap_distances(3 * states + 7, 3 * swapped + 7),
        synonym_suppression.swap_distances(states, swapped),
        rtol=1e-9,
    )


def test_a_state_that_never_varies_has_no_distance():
    states = np.ones((5, 2, 3))
    states[:, 1] = np.random.default_rng(3).normal(size=(5, 3))
    found = synonym_suppression.swap_distances(states, states + 1)
    assert np.isnan(found[:, 0]).all()
    assert np.isfinite(found[:, 1]).all()


def test_a_network_that_climbs_the_parse_forgets_level_by_level():
    """State k holds the symbols of level D - k and nothing below: exchanges of height h <= k move it no more."""
    rules = random_hierarchy.grammar(depth=4)
    drawn = random_hierarchy.sample(rules, samples=301, seed=4)
    for height in range(1, 5):
        swapped = random_hierarchy.swap_synonyms(rules, drawn, height=height, seed=height)
        for k in range(5):
            states, moved = (np.eye(8)[each.symbols[4 - k]].reshape(301, -1) for each in (drawn, swapped))
            distance = synonym_suppression.swap_distances(states, moved).mean()
            assert distance == 0 if height <= k else distance > 0.05


def test_suppression_is_the_difference_of_logarithms():
    generator = np.random.default_rng(5)
    distances, null = generator.uniform(0.1, 1, (31, 2, 3)), generator.uniform(0.1, 1, (4, 31, 2, 3))
    expected = np.mean([np.log(null[s].mean(0) / distances.mean(0)) for s in range(4)], axis=0)
    np.testing.assert_allclose(synonym_suppression.log_suppression(distances, null), expected, rtol=1e-12)
    assert np.isnan(synonym_suppression.log_suppression(np.zeros((3, 1)), np.ones((2, 3, 1)))).all()


def test_one_sample_has_no_pair():
    with pytest.raises(NumericalRefusal, match="states"):
        synonym_suppression.random_pair_spread(np.ones((1, 3)))
