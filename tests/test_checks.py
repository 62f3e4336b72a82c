"""Whole numbers by their type, and yes or no: nothing is rounded, parsed or guessed."""

import numpy as np
import pytest
import torch

from rgprobe.checks import is_whole, one_of, true_or_false, whole_number, whole_numbers
from rgprobe.errors import OptionError

WHOLE = [3, np.int64(3), np.uint8(3), np.array(3), torch.tensor(3)]
OTHER = [3.0, np.float64(3), True, np.True_, torch.tensor(True), "3", b"3", None, [3], {}, torch.tensor([3, 4]), 2.5]


@pytest.mark.parametrize("value", WHOLE, ids=repr)
def test_whole_numbers_of_any_library_become_an_int(value):
    assert is_whole(value)
    assert repr(whole_number("n", value)) == "3"


@pytest.mark.parametrize("value", OTHER, ids=repr)
def test_nothing_else_is_a_whole_number(value):
    assert not is_whole(value)
    with pytest.raises(OptionError, match=r"^n: expected a whole number, received .*; pass one such as 8$") as caught:
        whole_number("n", value)
    assert "\n" not in str(caught.value)


def test_ranges_are_closed_and_named():
    assert whole_number("n", 0, least=0) == whole_number("n", 0, least=0, most=0) == 0
    for limits, words in (({"least": 1}, ">= 1"), ({"most": -1}, "<= -1"), ({"least": 1, "most": 6}, "from 1 to 6")):
        with pytest.raises(OptionError, match=f"expected a whole number {words}, received 0; use 4"):
            whole_number("n", 0, **limits, remedy="use 4")


def test_several_are_checked_one_by_one():
    for given in ([1, 2], (1, 2), range(1, 3), np.array([1, 2]), torch.tensor([1, 2]), {1: "a", 2: "b"}):
        assert whole_numbers("n", given) == [1, 2]
    with pytest.raises(OptionError, match=r"^n\[1\]: expected a whole number >= 0, received 2.9"):
        whole_numbers("n", [1, 2.9], least=0)
    for given in ("12", 12, None, np.eye(2, dtype=int)):
        with pytest.raises(OptionError, match=r"^n: expected a list of whole numbers, received"):
            whole_numbers("n", given)


def test_yes_or_no_is_never_guessed():
    assert true_or_false("truncate", True) is true_or_false("truncate", np.True_) is True
    assert true_or_false("truncate", np.bool_(False)) is False
    for given in ("no", 1, None, [], np.array([True, False])):
        with pytest.raises(OptionError, match=r"^truncate: expected True or False, received"):
            true_or_false("truncate", given)


def test_one_of_several_names_is_never_guessed():
    assert one_of("per", "token", ("token", "character")) == "token"
    assert one_of("group", None, ("so", None)) is None
    for given in (None, 3, True, ["token"], np.array(["token", "x"]), "Token ", ""):
        with pytest.raises(OptionError, match=r"^per: expected token \| character, received "):
            one_of("per", given, ("token", "character"))


def test_a_name_mistyped_is_answered_with_the_one_that_was_meant():
    with pytest.raises(OptionError, match=r"received 'incldue'; did you mean include\?$"):
        one_of("sink", "incldue", ("exclude", "include"))
    with pytest.raises(OptionError, match=r"received 'words'; use 'token'$"):
        one_of("per", "words", ("token", "character"), remedy="use 'token'")
