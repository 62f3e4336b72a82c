"""The validation table as text, CSV and markdown: one row per check, in the order of the catalogue."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence

from rgprobe.validation.record import Outcome

__all__ = ["COLUMNS", "as_csv", "as_json", "as_markdown", "as_text"]

COLUMNS = ("id", "diagnostic", "system", "quantity", "units", "expected", "measured", "tolerance", "verdict")
_NUMBERS = ("expected", "measured", "tolerance")
_WORDY = (COLUMNS.index("system"), COLUMNS.index("quantity"))


def as_csv(outcomes: Sequence[Outcome]) -> str:
    """Comma-separated values with a header; numbers with all their digits."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for outcome in outcomes:
        numbers = (outcome.expected, outcome.measured, outcome.check.tolerance)
        writer.writerow([*_words(outcome), *(repr(float(number)) for number in numbers), outcome.verdict])
    return stream.getvalue()


def as_json(outcomes: Sequence[Outcome]) -> str:
    """A list of rows, numbers as numbers; what is not finite is null.

    Example:
        >>> as_json([])
        '[]'
    """
    rows = csv.DictReader(io.StringIO(as_csv(outcomes)))
    return json.dumps([{**row, **{name: _number(row[name]) for name in _NUMBERS}} for row in rows], indent=1)


def _number(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def as_markdown(rows: Sequence[dict[str, str]]) -> str:
    """A markdown table of rows read back from the CSV, numbers shortened."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *(_shortened(row) for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def as_text(outcomes: Sequence[Outcome], *, width: int | None = None) -> str:
    """Aligned columns for a terminal, and how many rows passed.

    Args:
        outcomes: the rows.
        width: of the terminal; system and quantity are shortened to fit. None shortens nothing.
    """
    rows = [_shortened(row) for row in csv.DictReader(io.StringIO(as_csv(outcomes)))]
    table = [list(COLUMNS), *rows]
    widths = _fitting([max(len(row[column]) for row in table) for column in range(len(COLUMNS))], width)
    lines = ["  ".join(_cut(cell, size) for cell, size in zip(row, widths, strict=True)).rstrip() for row in table]
    passed = sum(outcome.passed for outcome in outcomes)
    return "\n".join([*lines, "", f"{passed} of {len(outcomes)} rows pass."])


def _fitting(widths: list[int], total: int | None) -> list[int]:
    """The two columns of words give way until the line fits, down to 16 characters each."""
    if total is None:
        return widths
    fitting = list(widths)
    while sum(fitting) + 2 * (len(fitting) - 1) > total:
        longest = max(_WORDY, key=lambda column: fitting[column])
        if fitting[longest] <= 16:
            break
        fitting[longest] -= 1
    return fitting


def _cut(cell: str, size: int) -> str:
    return cell.ljust(size) if len(cell) <= size else cell[: size - 1] + "…"


def _words(outcome: Outcome) -> tuple[str, ...]:
    check = outcome.check
    module = check.diagnostic.partition(":")[0].rpartition(".")[2]
    return check.catalogue, module, check.system, check.quantity, check.units


def _shortened(row: dict[str, str]) -> list[str]:
    return [f"{float(row[name]):.6g}" if name in _NUMBERS else row[name] for name in COLUMNS]
