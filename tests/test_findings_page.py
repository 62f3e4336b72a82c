"""docs/findings.md shows what `findings.py` of analyses/ read from results, and what `scale_matched.py` measured.

To write it again: `python tests/test_findings_page.py DIR [SCALED ...]`, the folders that the analyses wrote.
"""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from measured_page import DOCS, IMAGES, analysis, shown, write

ROOT = DOCS.parent
PAGE, RECORD, SCALED = DOCS / "findings.md", DOCS / "findings.json", DOCS / "scale-matched.json"
FIGURE = IMAGES / "findings.svg"


def tables():
    rows, module = json.loads(RECORD.read_text("utf-8")), analysis("findings")
    scaled = module.by_claim(row for model in json.loads(SCALED.read_text("utf-8")) for row in model["claims"])
    found = {"tally": module.tally(rows), "table": module.table(rows), "scaled": module.table(scaled, shuffled=False)}
    return {name: "\n".join(lines) for name, lines in found.items()}


def test_the_page_shows_what_was_measured():
    assert shown(PAGE) == tables()


def test_the_readme_counts_as_the_page_does():
    (counts,) = re.findall(r"\| smollm2 \| (\d+) \| (\d+) \| \d+ \| (\d+) \| \d+ \| (\d+) \|", tables()["tally"])
    told = "Of {} claims put to SmolLM2-135M, {} hold, {} fail and {} are not shown".format(*counts)
    assert told in " ".join((ROOT / "README.md").read_text("utf-8").split())


def clearly(difference, word="beats null"):
    return analysis("claims").Against(difference, difference - 0.1, difference + 0.1, word)


DOWN, UP, LEVEL = clearly(-0.5), clearly(+0.5), clearly(-0.05, "within null")


@pytest.mark.parametrize(
    ("value", "untrained", "later", "later_untrained", "shuffled", "expected"),
    [
        (-1.0, DOWN, -0.4, DOWN, DOWN, "holds"),
        (-1.0, DOWN, -0.4, DOWN, LEVEL, "holds, order not needed"),
        (-1.0, DOWN, -0.4, DOWN, UP, "holds, shuffled words more so"),
        (-1.0, DOWN, +0.4, UP, DOWN, "fails: one step at the input end"),
        (-1.0, DOWN, +0.4, DOWN, DOWN, "fails: one step at the input end"),
        (-1.0, DOWN, -0.4, LEVEL, DOWN, "not shown behind the first step"),
        (-1.0, DOWN, -0.4, UP, DOWN, "not shown behind the first step"),
        (-1.0, UP, -0.4, DOWN, DOWN, "fails: less so than untrained"),
        (+1.0, UP, +0.4, UP, DOWN, "fails: the other way"),
        (+1.0, DOWN, +0.4, UP, DOWN, "fails: the other way, though less than untrained"),
        (-1.0, LEVEL, -0.4, LEVEL, DOWN, "not shown"),
        (-1.0, clearly(-0.5, "descriptive"), -0.4, DOWN, DOWN, "not shown: descriptive only"),
    ],
)
def test_a_claim_that_something_falls_is_decided_by_rules(value, untrained, later, later_untrained, shuffled, expected):
    module = analysis("claims")
    falls = module.Claim("it falls", "d", "q", -1)
    reading = module.Reading(value, value, value, untrained, later, later_untrained, shuffled)
    assert module.verdict(reading, falls) == expected


@pytest.mark.parametrize(
    ("bound", "value", "beside", "expected"),
    [
        (1.0, 0.9, DOWN, "holds"),
        (1.0, 1.1, DOWN, "fails: the other way, though less than untrained"),
        (None, 1.1, DOWN, "holds"),
        (1.0, 0.9, LEVEL, "not shown: random directions do so too"),
        (1.0, 0.9, UP, "not shown: random directions do so too"),
    ],
)
def test_values_have_a_bound_and_some_claims_a_null_beside(bound, value, beside, expected):
    module = analysis("claims")
    claim = module.Claim("it is low", "d", "q", -1, module.END, bound, beside="random_directions")
    assert module.verdict(module.Reading(value, value, value, DOWN, beside=beside), claim) == expected


def test_every_claim_names_a_quantity_that_exists():
    from rgprobe.diagnostics import available

    known = {(name, quantity.name) for name, d in available().items() for quantity in d.quantities}
    assert {(claim.diagnostic, claim.quantity) for claim in analysis("claims").CLAIMS} <= known


if __name__ == "__main__":
    if len(sys.argv) > 1:
        shutil.copy(Path(sys.argv[1]) / "findings.json", RECORD)
        shutil.copy(Path(sys.argv[1]) / "findings.svg", FIGURE)
    if len(sys.argv) > 2:
        models = [json.loads((Path(folder) / "scale_matched.json").read_text("utf-8")) for folder in sys.argv[2:]]
        SCALED.write_text(json.dumps(models, indent=1) + "\n", "utf-8")
    write(PAGE, tables())
