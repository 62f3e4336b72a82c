"""What a comparison says at its end: which quantities differ, by how much, and what that is a difference between."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

import pandas as pd

from rgprobe.cli.cells import label, number, plain
from rgprobe.cli.failures import printable
from rgprobe.comparison import FlowComparison
from rgprobe.comparison.contrasting import NO_DIFFERENCE, words_of

__all__ = ["comparison_json", "comparison_text", "outcome_text"]

WIDTH = 100


def comparison_json(comparison: FlowComparison, files: Sequence[Path]) -> str:
    """The summary as ASCII JSON; what is undefined is null, and "not_compared" says why something is missing."""
    record = {
        "names": list(comparison.names),
        "statement": comparison.statement,
        "summary": [
            {key: plain(value) for key, value in row.items()} for row in comparison.summary().to_dict("records")
        ],
        "not_compared": [vars(entry) for entry in comparison.not_compared],
        "comparison": str(files[0]),
        "report": str(files[1]),
    }
    return json.dumps(record, allow_nan=False, indent=1)


def comparison_text(comparison: FlowComparison, files: Sequence[Path]) -> str:
    """A table with a row per quantity: both means over depth, their difference, who is above, where."""
    # one row per quantity: the sink policy of the runs is listed first
    table = comparison.summary().drop_duplicates(["diagnostic", "quantity"])
    first, second = (printable(name)[:24] for name in comparison.names)
    header = (
        "mean over depth",
        first,
        second,
        "difference (95% interval)",
        "above",
        "beyond null",
        "depths that differ",
    )
    rows = [header, *(_row(row, comparison.names) for row in table.to_dict("records"))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = ["  ".join(_aligned(row, widths)).rstrip() for row in rows]
    by_reason: dict[str, list[str]] = {}
    for each in comparison.not_compared:
        by_reason.setdefault(each.reason, []).append(f"{each.diagnostic}, {each.quantity}".replace("_", " "))
    left_out = [f"Not compared: {'; '.join(names)}: {reason}." for reason, names in by_reason.items()]
    notes = [
        line
        for note in (comparison.statement, *left_out)
        for line in wrap(printable(note), WIDTH, break_on_hyphens=False)
    ]
    places = ["Wrote", f"  {printable(str(files[0]))}", f"  {printable(str(files[1]))}: open it in a browser"]
    return "\n".join([*lines, "", *notes, "", *places])


def outcome_text(comparison: FlowComparison) -> str:
    """One paragraph: how many quantities differ, before and beyond their nulls, and what that is a difference between."""
    table = comparison.summary().drop_duplicates(["diagnostic", "quantity"])
    first, second = (printable(name) for name in comparison.names)
    lines = [f"{second} against {first}, on the same prompts"]
    for column, words in (
        ("level_verdict", "differ"),
        ("level_excess_verdict", "differ beyond their random initialisations"),
    ):
        judged = (
            table[column].isin([*words_of(comparison.names), NO_DIFFERENCE])
            if column in table
            else pd.Series(dtype=bool)
        )
        if judged.any():
            differing = int(table[column].isin(words_of(comparison.names)).sum())
            lines.append(f"  {differing} of {int(judged.sum())} quantities {words}, on average over depth.")
    lines += [f"  {line}" for line in wrap(printable(comparison.statement), WIDTH, break_on_hyphens=False)]
    return "\n".join(lines)


def _row(row: dict[str, Any], names: tuple[str, str]) -> tuple[str, ...]:
    units = "" if row["units"] == "1" else f", {row['units']}"
    interval = f"{number(row['level_difference'])} ({number(row['level_low'])} to {number(row['level_high'])})"
    differing = row["n_first_above"] + row["n_second_above"]
    return (
        f"{label(row)}{units}", number(row["level_first"]), number(row["level_second"]), interval,
        _above(row["level_verdict"], names), _above(row.get("level_excess_verdict"), names),
        f"{differing} of {row['n_depths']}",
    )  # fmt: skip


def _above(word: Any, names: tuple[str, str]) -> str:
    """Who is above; a dash where no difference was found, the word itself where nothing was tested."""
    above = words_of(names)
    if word in above:
        return printable(names[above.index(word)])[:24]
    return {NO_DIFFERENCE: "-", "descriptive": "too few"}.get(word, word) if isinstance(word, str) else ""


def _aligned(row: tuple[str, ...], widths: list[int]) -> list[str]:
    numbers = (cell.rjust(width) for cell, width in zip(row[1:4], widths[1:4], strict=True))
    return [row[0].ljust(widths[0]), *numbers, *(cell.ljust(w) for cell, w in zip(row[4:], widths[4:], strict=True))]
