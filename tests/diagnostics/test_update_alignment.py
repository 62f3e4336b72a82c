"""Alignment of updates with gradients of scores, against dense Fisher matrices and their pseudo-inverses."""

import numpy as np
import pytest

from rgprobe.diagnostics.fisher import natural_gradient_alignment
from rgprobe.diagnostics.update_alignment import expected_between, random_cosines, update_alignment
from rgprobe.errors import NumericalRefusal


def softmax(scores):
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def rows(spread, *, keys, count=7, seed=0):
    generator = np.random.default_rng(seed)
    return softmax(spread * generator.standard_normal((count, keys))), generator.standard_normal((count, keys))


def reference(weights, slopes, updated):
    """Row by row: the Fisher matrix, its pseudo-inverse, and cosines of centred vectors."""
    found = []
    for alpha, v, after in zip(weights, slopes, updated, strict=True):
        fisher = np.diag(alpha) - np.outer(alpha, alpha)
        gradient = fisher @ v
        natural = np.linalg.pinv(fisher, rcond=1e-12) @ gradient
        step = np.log(after) - np.log(alpha)
        step = step - step.mean()
        pairs = ((step, -gradient), (step, -natural), (gradient, natural))
        found.append([a @ b / (np.linalg.norm(a) * np.linalg.norm(b)) for a, b in pairs])
    return np.array(found).T


@pytest.mark.parametrize("spread", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("keys", [3, 21, 63])
def test_cosines_are_those_of_dense_matrices(spread, keys):
    weights, slopes = rows(spread, keys=keys)
    updated, _ = rows(1.0, keys=keys, seed=1)
    found = update_alignment(weights, slopes, updated)
    expected = reference(weights, slopes, updated)
    np.testing.assert_allclose([found.plain, found.natural, found.between], expected, atol=1e-9)


def test_steps_along_either_gradient_are_told_apart():
    weights, slopes = rows(2.0, keys=21)
    gradient = weights * (slopes - (weights * slopes).sum(-1, keepdims=True))
    descent = update_alignment(weights, slopes, softmax(np.log(weights) - 0.1 * gradient))
    natural = update_alignment(weights, slopes, softmax(np.log(weights) - 0.1 * slopes))
    np.testing.assert_allclose(descent.plain, 1, atol=1e-9)
    np.testing.assert_allclose(descent.natural, descent.between, atol=1e-9)
    np.testing.assert_allclose(descent.excess, 0, atol=1e-9)
    np.testing.assert_allclose(natural.natural, 1, atol=1e-9)
    np.testing.assert_allclose(natural.plain, natural.between, atol=1e-9)
    assert (natural.excess > 0.1).all()


def test_a_shift_of_slopes_and_unseen_keys_are_of_no_consequence():
    weights, slopes = rows(1.0, keys=9)
    updated, _ = rows(1.0, keys=9, seed=1)
    plain = update_alignment(weights, slopes, updated)
    wider = [
        np.concatenate([each, np.full((7, 2), fill)], 1) for each, fill in ((weights, 0), (slopes + 5, 9), (updated, 0))
    ]
    masked = update_alignment(*wider, seen=np.arange(11) < 9)
    np.testing.assert_allclose(masked.natural, plain.natural, atol=1e-12)
    np.testing.assert_allclose(masked.plain, plain.plain, atol=1e-12)
    np.testing.assert_allclose(
        expected_between(wider[0], seen=np.arange(11) < 9), expected_between(weights), atol=1e-12
    )


def test_what_has_one_direction_or_none_is_undefined():
    weights, slopes = rows(1.0, keys=2)
    assert np.isnan(update_alignment(weights, slopes, weights[::-1]).plain).all()
    assert np.isnan(expected_between(weights)).all()
    weights, slopes = rows(1.0, keys=5)
    assert np.isnan(update_alignment(weights, slopes, weights).plain).all()  # nothing moved


@pytest.mark.parametrize("spread", [0.5, 1.0, 2.0])
def test_the_expected_cosine_is_that_of_unrelated_read_outs(spread):
    weights, slopes = rows(spread, keys=256, count=300)
    found = update_alignment(weights, slopes, weights[::-1]).between.mean()
    assert found == pytest.approx(expected_between(weights).mean(), abs=0.03)


def test_a_query_of_as_many_dimensions_as_there_are_directions_has_the_same_cosine():
    weights, slopes = rows(1.0, keys=64, count=600)
    found = update_alignment(weights, slopes, weights[::-1]).between.mean()
    assert found == pytest.approx(natural_gradient_alignment(1.0, keys=64, width=63, rows=40).mean(), abs=0.03)


def test_the_expected_cosine_is_the_ratio_of_traces():
    weights, _ = rows(2.0, keys=13)
    for row, found in zip(weights, expected_between(weights), strict=True):
        fisher = np.diag(row) - np.outer(row, row)
        assert found == pytest.approx(np.trace(fisher) / np.sqrt(12 * np.trace(fisher @ fisher)), rel=1e-12)


def test_random_directions_have_the_stated_variance():
    drawn = random_cosines(9, 20_000, seed=3)
    assert drawn.mean() == pytest.approx(0, abs=0.01)
    assert drawn.var() == pytest.approx(1 / 8, rel=0.05)


@pytest.mark.parametrize(
    "broken", [np.array([[0.5, 0.6, 0.1]]), np.array([[1.5, -0.5, 0.0]]), np.array([[np.nan, 1.0, 0.0]])]
)
def test_what_is_no_attention_is_refused(broken):
    fine = np.full((1, 3), 1 / 3)
    with pytest.raises(NumericalRefusal, match="weights: expected rows"):
        update_alignment(broken, fine, fine)
    with pytest.raises(NumericalRefusal, match="updated: expected rows"):
        update_alignment(fine, fine, broken)
