"""Mess3: filter against enumeration over state paths, samples against agreement and entropy."""

from itertools import product

import numpy as np
import pytest

from rgprobe.errors import OptionError, PromptError
from rgprobe.testbeds import mess3

PARAMETERS = [(0.05, 0.85), (0.15, 0.6), (0.3, 0.2), (0.0, 1.0)]


@pytest.mark.parametrize(("x", "a"), PARAMETERS)
def test_transitions_are_a_labelled_stochastic_matrix(x, a):
    matrices = mess3.transition_matrices(x=x, a=a)
    np.testing.assert_allclose(matrices.sum((0, 2)), 1.0, atol=1e-15)
    np.testing.assert_allclose(matrices.sum(0), np.where(np.eye(3), 1 - 2 * x, x), atol=1e-15)
    # published entry by entry: b = (1 - a) / 2, y = 1 - 2x
    b, y = (1 - a) / 2, 1 - 2 * x
    np.testing.assert_allclose(matrices[1], [[b * y, a * x, b * x], [b * x, a * y, b * x], [b * x, a * x, b * y]])


@pytest.mark.parametrize(("x", "a"), PARAMETERS[:3])
def test_beliefs_are_bayes_over_all_state_paths(x, a):
    moves = np.where(np.eye(3), 1 - 2 * x, x)
    emits = np.where(np.eye(3), a, (1 - a) / 2)
    tokens = mess3.sample(length=5, rows=7, x=x, a=a, seed=2).tokens
    found = mess3.beliefs(tokens, x=x, a=a)
    for row, belief in zip(tokens, found, strict=True):
        mass = np.zeros(3)
        for path in product(range(3), repeat=6):
            steps = [moves[i, j] * emits[j, z] for i, j, z in zip(path[:-1], path[1:], row, strict=True)]
            mass[path[-1]] += np.prod(steps) / 3
        np.testing.assert_allclose(belief[5], mass / mass.sum(), rtol=1e-12)


@pytest.mark.parametrize(("x", "a"), PARAMETERS[:3])
def test_samples_agree_as_often_as_they_should(x, a):
    rows = 40_001
    walks = mess3.sample(length=7, rows=rows, x=x, a=a, seed=9)
    known = mess3.exact(x=x, a=a, words=6).agreement
    same = (walks.tokens[:, :1] == walks.tokens).mean(0)
    assert (abs(same - known) <= 4 * np.sqrt(known * (1 - known) / rows)).all()
    # each state emits its own token with probability a, and moves with probability 2x
    own, stay = (walks.tokens == walks.states).mean(), (np.diff(walks.states, axis=1) == 0).mean()
    assert abs(own - a) < 4 * np.sqrt(a * (1 - a) / (7 * rows))
    assert abs(stay - (1 - 2 * x)) < 4 * np.sqrt(2 * x * (1 - 2 * x) / (6 * rows))


@pytest.mark.parametrize(("x", "a"), PARAMETERS[:3])
def test_loss_of_the_optimal_predictor_is_the_entropy(x, a):
    length = 8
    tokens = mess3.sample(length=length, rows=20_001, x=x, a=a, seed=5).tokens
    predicted = mess3.next_token(mess3.beliefs(tokens, x=x, a=a)[:, :-1], x=x, a=a)
    np.testing.assert_allclose(predicted.sum(-1), 1.0, atol=1e-12)
    loss = -np.log(np.take_along_axis(predicted, tokens[..., None], 2)[..., 0])
    known = mess3.exact(x=x, a=a, words=length)
    # rows are independent: standard error of each position's mean from its own spread; position 1 has none
    error = loss.std(0, ddof=1) / np.sqrt(len(loss))
    assert (abs(loss.mean(0) - known.entropies) <= 4 * error + 1e-12).all()


@pytest.mark.parametrize(("x", "a"), PARAMETERS[:3])
def test_bracket_closes_on_the_entropy_rate(x, a):
    known = [mess3.exact(x=x, a=a, words=t).entropy_rate_bounds for t in (2, 5, 9)]
    lower, upper = np.array(known).T
    assert (np.diff(lower) >= 0).all()
    assert (np.diff(upper) <= 0).all()
    assert (lower <= upper).all()
    entropies = mess3.exact(x=x, a=a, words=9).entropies
    assert entropies[0] == pytest.approx(np.log(3))
    assert (np.diff(entropies) <= 1e-14).all()


def test_one_long_sequence_has_its_loss_inside_the_bracket():
    tokens = mess3.sample(length=8001, rows=1, seed=1).tokens
    predicted = mess3.next_token(mess3.beliefs(tokens)[:, :-1])
    loss = -np.log(np.take_along_axis(predicted, tokens[..., None], 2)[0, :, 0])
    low, high = mess3.exact(words=9).entropy_rate_bounds
    # correlated over about 1 / -ln(1 - 3x) = 6 tokens: errors from 40 blocks of 200
    error = loss[1:].reshape(40, 200).mean(1).std(ddof=1) / np.sqrt(40)
    assert low - 4 * error < loss[1:].mean() < high + 4 * error


def test_a_deterministic_process_has_certain_beliefs():
    walks = mess3.sample(length=3, rows=5, x=0.0, a=1.0)
    found = mess3.beliefs(walks.tokens, x=0.0, a=1.0)
    np.testing.assert_array_equal(found[:, 1:].argmax(-1), walks.states)
    assert mess3.exact(x=0.0, a=1.0).entropy_rate_bounds == (0.0, 0.0)


def test_impossible_sequences_are_refused():
    with pytest.raises(PromptError, match=r"tokens\[1\].*positive probability"):
        mess3.beliefs(np.array([[0, 0], [0, 1]]), x=0.0, a=1.0)
    with pytest.raises(PromptError, match=r"tokens\[0\]"):
        mess3.beliefs(np.array([[3]]))


@pytest.mark.parametrize("options", [{"length": 0}, {"rows": 0}, {"x": 0.6}, {"x": float("nan")}, {"a": 1.2}])
def test_what_is_no_process_is_refused(options):
    with pytest.raises(OptionError):
        mess3.sample(**{"length": 2, "rows": 2, **options})


def test_too_long_words_are_refused():
    with pytest.raises(OptionError):
        mess3.exact(words=13)
