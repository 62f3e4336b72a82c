"""Every trend over depth, folded by diagnostic: with many quantities one table would be a wall."""

from __future__ import annotations

from collections import Counter
from itertools import groupby

import numpy as np

from rgprobe.plots.arrays import quantity_label
from rgprobe.report.embedding import escaped
from rgprobe.report.verdicts import Against, Trend
from rgprobe.report.wording import chip, number, signed
from rgprobe.wording import counted

__all__ = ["trend_table"]


def trend_table(found: list[Trend], *, compared: bool) -> str:
    """A line per diagnostic; behind it a row per quantity: change from input end to output end, verdict, difference from nulls.

    Args:
        found: the trends, in the order of the rows.
        compared: whether there was a random initialisation; without one the table is open from the start, because it
            is all that the summary has to tell.
    """
    parts = "".join(_part(title, list(rows)) for title, rows in groupby(found, key=lambda trend: trend.title))
    return (
        f"<details class='trends'{'' if compared else ' open'}><summary>Every trend, from input end to output end</summary>"
        f"{parts}</details>"
    )


def _part(title: str, found: list[Trend]) -> str:
    """One diagnostic: a line that is always read, and its table behind it."""
    return (
        f"<details class='part'><summary>{escaped(title)} <span class='tally'>{_tally(found)}</span></summary>"
        "<div class='scroll'><table><thead><tr><th>quantity</th><th>fitted change</th><th>verdict</th>"
        "<th>difference from the null’s change (95% interval)</th></tr></thead>"
        f"<tbody>{''.join(_row(trend) for trend in found)}</tbody></table></div></details>"
    )


def _tally(found: list[Trend]) -> str:
    """How many of a diagnostic's quantities got which verdict."""
    verdicts = Counter(trend.verdict for trend in found if trend.verdict)
    told = ", ".join(f"{count} {escaped(verdict)}" for verdict, count in verdicts.most_common())
    return f"{counted(len(found), 'quantity')}: {told}" if told else counted(len(found), "quantity")


def _row(trend: Trend) -> str:
    differences = "".join(f"<div>{_difference(each)}</div>" for each in trend.against) or "—"
    return (
        f"<tr><td title='{escaped(trend.meaning)}'>{escaped(quantity_label(trend.quantity))}</td>"
        f"<td class='num'>{signed(trend.slope)} <small>{escaped(trend.units)}</small>{_later(trend)}</td>"
        f"<td>{chip(trend.verdict)}</td><td class='num'>{differences}</td></tr>"
    )


def _later(trend: Trend) -> str:
    """The slope without the first depth, where it has the other sign: the line through all is then one step."""
    if not trend.turns:
        return ""
    return f"<div><small>without the first depth</small> {signed(trend.later)}</div>"


def _difference(each: Against) -> str:
    interval = f"({number(each.low)} to {number(each.high)})" if np.isfinite(each.low) else "(no interval)"
    word = chip(each.verdict) if each.verdict not in ("descriptive", "") else ""
    return f"{signed(each.difference)} {interval} <small>{escaped(quantity_label(each.null))}</small> {word}"
