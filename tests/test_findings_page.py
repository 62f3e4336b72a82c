"""docs/findings.md shows the table of docs/findings.json, which `analyses/findings.py` read from results of `rgprobe run`.

To write it again: `python tests/test_findings_page.py DIR`, the folder that the analysis wrote.
"""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE, RECORD = ROOT / "docs" / "findings.md", ROOT / "docs" / "findings.json"
FIGURE = ROOT / "docs" / "images" / "findings.svg"
BEGIN, END = "<!-- table -->", "<!-- end of table -->"


def analysis():
    spec = importlib.util.spec_from_file_location("findings_analysis", ROOT / "analyses" / "findings.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["findings_analysis"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def table():
    return "\n".join(analysis().table(json.loads(RECORD.read_text("utf-8"))))


def test_the_page_shows_what_was_measured():
    assert PAGE.read_text("utf-8").split(BEGIN)[1].split(END)[0].strip() == table()


@pytest.mark.parametrize(
    ("value", "difference", "beats", "order", "decided", "expected"),
    [
        (-1.0, -0.5, True, True, True, "holds"),
        (-1.0, -0.5, True, False, True, "holds, order not needed"),
        (-1.0, +0.5, True, True, True, "fails: less so than untrained"),
        (+1.0, +0.5, True, True, True, "fails: the other way"),
        (+1.0, -0.5, True, True, True, "fails: the other way, though less than untrained"),
        (-1.0, -0.5, False, True, True, "not shown"),
        (-1.0, -0.5, False, False, False, "not shown: descriptive only"),
    ],
)
def test_a_claim_that_something_falls_is_decided_by_rules(value, difference, beats, order, decided, expected):
    module = analysis()
    falls = module.Claim("it falls", "d", "q", -1)
    reading = module.Reading(value, value, value, difference, difference, difference, beats, order, decided)
    assert module.verdict(reading, falls) == expected


def test_every_claim_names_a_quantity_that_exists():
    from rgprobe.diagnostics import available

    known = {(name, quantity.name) for name, d in available().items() for quantity in d.quantities}
    assert {(claim.diagnostic, claim.quantity) for claim in analysis().CLAIMS} <= known


if __name__ == "__main__":
    if len(sys.argv) > 1:
        shutil.copy(Path(sys.argv[1]) / "findings.json", RECORD)
        shutil.copy(Path(sys.argv[1]) / "findings.svg", FIGURE)
    before, rest = PAGE.read_text("utf-8").split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{table()}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")
