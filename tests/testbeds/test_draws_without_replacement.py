"""Draws without replacement: the posterior against counting permutations, entropies against the posterior."""

from itertools import permutations
from math import lgamma, log

import numpy as np
import pytest

from rgprobe.errors import OptionError, PromptError
from rgprobe.testbeds import draws_without_replacement as deck


def test_posterior_counts_the_permutations_that_remain():
    every = np.array(list(permutations(range(5))))
    found = deck.posterior(every[:, :4], vocabulary=5)
    for row, likely in zip(every[::17], found[::17], strict=True):
        for k in range(5):
            left = every[(every[:, :k] == row[:k]).all(1)]
            np.testing.assert_allclose(likely[k], np.bincount(left[:, k], minlength=5) / len(left), atol=1e-15)


@pytest.mark.parametrize(("vocabulary", "draws"), [(1, 1), (7, 7), (33, 20)])
def test_entropies_are_those_of_the_posterior_along_samples(vocabulary, draws):
    tokens = deck.sample(vocabulary=vocabulary, draws=draws, rows=9, seed=3)
    found = deck.posterior(tokens, vocabulary=vocabulary)[:, :draws]
    entropy = -(found * np.log2(np.where(found > 0, found, 1.0))).sum(-1)
    known = deck.exact(vocabulary=vocabulary, draws=draws)
    np.testing.assert_allclose(entropy, np.broadcast_to(known, entropy.shape), atol=1e-12)
    # what was drawn has exactly the probability 2^-H
    taken = np.take_along_axis(found, tokens[..., None], axis=2)[..., 0]
    np.testing.assert_allclose(-np.log2(taken), np.broadcast_to(known, taken.shape), atol=1e-12)


def test_a_whole_deck_has_log_of_factorial_bits():
    assert deck.exact(vocabulary=51, draws=51).sum() == pytest.approx(lgamma(52) / log(2), rel=1e-12)


def test_samples_are_uniform_over_ordered_pairs():
    rows = 20_001
    tokens = deck.sample(vocabulary=5, draws=2, rows=rows, seed=4)
    counts = np.zeros((5, 5))
    np.add.at(counts, (tokens[:, 0], tokens[:, 1]), 1)
    assert (np.diagonal(counts) == 0).all()
    p = 1 / 20
    off = counts[~np.eye(5, dtype=bool)]
    assert (abs(off - rows * p) < 4.5 * np.sqrt(rows * p * (1 - p))).all()


def test_an_empty_deck_has_no_next_draw():
    assert np.isnan(deck.posterior(np.array([[1, 0]]), vocabulary=2)[0, 2]).all()


@pytest.mark.parametrize("tokens", [[[0, 3]], [[-1, 0]], [[1, 1]]])
def test_impossible_rows_are_refused_by_index(tokens):
    with pytest.raises(PromptError, match=r"tokens\[1\]"):
        deck.posterior(np.array([[0, 1], *tokens]), vocabulary=3)


@pytest.mark.parametrize("options", [{"vocabulary": 0}, {"draws": 0}, {"draws": 4}, {"rows": 0}])
def test_what_is_no_deck_is_refused(options):
    with pytest.raises(OptionError):
        deck.sample(**{"vocabulary": 3, "draws": 2, "rows": 1, **options})
