"""Every row of the validation table: well-formed, reachable, inside its tolerance."""

import math

import pytest
from validation_rows import NAMES, ROWS, module_of

from rgprobe.diagnostics import available
from rgprobe.validation import Check, validate
from rgprobe.validation.record import Outcome


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_the_row_passes(row):
    (outcome,) = validate([row])
    assert outcome.verdict == "pass", f"expected {outcome.expected}, measured {outcome.measured}, to {row.tolerance}"


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_the_row_is_well_formed(row):
    module, name = module_of(row)
    assert callable(getattr(module, name))
    assert not name.startswith("_")
    assert math.isfinite(row.answer)
    assert row.tolerance > 0 or row.at_least
    assert row.tolerance > 0 or row.perturbation == "negate"  # five times nothing spoils nothing
    assert row.perturbation != "scale" or row.answer != 0
    assert row.units


def test_no_two_rows_have_the_same_name():
    assert len(set(NAMES)) == len(NAMES)


def test_every_diagnostic_of_the_registry_has_rows():
    checked = {row.catalogue for row in ROWS}
    assert {diagnostic.catalogue for diagnostic in available().values()} <= checked


def test_what_is_not_finite_fails_and_a_bound_holds_on_one_side_only():
    row = Check(
        catalogue="D1", diagnostic="free_energy:free_energy", system="none", quantity="none", expected=1.0,
        tolerance=0.1, measure=lambda: math.nan,
    )  # fmt: skip
    assert row.run().verdict == "FAIL"
    for measured, verdict in ((0.89, "FAIL"), (0.91, "pass"), (1.09, "pass"), (1.11, "FAIL"), (math.inf, "FAIL")):
        assert Outcome(row, 1.0, measured).verdict == verdict
    bound = Check(**{**vars(row), "at_least": True})
    assert [Outcome(bound, 1.0, measured).verdict for measured in (0.89, 0.91, 5.0)] == ["FAIL", "pass", "pass"]
