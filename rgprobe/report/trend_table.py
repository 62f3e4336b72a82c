"""Every trend over depth in one table."""

from __future__ import annotations

import numpy as np

from rgprobe.plots.arrays import quantity_label
from rgprobe.report.embedding import escaped
from rgprobe.report.verdicts import Against, Trend
from rgprobe.report.wording import chip, number, signed

__all__ = ["trend_table"]


def trend_table(found: list[Trend], *, compared: bool) -> str:
    """A row per quantity: fitted change from input end to output end, verdict, difference from each null.

    Args:
        found: the trends, in the order of the rows.
        compared: whether there was a random initialisation; without one the table is open from the start, because it
            is all that the summary has to tell.
    """
    rows = []
    for index, trend in enumerate(found):
        if index == 0 or found[index - 1].diagnostic != trend.diagnostic:
            rows.append(f"<tr class='group'><th colspan='4'>{escaped(trend.title)}</th></tr>")
        differences = "".join(f"<div>{_difference(each)}</div>" for each in trend.against) or "—"
        rows.append(
            f"<tr><td title='{escaped(trend.meaning)}'>{escaped(quantity_label(trend.quantity))}</td>"
            f"<td class='num'>{signed(trend.slope)} <small>{escaped(trend.units)}</small></td>"
            f"<td>{chip(trend.verdict)}</td><td class='num'>{differences}</td></tr>"
        )
    return (
        f"<details class='trends'{'' if compared else ' open'}><summary>Every trend, from input end to output end</summary>"
        "<div class='scroll'><table><thead><tr><th>quantity</th><th>fitted change</th><th>verdict</th>"
        "<th>difference from the null’s change (95% interval)</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div></details>"
    )


def _difference(each: Against) -> str:
    interval = f"({number(each.low)} to {number(each.high)})" if np.isfinite(each.low) else "(no interval)"
    word = chip(each.verdict) if each.verdict not in ("descriptive", "") else ""
    return f"{signed(each.difference)} {interval} <small>{escaped(quantity_label(each.null))}</small> {word}"
