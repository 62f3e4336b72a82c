"""One page per diagnostic. `python tests/validation/test_diagnostic_pages.py` writes the tables of checks again."""

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # as a script; under pytest the folder is on the path already

from validation_rows import ROWS

from rgprobe.diagnostics import available

PAGES = Path(__file__).parents[2] / "docs" / "diagnostics"
HEADER = "| system | quantity | expected | measured | tolerance |"
MARK = "These are rows of `rgprobe validate`, word for word."  # below tables that hold rows and nothing else
SECTIONS = ("What it is", "What it assumes", "How it can mislead", "Check", "Example")
BY_CELLS = {(row.system, row.quantity): row for row in ROWS}


def number(value):
    if 0 < abs(value) < 1e-9:
        return "below 1e-9"
    return f"{value:.5g}"


def cells_of(row, measured):
    """A row of the table of checks, its bars escaped."""
    units = "" if row.units == "1" else f" {row.units}"
    expected = ("at least " if row.at_least else "") + number(row.answer) + units
    tolerance = "a bound" if row.at_least else f"{row.tolerance:.3g}"
    return [cell.replace("|", "\\|") for cell in (row.system, row.quantity, expected, number(measured), tolerance)]


def table_rows(text):
    """Cells of every row below a header of checks, and the line they stand in."""
    inside = False
    for line in text.splitlines() if MARK in text else ():
        inside = line.startswith("|") and (inside or line == HEADER)
        if inside and line != HEADER and not line.startswith("|---"):
            yield line, [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def check_of(cells):
    names = tuple(cell.replace("\\|", "|") for cell in cells[:2])
    assert names in BY_CELLS, f"no row of rgprobe validate has this system and quantity: {names}"
    return BY_CELLS[names]


@pytest.mark.parametrize("name", sorted(available()))
def test_every_diagnostic_has_a_page_of_at_most_sixty_lines(name):
    text = (PAGES / f"{name}.md").read_text("utf-8")
    assert len(text.splitlines()) <= 60
    assert text.startswith(f"# {name} ({available()[name].catalogue})\n")
    for section in SECTIONS:
        assert f"## {section}\n" in text, section
    assert f"--diagnostics {name}" in text
    for link in re.findall(r"\]\(([^)#:]+)[^):]*\)", text):
        assert (PAGES / link).exists(), link


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda page: page.stem)
def test_the_table_of_checks_is_the_validation_table(page):
    for line, cells in table_rows(page.read_text("utf-8")):
        wanted = cells_of(check_of(cells), 0.0)
        assert (cells[2], cells[4]) == (wanted[2], wanted[4]), f"{line}: run python {Path(__file__).name}"


def main():
    for page in sorted(PAGES.glob("*.md")):
        text = page.read_text("utf-8")
        for line, cells in table_rows(text):
            row = check_of(cells)
            text = text.replace(line, "| " + " | ".join(cells_of(row, row.run().measured)) + " |")
        page.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
