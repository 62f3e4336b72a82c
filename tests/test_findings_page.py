"""docs/findings.md shows the table of docs/findings.json, which `analyses/findings.py` read from results of `rgprobe run`.

To write it again: `python tests/test_findings_page.py DIR`, the folder that the analysis wrote.
"""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from measured_page import DOCS, IMAGES, analysis, shown, write

ROOT = DOCS.parent
PAGE, RECORD = DOCS / "findings.md", DOCS / "findings.json"
FIGURE = IMAGES / "findings.svg"


def tables():
    rows, module = json.loads(RECORD.read_text("utf-8")), analysis("findings")
    return {"tally": "\n".join(module.tally(rows)), "table": "\n".join(module.table(rows))}


def test_the_page_shows_what_was_measured():
    assert shown(PAGE) == tables()


def test_the_readme_counts_as_the_page_does():
    (counts,) = re.findall(r"\| smollm2 \| (\d+) \| (\d+) \| \d+ \| (\d+) \| (\d+) \|", tables()["tally"])
    told = "Of {} claims put to SmolLM2-135M, {} hold, {} fail and {} are not shown".format(*counts)
    assert told in " ".join((ROOT / "README.md").read_text("utf-8").split())


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
    module = analysis("findings")
    falls = module.Claim("it falls", "d", "q", -1)
    reading = module.Reading(value, value, value, difference, difference, difference, beats, order, decided)
    assert module.verdict(reading, falls) == expected


def test_every_claim_names_a_quantity_that_exists():
    from rgprobe.diagnostics import available

    known = {(name, quantity.name) for name, d in available().items() for quantity in d.quantities}
    assert {(claim.diagnostic, claim.quantity) for claim in analysis("findings").CLAIMS} <= known


if __name__ == "__main__":
    if len(sys.argv) > 1:
        shutil.copy(Path(sys.argv[1]) / "findings.json", RECORD)
        shutil.copy(Path(sys.argv[1]) / "findings.svg", FIGURE)
    write(PAGE, tables())
