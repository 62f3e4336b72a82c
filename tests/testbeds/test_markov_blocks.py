"""Markov blocks: assembled spectrum against dense eigenvalues, walks against the stationary law and the slow mode."""

import numpy as np
import pytest

from rgprobe.errors import OptionError
from rgprobe.testbeds import markov_blocks

CASES = [((4, 4), 0.05), ((3, 5), 0.2), ((1, 2, 6), 0.1), ((2, 3, 4, 5), 0.0), ((5, 4), 0.7)]


@pytest.mark.parametrize(("sizes", "epsilon"), CASES)
def test_spectrum_is_that_of_the_matrix(sizes, epsilon):
    built = markov_blocks.chain(sizes=sizes, epsilon=epsilon, seed=3)
    known = markov_blocks.exact(built)
    np.testing.assert_allclose(built.transition.sum(1), 1.0, atol=1e-14)
    np.testing.assert_allclose(built.stationary @ built.transition, built.stationary, atol=1e-15)
    np.testing.assert_allclose(built.transition @ known.right, known.right * known.eigenvalues, atol=1e-12)
    dense = np.linalg.eigvals(built.transition)
    assert abs(dense.imag).max() < 1e-7  # multiple eigenvalues split by the square root of rounding at most
    np.testing.assert_allclose(np.sort(dense.real)[::-1], known.eigenvalues, atol=1e-7)
    assert known.lambda_2 == pytest.approx(1 - len(sizes) * epsilon / (len(sizes) - 1))


@pytest.mark.parametrize(("sizes", "epsilon"), CASES)
def test_eigenvectors_are_orthonormal_in_the_stationary_law(sizes, epsilon):
    built = markov_blocks.chain(sizes=sizes, epsilon=epsilon, seed=5)
    right = markov_blocks.exact(built).right
    np.testing.assert_allclose(right.T @ (built.stationary[:, None] * right), np.eye(len(right)), atol=1e-12)


def test_two_blocks_have_lambda_2_of_one_minus_two_epsilon():
    known = markov_blocks.exact(markov_blocks.chain(sizes=(7, 3), epsilon=0.01))
    assert known.lambda_2 == pytest.approx(0.98)
    assert known.eigenvalues[1] == pytest.approx(0.98)
    signs = np.sign(known.right[:, 1])
    assert len(set(signs[:7])) == len(set(signs[7:])) == 1
    assert signs[0] != signs[-1]


def test_uncoupled_blocks_have_eigenvectors_of_one_block_each():
    built = markov_blocks.chain(sizes=(4, 5), epsilon=0.0)
    known = markov_blocks.exact(built)
    for column, block in zip(known.right.T, known.blocks, strict=True):
        assert (column[built.labels != block] == 0).all()
        assert (column[built.labels == block] != 0).any()
    # [v_A; v_C] with v_A, v_C of different eigenvalues is none
    a, c = (np.flatnonzero(known.blocks == block)[1] for block in (0, 1))
    mixed = known.right[:, a] + known.right[:, c]
    image = built.transition @ mixed
    ratio = image / mixed
    assert np.ptp(ratio) > 1e-3


@pytest.mark.parametrize(("sizes", "epsilon"), CASES[:3])
def test_walks_visit_and_leave_blocks_as_they_should(sizes, epsilon):
    walks, length = 20_001, 4
    built = markov_blocks.chain(sizes=sizes, epsilon=epsilon, seed=1)
    path = markov_blocks.sample(built, walks=walks, length=length, seed=2)
    for step in path.T:
        visits = np.bincount(step, minlength=len(built.labels)) / walks
        error = np.sqrt(built.stationary * (1 - built.stationary) / walks)
        assert (abs(visits - built.stationary) < 4.5 * error).all()
    # E[f(x_0) f(x_r)] = lambda^r for every normalised eigenvector: the slow mode, with its own standard error
    known = markov_blocks.exact(built)
    slow = known.right[:, np.flatnonzero(np.isclose(known.eigenvalues, known.lambda_2))[0]]
    product = slow[path[:, :1]] * slow[path]
    error = product.std(0, ddof=1) / np.sqrt(walks)
    assert (abs(product.mean(0) - known.lambda_2 ** np.arange(length)) < 4.5 * error + 1e-12).all()


def test_walks_follow_the_transition_matrix():
    built = markov_blocks.chain(sizes=(2, 3), epsilon=0.3, seed=8)
    path = markov_blocks.sample(built, walks=30_001, length=2, seed=4)
    counts = np.zeros((5, 5))
    np.add.at(counts, (path[:, 0], path[:, 1]), 1)
    starts = counts.sum(1, keepdims=True)
    error = np.sqrt(built.transition * (1 - built.transition) / starts)
    assert (abs(counts / starts - built.transition) < 4.5 * error).all()


def test_sampling_is_a_function_of_its_seed():
    built = markov_blocks.chain()
    one, same, other = (markov_blocks.sample(built, walks=3, length=9, seed=s) for s in (0, 0, 1))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(
    "options", [{"sizes": (4,)}, {"sizes": (4, 0)}, {"epsilon": -0.1}, {"epsilon": 1.0}, {"epsilon": float("nan")}]
)
def test_what_is_no_block_chain_is_refused(options):
    with pytest.raises(OptionError):
        markov_blocks.chain(**options)


@pytest.mark.parametrize("options", [{"walks": 0}, {"length": 0}])
def test_walks_that_go_nowhere_are_refused(options):
    with pytest.raises(OptionError):
        markov_blocks.sample(markov_blocks.chain(), **{"walks": 1, "length": 1, **options})
