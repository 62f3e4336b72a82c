"""Verdicts of a comparison as prose and as small labels in the colours of the two runs."""

from __future__ import annotations

import pandas as pd

from rgprobe.comparison import FlowComparison
from rgprobe.comparison.contrasting import EQUAL, NO_DIFFERENCE, words_of
from rgprobe.contrasts import MINIMUM_CHECKPOINTS
from rgprobe.nulls import MINIMUM_PROMPTS
from rgprobe.report.embedding import escaped
from rgprobe.wording import counted

__all__ = ["outcome_words", "verdict_chip", "verdict_words"]

READINGS = {
    "level_verdict": "mean over depth",
    "level_excess_verdict": "mean over depth, beyond null",
    "trend_verdict": "change from input end to output end",
    "trend_excess_verdict": "the same change, beyond null",
}
SHORT = {NO_DIFFERENCE: "no difference", EQUAL: "equal", "descriptive": "too few to tell", "": "undefined"}


def verdict_chip(word: str, names: tuple[str, str]) -> str:
    """A verdict as a label: which run is above, in its colour."""
    return verdict_words(word, names, kind="chip")


def verdict_words(word: str, names: tuple[str, str], *, kind: str = "said") -> str:
    """A verdict as coloured words."""
    above = words_of(names)
    if word in above:
        side = above.index(word)
        return f"<span class='{kind} side{side}'>{escaped(names[side], longest=40)} above</span>"
    return f"<span class='{kind}'>{escaped(SHORT.get(word, word))}</span>"


def outcome_words(comparison: FlowComparison) -> str:
    """How many quantities differ, on average over depth and in their trend, before and beyond their nulls."""
    # one row per quantity: the sink policy of the runs is listed first
    table = comparison.summary().drop_duplicates(["diagnostic", "quantity"])
    words = set(table["level_verdict"])
    if words <= {EQUAL, ""}:
        return "<p><strong>The two runs are equal</strong> to the last digit: it is the same checkpoint twice.</p>"
    if words <= {"descriptive", EQUAL, ""}:
        return f"<p>{_undecided(comparison)}</p>"
    rows = [_counted(table, column, words, comparison.names) for column, words in READINGS.items() if column in table]
    heads = "".join(f"<th class='side{side}'>{escaped(name)} above</th>" for side, name in enumerate(comparison.names))
    return (
        "<p>How many quantities differ. Over many prompts even a small difference is found, so read its size as well as its "
        "verdict. “Beyond null” asks more: whether they lie apart after each one’s random initialisations are subtracted, and "
        "by more than these scatter. If that verdict is reversed, or finds a difference that the first misses, the "
        "architectures already differ before any training.</p>"
        f"<div class='scroll'><table class='counts'><thead><tr><th></th>{heads}<th>no difference found</th>"
        f"<th>not tested</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _undecided(comparison: FlowComparison) -> str:
    single = comparison.checkpoints == (1, 1)
    needed = counted(MINIMUM_PROMPTS, "prompt") if single else f"{MINIMUM_CHECKPOINTS} training seeds of each"
    return f"<strong>Too few to say that anything differs</strong>, which takes {needed}: what follows is description."


def _counted(table: pd.DataFrame, column: str, reading: str, names: tuple[str, str]) -> str:
    words = table[column].fillna("").tolist()
    counts = [words.count(word) for word in (*words_of(names), NO_DIFFERENCE)]
    cells = "".join(f"<td class='num'>{count}</td>" for count in [*counts, len(words) - sum(counts)])
    return f"<tr><td>{reading}</td>{cells}</tr>"
