"""The summary in plain words: what was run, what that allows one to say, what beat its null and what did not."""

from __future__ import annotations

from collections import Counter

from rgprobe.nulls import MINIMUM_PROMPTS, MINIMUM_SEEDS
from rgprobe.plots.arrays import depth_dim, node, quantity_label
from rgprobe.report.embedding import escaped
from rgprobe.report.trend_table import trend_table
from rgprobe.report.verdicts import LEVELS, QUESTIONS, Standing, Trend, standing, trends
from rgprobe.report.wording import chip, listed, number, signed
from rgprobe.rg_flow import RGFlow
from rgprobe.wording import counted

__all__ = ["summary"]

STRONGEST = 6  # findings told one by one
LEVEL_TEXT = {
    "identity": "true by construction",
    "descriptive": "true of this checkpoint on these prompts",
    "beats null": "more than random initialisations show",
    "causal": "shown by patching; not part of this report",
}


def summary(name: str, flow: RGFlow) -> str:
    """HTML of one flow's summary."""
    found, size = trends(flow), standing(flow)
    parts = [f"<p>{_facts(name, flow, size)}</p>", f"<p>{_claims(size)}</p>", _ladder(found)]
    if size.compared:
        parts += [_outcomes(found) if size.sufficient else "", _strongest(found)]
    return "".join([*parts, trend_table(found, compared=size.compared)])


def _facts(name: str, flow: RGFlow, size: Standing) -> str:
    record = flow.provenance
    sink = "left out of" if record["options"].get("sink") == "exclude" else "kept in"
    return (
        f"<b>{escaped(name)}</b> is a {escaped(record['family'])} model with {counted(record['n_parameters'], 'parameter')}"
        f"{_shape(flow)}. It read {counted(size.prompts, 'prompt')}, {counted(size.tokens, 'token')} in all. Beliefs are of "
        f"the kind “{escaped(record['belief'])}”: {escaped(record.get('assumption') or 'no assumption')}. The first token, "
        f"on which attention sinks, is {sink} the statistics; figures show the other choice as a dotted line."
    )


def _shape(flow: RGFlow) -> str:
    for diagnostic in flow.diagnostics:
        arrays = node(flow, diagnostic)
        if depth_dim(arrays) == "block":
            heads = f" of {counted(arrays.sizes['head'], 'head')}" if "head" in arrays.sizes else ""
            return f", {counted(arrays.sizes['block'], 'block')}{heads}"
    return ""


def _claims(size: Standing) -> str:
    """What so many prompts and seeds allow one to say."""
    rule = f"at least {counted(MINIMUM_SEEDS, 'random initialisation')} and {counted(MINIMUM_PROMPTS, 'prompt')}"
    if not size.compared:
        return (
            "<strong>No null model was run.</strong> Nothing below is evidence of a renormalization-group flow: randomly "
            "initialised models show many of the same trends. Every number describes this checkpoint on these prompts; "
            f"saying more takes {rule}."
        )
    nulls = f"{counted(size.seeds, 'random initialisation')} of the same architecture"
    nulls += ", with logits as they come and as large as the model's," if size.scaled else ""
    nulls += f" and {counted(size.shuffles, 'shuffled copy')} of each prompt" if size.shuffles else ""
    if size.sufficient:
        return f"It is compared with {nulls}: enough to say whether a number beats its null (that takes {rule})."
    alone = (
        " Intervals carry the variance of seeds alone: one prompt says nothing of others." if size.prompts == 1 else ""
    )
    return (
        f"It is compared with {nulls}. <strong>That is too few to say that anything beats its null</strong>, which takes "
        f"{rule}: what follows describes this checkpoint on these prompts, unless it is true by construction.{alone}"
    )


def _ladder(found: list[Trend]) -> str:
    """The four claim levels, weakest first, with the number of trends that reached each."""
    reached = Counter("descriptive" if trend.verdict == "within null" else trend.verdict for trend in found)
    steps = []
    for level in LEVELS:
        words = "not tested" if level == "causal" else counted(reached[level], "trend")
        kind = level.replace(" ", "-")
        steps.append(f"<li class='{kind}'><b>{level}</b><span>{LEVEL_TEXT[level]}</span><i>{words}</i></li>")
    return f"<ol class='ladder' aria-label='claim levels, weakest first'>{''.join(steps)}</ol>"


def _outcomes(found: list[Trend]) -> str:
    """Per null model: how many trends differ from it, which, and how many single values."""
    rows = []
    for null in dict.fromkeys(each.null for trend in found for each in trend.against):
        by_word: dict[str, list[str]] = {}
        for trend in found:
            for each in trend.against:
                if each.null == null:
                    by_word.setdefault(each.verdict, []).append(quantity_label(trend.quantity))
        cells = sum((trend.cells.get(null, Counter()) for trend in found), Counter())
        rows.append(_outcome(null, by_word.get("beats null", []), by_word.get("within null", []), cells))
    return (
        "<table class='outcomes'><thead><tr><th>against</th><th>trends over depth that differ</th>"
        "<th>values, layer by layer and head by head, that differ</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
        "<p class='hint'>Tested at a false-discovery rate of 5%, quantity by quantity for values, diagnostic by diagnostic for "
        "trends.</p>"
        if any(rows)
        else ""
    )


def _outcome(null: str, beaten: list[str], within: list[str], cells: Counter[str]) -> str:
    tested, told = cells["beats null"] + cells["within null"], len(beaten) + len(within)
    if not (told or tested):
        return ""
    question = f"<small>{QUESTIONS[null]}?</small>" if null in QUESTIONS else ""
    trends_told = f"{len(beaten):,} of {told:,}{_names(beaten, within)}" if told else "none tested"
    values_told = f"{cells['beats null']:,} of {tested:,}" if tested else "none tested"
    return f"<tr><td>{escaped(quantity_label(null))}{question}</td><td>{trends_told}</td><td>{values_told}</td></tr>"


def _names(beaten: list[str], within: list[str]) -> str:
    """Which trends those are, folded: with many quantities their names are a wall."""
    words = f"It differs for {listed(beaten)}. " if beaten else ""
    words += f"It does not differ for {listed(within)}." if within else ""
    return f"<details class='names'><summary>which</summary>{words}</details>"


def _strongest(found: list[Trend]) -> str:
    """The trends that stand farthest from the random initialisations, in units of their interval."""
    pairs = [(t, each) for t in found for each in t.against if each.null == "random_init" and each.clear > 1]
    pairs.sort(key=lambda pair: -pair[1].clear)
    if not pairs:
        return (
            "<p>No trend stands clear of the random initialisations: every 95% interval of a difference holds zero.</p>"
        )
    lines = []
    for trend, each in pairs[:STRONGEST]:
        units = "" if trend.units == "dimensionless" else f" {escaped(trend.units)}"
        step = f" One step at the input end: without it {signed(trend.later)}." if trend.turns else ""
        lines.append(
            f"<li><b>{escaped(quantity_label(trend.quantity))}</b> {chip(trend.verdict)} {signed(trend.slope)}{units} from "
            f"input end to output end, {signed(trend.slope - each.difference)} in random initialisations; difference "
            f"{signed(each.difference)} ({number(each.low)} to {number(each.high)}).{step}"
            f"<small>{escaped(trend.title)}: {escaped(trend.meaning)}</small></li>"
        )
    return (
        f"<p>Of {counted(len(found), 'trend')} over depth, {len(pairs)} stand clear of the random initialisations (95% "
        f"interval of the difference without zero). The clearest:</p><ul class='findings'>{''.join(lines)}</ul>"
    )
