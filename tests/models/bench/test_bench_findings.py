"""Exponents, verdicts, the record and its tables, from times that are known."""

import json
from dataclasses import replace

import pytest
from ladder_cases import OPTIONS, made_up_result, timing

from rgprobe.errors import BadInput, OptionError
from rgprobe.models.bench.findings import fit_growth, judge
from rgprobe.models.bench.options import LadderOptions
from rgprobe.models.bench.result import Cell, LadderResult
from rgprobe.models.bench.table import tables


def test_planted_exponents_are_found_with_their_range():
    cells = [Cell("m", n, 2, timing(5e-3 * n**1.5), None, 7 * n**2) for n in (4, 8, 16, 64)]
    found = {(g.quantity, g.axis): g for g in fit_growth(cells, OPTIONS)}
    assert set(found) == {("forward", "tokens"), ("forward_memory", "tokens")}
    forward = found["forward", "tokens"]
    assert forward.exponent == pytest.approx(1.5, abs=1e-12)
    assert (forward.low, forward.high, forward.points, forward.fixed) == (4, 64, 4, 2)
    assert found["forward_memory", "tokens"].exponent == pytest.approx(2.0, abs=1e-12)


def test_two_sizes_make_no_exponent():
    assert fit_growth([Cell("m", n, 2, timing(n)) for n in (4, 8)], OPTIONS) == ()


@pytest.mark.parametrize(
    ("forward", "both", "error", "expected"),
    [
        (2.0, 2.0, 1e-6, "dominated"),
        (2.0, 2.0, 1e-9, "dominated"),  # both are exact up to rounding
        (2.0, 2.0, 0.5, "dominated"),
        (0.95, 0.95, 0.5, "dominated"),  # as fast, up to noise
        (2.0, None, 0.5, "dominated"),
        (0.5, 2.0, 0.5, "faster"),
        (2.0, 0.5, 1e-6, "faster"),
    ],
)
def test_a_rival_is_dominated_unless_faster_by_more_than_noise(forward, both, error, expected):
    exact = Cell("exact", 4, 2, timing(1.0), timing(1.0), error=1e-5)
    other = Cell("other", 4, 2, timing(forward), timing(both) if both else None, error=error)
    (verdict,) = judge([exact, other], "exact")
    assert {"dominated": verdict.dominated, "faster": verdict.faster}[expected] == ((4, 2),)
    assert verdict.omitted == ()
    assert len(verdict.dominated) + len(verdict.faster) == 1


def test_more_accurate_is_not_dominated():
    exact = Cell("exact", 4, 2, timing(1.0), timing(1.0), error=1e-3)
    slow = Cell("slow", 4, 2, timing(9.0), timing(9.0), error=1e-5)
    undefined = Cell("undefined", 4, 2, timing(9.0), timing(9.0), error=float("nan"))
    sharper, broken = judge([exact, slow, undefined], "exact")
    assert (sharper.dominated, sharper.faster) == ((), ())
    assert broken.dominated == ((4, 2),)


def test_json_gives_the_record_back():
    result = made_up_result()
    again = LadderResult.from_json(result.to_json())
    assert again.cells == result.cells
    assert (again.growth, again.verdicts, again.methods) == (result.growth, result.verdicts, result.methods)
    assert json.loads(result.to_json())["schema"] == "rgprobe.attention-ladder"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace('"version": 1', '"version": 9'), "version 9"),
        (lambda text: text.replace("attention-ladder", "kettle"), "rgprobe.kettle"),
        (lambda text: "[]", "TypeError"),
        (lambda text: "{}", "KeyError"),
        (lambda text: text[:99], "JSONDecodeError"),
    ],
)
def test_json_that_is_something_else_is_refused(change, words):
    with pytest.raises(BadInput, match=words):
        LadderResult.from_json(change(made_up_result().to_json()))


def test_tables_hold_ratios():
    times, width, growth, verdicts = tables(made_up_result())
    rows = {row[0]: row[1:] for row in times.rows}
    assert times.header == ("N x K", "4 x 2", "8 x 2", "16 x 2")
    assert rows["common-frame"] == ("1 / 1",) * 3
    assert rows["loop"] == ("3.3 / 3.3", "6.7 / 6.7", "- / -")  # N^2 over 1.2 N
    assert {row[0]: row[1] for row in width.rows}["parts"] == "1.1 / 1.1"
    exponents = {row[0]: row[1:] for row in growth.rows}
    assert exponents["cached"][0] == "2.0 (4-16, 3)"
    assert exponents["loop"][0] == "-"
    assert exponents["cached"][-1] == f"{0.015:.2g} / {0.061:.2g}"
    verdict = {row[0]: row[1:] for row in verdicts.rows}
    assert verdict["loop"] == ("1e-06 to 1e-06", "2 of 2", "nowhere", "16 x 2")
    assert verdict["common-frame"][1:] == ("-", "-", "-")
    assert "parts" not in verdict


def test_no_absolute_time_is_printed():
    result = made_up_result()
    slower = replace(
        result,
        cells=tuple(
            replace(c, forward=c.forward and timing(7 * c.forward.median), both=c.both and timing(7 * c.both.median))
            for c in result.cells
        ),
    )
    assert tables(slower) == tables(result)


@pytest.mark.parametrize(
    "options",
    [{"rounds": 0}, {"budget": 0.0}, {"points": ((0, 2),)}, {"kappa": -1.0}, {"window": 0}, {"panel": (1, 1)}],
)
def test_options_outside_their_domain_are_refused(options):
    with pytest.raises(OptionError, match=next(iter(options))):
        LadderOptions(**options)
