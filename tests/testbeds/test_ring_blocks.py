"""Rings in blocks: spectrum, symmetries by brute force, and the posterior against a sum over all paths of states."""

from itertools import pairwise, permutations, product

import numpy as np
import pytest

from rgprobe.errors import OptionError, PromptError
from rgprobe.testbeds import ring_blocks


@pytest.mark.parametrize(("sizes", "stay"), [((5, 7), 0.5), ((3, 4), 0.0), ((3, 3, 5), 0.8)])
def test_eigenvectors_live_on_one_block_each(sizes, stay):
    built = ring_blocks.chain(sizes=sizes, stay=stay)
    known = ring_blocks.exact(built)
    np.testing.assert_allclose(built.transition @ known.right, known.right * known.eigenvalues, atol=1e-12)
    modes = [stay + (1 - stay) * np.cos(2 * np.pi * np.arange(size) / size) for size in sizes]
    np.testing.assert_allclose(known.eigenvalues, np.sort(np.concatenate(modes))[::-1], atol=1e-12)
    for column, block in zip(known.right.T, known.blocks, strict=True):
        assert np.abs(column[built.labels != block]).max() < 1e-12


def test_symmetries_are_all_permutations_that_keep_the_chain_and_its_blocks():
    built = ring_blocks.chain(sizes=(3, 4), stay=0.4)
    rings = product(permutations(range(3)), permutations(range(3, 7)))
    keeps = {a + c for a, c in rings if (built.transition[np.ix_(a + c, a + c)] == built.transition).all()}
    found = ring_blocks.symmetries(built)
    assert {tuple(row) for row in found.tolist()} == keeps
    assert len(found) == 6 * 8


def test_posterior_is_bayes_over_all_paths():
    noise = 0.3
    built = ring_blocks.chain(sizes=(3, 4), stay=0.5)
    emission = (1 - noise) * np.eye(7) + noise / 7
    tokens = ring_blocks.observe(ring_blocks.sample(built, walks=5, length=4, seed=1), states=7, noise=noise, seed=2)
    found = ring_blocks.posterior(tokens, built, noise=noise)
    for row, predicted in zip(tokens, found, strict=True):
        mass = np.zeros(7)
        for path in product(range(7), repeat=5):
            moves = [built.transition[i, j] for i, j in pairwise(path)]
            seen = [emission[state, token] for state, token in zip(path[:-1], row, strict=True)]
            mass += built.stationary[path[0]] * np.prod(moves) * np.prod(seen) * emission[path[-1]]
        np.testing.assert_allclose(predicted[4], mass / mass.sum(), rtol=1e-12)
    np.testing.assert_allclose(found.sum(-1), 1.0, atol=1e-12)


def test_noise_replaces_as_many_tokens_as_it_should():
    walks = np.zeros((200, 500), dtype=np.int64)
    seen = ring_blocks.observe(walks, states=8, noise=0.4, seed=0)
    # of those replaced, one in eight falls on the state itself
    share = (seen != 0).mean()
    assert abs(share - 0.4 * 7 / 8) < 4 * np.sqrt(0.35 * 0.65 / seen.size)
    np.testing.assert_array_equal(ring_blocks.observe(walks, states=8, noise=0.0), walks)


@pytest.mark.parametrize("options", [{"sizes": (5,)}, {"sizes": (2, 5)}, {"stay": 1.0}, {"stay": float("nan")}])
def test_what_is_no_chain_is_refused(options):
    with pytest.raises(OptionError):
        ring_blocks.chain(**options)


def test_what_cannot_have_been_seen_is_refused():
    built = ring_blocks.chain(sizes=(3, 3))
    with pytest.raises(PromptError, match=r"tokens\[1\].*positive probability"):
        ring_blocks.posterior(np.array([[0, 1], [0, 4]]), built, noise=0.0)
    with pytest.raises(PromptError, match=r"tokens\[0\]"):
        ring_blocks.posterior(np.array([[6]]), built, noise=0.1)
    with pytest.raises(OptionError):
        ring_blocks.observe(np.array([[0]]), states=6, noise=1.5)
