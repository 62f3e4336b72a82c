"""`rgprobe validate`: a row per check, a CSV that is whole or absent, and an exit status that says when a row failed."""

import csv

import pytest

from rgprobe.validation import Check, Outcome, checks, named
from rgprobe.validation.table import COLUMNS, as_text

ROWS = "free_energy,plateau"


def test_prints_and_writes_a_row_per_check(rgprobe, tmp_path):
    table = tmp_path / "table.csv"
    outcome = rgprobe("validate", "--only", ROWS, "--csv", table)
    assert outcome.code == 0
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == COLUMNS
    assert [(row["system"], row["quantity"]) for row in rows] == [(c.system, c.quantity) for c in named(ROWS)]
    for row in rows:
        assert row["verdict"] == "pass"
        assert abs(float(row["measured"]) - float(row["expected"])) <= float(row["tolerance"])
    assert f"{len(rows)} of {len(rows)} rows pass" in outcome.out


def test_a_row_that_fails_is_a_numerical_refusal(rgprobe, tmp_path, monkeypatch):
    from rgprobe.diagnostics import free_energy

    right = free_energy.free_energy
    monkeypatch.setattr(free_energy, "free_energy", lambda trace: _halved(right(trace)))
    outcome = rgprobe("validate", "--only", "free_energy", "--csv", tmp_path / "table.csv")
    assert outcome.code == 4
    assert "FAIL" in outcome.out
    assert "free_energy" in outcome.err
    assert "FAIL" in (tmp_path / "table.csv").read_text()


def _halved(measured):
    return type(measured)(measured.values / 2, measured.details, measured.internal_nulls, measured.private)


def test_an_unknown_name_is_refused(rgprobe):
    outcome = rgprobe("validate", "--only", "astrology")
    assert outcome.code == 2
    assert "astrology" in outcome.err


def test_a_table_that_cannot_be_written_is_an_environment_fault(rgprobe, tmp_path):
    outcome = rgprobe("validate", "--only", "free_energy", "--csv", tmp_path / "nowhere" / "table.csv")
    assert outcome.code == 3


@pytest.mark.parametrize("width", [None, 200, 120, 20])
def test_lines_fit_the_terminal_where_words_can_give_way(width):
    outcomes = [Outcome(check, check.tolerance, 0.0) for check in checks()[:20]]
    lines = as_text(outcomes, width=width).splitlines()
    assert len(lines) == 23
    if width in (200, 120):
        assert max(map(len, lines)) <= width
    assert len({line.index("verdict") for line in lines[:1]}) == 1


def test_what_is_not_a_number_fails():
    check = Check(
        catalogue="D1",
        diagnostic="x:y",
        system="s",
        quantity="q",
        expected=0.0,
        tolerance=1.0,
        measure=lambda: float("nan"),
    )
    assert check.run().verdict == "FAIL"


def test_a_bound_from_below_is_not_one_from_above():
    check = Check(
        catalogue="D1", diagnostic="x:y", system="s", quantity="q", expected=10.0, tolerance=0.5, measure=lambda: 99.0,
        at_least=True,
    )  # fmt: skip
    assert check.run().passed
    assert not Outcome(check, 10.0, 9.4).passed
