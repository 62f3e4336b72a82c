"""`docs/diagnostics.md` is written from the registry. To write it again: `python tests/test_diagnostics_page.py`.

With `--check` the exit status says whether every diagnostic is there; `.ci/run` asks.
"""

import re
import sys
from collections.abc import Collection
from pathlib import Path

from rgprobe.diagnostics import Diagnostic, available

PAGE = Path(__file__).parents[1] / "docs" / "diagnostics.md"

HEADER = """# Diagnostics

Written from the registry by `python tests/test_diagnostics_page.py`; a test fails when this page and the code differ.

Every diagnostic is a measurement on a trace. It is indexed by block (L), by state (L + 1: state 0 is the input end, state L
the output end) or by transition between states (L); what is measured on thermal or native beliefs is indexed by block. Each
quantity is reported as value, null, difference and interval, per null model; what is undefined is NaN, and what is not
defined for a model or its beliefs is not measured on it. A quantity marked *identity* is true by construction, or read off
the weights: it is checked, and no null is needed to believe it.
"""


def page(names: Collection[str] | None = None) -> str:
    diagnostics = [diagnostic for name, diagnostic in available().items() if names is None or name in names]
    table = ["| id | name | what it is | indexed by | models | beliefs | collects |", "|---|---|---|---|---|---|---|"]
    table += [
        _row(
            d.catalogue, f"[`{d.name}`](#{d.name})", d.title, d.depth, ", ".join(d.families) or "any",
            ", ".join(d.beliefs) or "any", ", ".join(sorted(d.requires)),
        )
        for d in diagnostics
    ]  # fmt: skip
    return "\n".join([HEADER, *table, "", *(line for d in diagnostics for line in _section(d))])


def _section(diagnostic: Diagnostic) -> list[str]:
    quantities = [
        _row(f"`{q.name}`", "none" if q.units == "1" else q.units, q.meaning + (" (*identity*)" if q.identity else ""))
        for q in diagnostic.quantities
    ]
    return [
        f"## {diagnostic.name}",
        "",
        f"{diagnostic.catalogue}. {diagnostic.title}. {diagnostic.reading}",
        "",
        "| quantity | units | meaning |",
        "|---|---|---|",
        *quantities,
        "",
        f"- Assumption: {diagnostic.assumption}.",
        f"- Undefined: {diagnostic.undefined}.",
        "",
    ]


def _row(*cells: str) -> str:
    escaped = (cell.replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"


def test_the_page_is_what_the_registry_says():
    text = PAGE.read_text("utf-8")
    listed = re.findall(r"^## (\w+)$", text, re.MULTILINE)  # one that has just been added may wait for the next writing
    assert text == page(listed), "run python tests/test_diagnostics_page.py"


def test_every_quantity_is_described():
    for diagnostic in available().values():
        assert diagnostic.reading.endswith("."), diagnostic.name
        assert all(q.units and q.meaning for q in diagnostic.quantities), diagnostic.name


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(
            0 if PAGE.read_text("utf-8") == page() else f"{PAGE.name} is not complete: run python {Path(__file__).name}"
        )
    PAGE.write_text(page(), "utf-8")
