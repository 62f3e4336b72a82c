"""`docs/validation.md` shows the table of docs/validation.csv, whose rows are those of the registry.

To write both again: `rgprobe validate --csv docs/validation.csv; python tests/test_validation_page.py`. With `--check` the exit
status says whether every row of the registry is there; `.ci/run` asks.
"""

import csv
import json
import sys
from pathlib import Path

import pytest

from rgprobe.validation import Check, checks
from rgprobe.validation.table import as_markdown

DOCS = Path(__file__).parents[1] / "docs"
TABLE, COVERAGE, PAGE = DOCS / "validation.csv", DOCS / "interval-coverage.json", DOCS / "validation.md"

HEADER = """# Validation

    rgprobe validate --csv docs/validation.csv
    python tests/test_validation_page.py

The first command runs every diagnostic on systems whose answer is known, on one thread and from fixed seeds, in under two
minutes; the second writes this page from its table. Exit status 4 says that a row failed. Expected values come from closed
forms or from the `exact` of a system in `rgprobe.testbeds`; tolerances are absolute, in the units of the quantity.
`tests/validation/` spoils each diagnostic by five tolerances, row by row, and demands that the row then fails.

What a row does not say: that the assumption of its diagnostic holds in a transformer. The page of each diagnostic in
[diagnostics/](diagnostics/) says what it assumes and how it can mislead.

"""


INTERVALS = """
## Intervals

    python analyses/interval_coverage.py --out docs/interval-coverage.json

How often a 95% interval holds the truth in simulated systems whose answer is known, measured and bootstrapped as a run does. In
400 trials a nominal interval would show 92.8% to 97.0%. Intervals this narrow show errors of a fraction of a percent: the
entropy-matched temperature covered 91% at beta = 0.5 while its curve was interpolated linearly between tabulated values.

| quantity | trials | covers | mean width |
|---|---|---|---|
"""


def rows() -> list[dict[str, str]]:
    with TABLE.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def page() -> str:
    measured = json.loads(COVERAGE.read_text("utf-8"))
    lines = [f"| {row['case']} | {row['trials']} | {row['coverage']:.1%} | {row['width']:.3g} |" for row in measured]
    return HEADER + as_markdown(rows()) + "\n" + INTERVALS + "\n".join(lines) + "\n"


def test_the_page_shows_the_table():
    assert PAGE.read_text("utf-8") == page(), "run python tests/test_validation_page.py"


def listed() -> list[Check]:
    """Rows of the diagnostics that the table knows: one that has just been added may wait for the next writing."""
    known = {row["diagnostic"] for row in rows()}
    return [check for check in checks() if check.diagnostic.partition(":")[0].rpartition(".")[2] in known]


def test_the_table_has_the_rows_of_the_registry_and_all_of_them_pass():
    stated = [(row["id"], row["system"], row["quantity"]) for row in rows()]
    assert stated == [(check.catalogue, check.system, check.quantity) for check in listed()]
    # some are computed, to the last digit by one version of numpy alone
    assert [float(row["tolerance"]) for row in rows()] == pytest.approx(
        [check.tolerance for check in listed()], rel=1e-9
    )
    assert {row["verdict"] for row in rows()} == {"pass"}


def test_stated_answers_are_those_of_the_registry():
    cheap = [(check, row) for check, row in zip(listed(), rows(), strict=True) if not callable(check.expected)]
    assert cheap
    for check, row in cheap:
        assert float(row["expected"]) == pytest.approx(check.answer, abs=1e-12), check.system


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(
            0 if len(rows()) == len(checks()) else "docs/validation.csv lacks rows: write it again, as this file says"
        )
    PAGE.write_text(page(), "utf-8")
