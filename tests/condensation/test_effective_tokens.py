"""N_eff against planted distinct beliefs and against the curve that it is read off."""

import numpy as np
import pytest
from condensation_cases import categorical, gaussian
from hypothesis import given, settings
from hypothesis import strategies as st

from rgprobe.condensation import CondensationTree, condense
from rgprobe.condensation.effective_tokens import effective_tokens, log_effective_tokens
from rgprobe.errors import OptionError


@pytest.mark.parametrize("distinct", [1, 2, 5, 9])
def test_copies_of_k_beliefs_are_k_effective_tokens(distinct):
    rows = categorical(distinct, seed=3)[np.arange(27) % distinct]
    assert effective_tokens(condense(rows), loss=1e-12) == pytest.approx(distinct, rel=1e-9)


def test_whole_numbers_where_the_budget_is_a_loss_of_the_tree():
    tree = condense(gaussian(17))
    for m in range(1, 18):
        assert effective_tokens(tree, loss=tree.loss(m)) == pytest.approx(m, rel=1e-12)
        assert effective_tokens(tree, fraction=tree.loss(m) / tree.loss(1)) == pytest.approx(m, rel=1e-9)


def test_between_two_losses_the_logarithm_is_in_proportion():
    tree = CondensationTree.from_parents([4, 4, 5, 6, 5, 6, -1], [0.1, 0.2, 0.3])  # D(2) = .3, D(3) = .1
    halfway = log_effective_tokens(tree, loss=0.2)
    assert halfway == pytest.approx((np.log(2) + np.log(3)) / 2)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.floats(0, 1), st.floats(0, 1))
def test_falls_in_the_budget_and_brackets_the_least_number_of_clusters(seed, one, other):
    tree = condense(categorical(11, seed=seed))
    less, more = sorted((one, other))
    few, many = effective_tokens(tree, fraction=more), effective_tokens(tree, fraction=less)
    assert 1 <= few <= many + 1e-9 <= 11 + 2e-9
    whole = tree.effective_clusters(less)
    assert whole - 1 - 1e-9 <= many <= whole + 1e-9


def test_a_budget_that_is_none_is_refused():
    tree = condense(categorical(4))
    for wrong, culprit in (
        ({}, "budget"), ({"loss": 0.1, "fraction": 0.1}, "budget"), ({"loss": -0.1}, "loss"), ({"fraction": 1.5}, "fraction"),
        ({"loss": float("nan")}, "loss"),
    ):  # fmt: skip
        with pytest.raises(OptionError, match=f"^{culprit}:"):
            effective_tokens(tree, **wrong)


def test_a_single_token_is_one():
    assert effective_tokens(CondensationTree.from_parents([-1], []), loss=0.1) == 1.0
