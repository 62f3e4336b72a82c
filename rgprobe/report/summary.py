"""The summary in plain words: what was run, what that allows one to say, what beat its null and what did not."""

from __future__ import annotations

from collections import Counter

import numpy as np

from rgprobe.nulls import MINIMUM_PROMPTS, MINIMUM_SEEDS
from rgprobe.flow import RGFlow
from rgprobe.plots.arrays import depth_dim, node, quantity_label
from rgprobe.report.embedding import escaped
from rgprobe.report.verdicts import LEVELS, Against, Standing, Trend, standing, trends

__all__ = ["claims", "facts", "number", "summary", "trend_table"]

STRONGEST = 6
LEVEL_TEXT = {
    "identity": "true by construction",
    "descriptive": "true of this checkpoint on these prompts",
    "beats null": "more than the null models show",
    "causal": "shown by patching; not part of this report",
}


def summary(name: str, flow: RGFlow) -> str:
    """HTML of one flow's summary."""
    found, size = trends(flow), standing(flow)
    return (
        f"<p class='facts'>{facts(name, flow, size)}</p>"
        f"<p class='claims'>{claims(size)}</p>{_ladder(found)}{_outcome(found, size)}{trend_table(found, size)}"
    )


def facts(name: str, flow: RGFlow, size: Standing) -> str:
    """What was run, in two sentences."""
    record = flow.provenance
    options = record.get("options", {})
    parameters = record.get("n_parameters")
    counted = f" with {parameters:,} parameters" if isinstance(parameters, int) else ""
    sink = "left out of" if options.get("sink") == "exclude" else "kept in"
    blocks, heads = _shape(flow)
    return (
        f"<b>{escaped(name)}</b> is a {escaped(record.get('family', ''))} model{counted}{blocks}{heads}. It was given "
        f"{_counted(size.prompts, 'prompt')}, {_counted(size.tokens, 'token')} in all. A token's belief is its "
        f"“{escaped(record.get('belief', ''))}” belief, which {_which(str(record.get('assumption', '')))}. The first token, "
        f"where attention sinks, is {sink} the statistics; figures show the other choice as a dotted line."
    )


def _which(assumption: str) -> str:
    """The stated assumption as a relative clause."""
    return escaped(assumption) if assumption.startswith("measures") else f"assumes: {escaped(assumption or 'nothing')}"


def _shape(flow: RGFlow) -> tuple[str, str]:
    for diagnostic in flow.diagnostics:
        arrays = node(flow, diagnostic)
        if depth_dim(arrays) == "block":
            heads = f" of {_counted(arrays.sizes['head'], 'head')}" if "head" in arrays.sizes else ""
            return f", {_counted(arrays.sizes['block'], 'block')}", heads
    return "", ""


def claims(size: Standing) -> str:
    """What so many prompts and seeds allow one to say."""
    rule = f"at least {MINIMUM_SEEDS} seeds of the null and {MINIMUM_PROMPTS} prompts"
    if not size.compared:
        return (
            "<strong>No null model was run.</strong> Nothing below is evidence of a renormalization-group flow: randomly "
            "initialised models show many of the same trends. Every number describes this checkpoint on these prompts; "
            f"saying more takes {rule}."
        )
    nulls = _counted(size.seeds, "random initialisation") + " of the same architecture"
    nulls += f" and {_counted(size.shuffles, 'shuffled copy')} of each prompt" if size.shuffles else ""
    if size.sufficient:
        return f"Compared with {nulls}. That is enough ({rule}) to say whether a number beats its null."
    return (
        f"Compared with {nulls}. <strong>That is too few to say that anything beats its null</strong>, which takes {rule}: "
        "what follows is descriptive, unless it is true by construction."
    )


def _ladder(found: list[Trend]) -> str:
    """The four claim levels, weakest first, with the number of trends that reached each."""
    reached = Counter(trend.verdict for trend in found)
    steps = []
    for level in LEVELS:
        count = reached[level]
        words = f"{_counted(count, 'trend')}" if level != "causal" else "not tested"
        steps.append(f"<li class='{_slug(level)}'><b>{level}</b><span>{LEVEL_TEXT[level]}</span><i>{words}</i></li>")
    return f"<ol class='ladder' aria-label='claim levels, weakest first'>{''.join(steps)}</ol>"


def _outcome(found: list[Trend], size: Standing) -> str:
    if not size.compared:
        return ""
    beaten = [trend for trend in found if trend.verdict == "beats null"]
    within = [trend for trend in found if trend.verdict == "within null"]
    lines = [
        _named(
            "These change with depth by more, or less, than their null", beaten, "No trend over depth beat its null"
        ),
        _named("These do not", within, ""),
    ]
    cells = sum((trend.cells for trend in found), Counter())
    tested = cells["beats null"] + cells["within null"]
    if tested:
        lines.append(
            f"Layer by layer and head by head, {cells['beats null']:,} of {tested:,} tested values beat their null "
            "(false-discovery rate 5%)."
        )
    if not size.sufficient:
        lines = []
    return "".join(f"<p>{line}</p>" for line in lines if line) + _strongest(found)


def _strongest(found: list[Trend]) -> str:
    """The trends that stand farthest from the random initialisations, in units of their interval."""
    measured = [(trend, each) for trend in found for each in trend.against if each.null == "random_init" and each.clear > 1]
    measured.sort(key=lambda pair: -pair[1].clear)
    if not measured:
        return "<p>No trend stands clear of the random initialisations: every 95% interval of a difference holds zero.</p>"
    lines = "".join(
        f"<li><b>{escaped(quantity_label(trend.quantity))}</b>: {_signed(trend.slope)} {_units(trend.units)} from input end to "
        f"output end, {_signed(trend.slope - each.difference)} in random initialisations; difference "
        f"{_signed(each.difference)} ({number(each.low)} to {number(each.high)}). "
        f"<span class='chip {_slug(trend.verdict)}'>{escaped(trend.verdict)}</span></li>"
        for trend, each in measured[:STRONGEST]
    )
    return (
        f"<p>Of {len(found)} trends over depth, {len(measured)} stand clear of the random initialisations (95% interval "
        f"without zero). The clearest:</p><ul class='findings'>{lines}</ul>"
    )


def _units(units: str) -> str:
    return "" if units == "dimensionless" else escaped(units)


def _named(lead: str, found: list[Trend], otherwise: str) -> str:
    if not found:
        return f"{otherwise}." if otherwise else ""
    return f"{lead}: {', '.join(f'<b>{escaped(quantity_label(trend.quantity))}</b>' for trend in found)}."


def trend_table(found: list[Trend], size: Standing) -> str:
    """A row per quantity: change from input end to output end, difference from each null, verdict."""
    null_head = "<th>less the null’s change (95% interval)</th>" if size.compared else ""
    rows = []
    for index, trend in enumerate(found):
        first = index == 0 or found[index - 1].diagnostic != trend.diagnostic
        if first:
            rows.append(f"<tr class='group'><th colspan='{4 if size.compared else 3}'>{escaped(trend.title)}</th></tr>")
        differences = "<br>".join(_difference(each) for each in trend.against) or "—"
        null_cell = f"<td class='num'>{differences}</td>" if size.compared else ""
        rows.append(
            f"<tr><td title='{escaped(trend.meaning)}'>{escaped(quantity_label(trend.quantity))}</td>"
            f"<td class='num'>{_signed(trend.slope)} <small>{escaped(trend.units)}</small></td>{null_cell}"
            f"<td><span class='chip {_slug(trend.verdict)}'>{escaped(trend.verdict)}</span></td></tr>"
        )
    return (
        f"<details class='trends'{'' if size.compared else ' open'}><summary>Every trend, from input end to output end</summary><div class='scroll'><table>"
        f"<thead><tr><th>quantity</th><th>fitted change</th>{null_head}<th>verdict</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div></details>"
    )


def _difference(each: Against) -> str:
    interval = f" ({number(each.low)} to {number(each.high)})" if np.isfinite(each.low) else " (no interval)"
    return f"{_signed(each.difference)}{interval} <small>{escaped(quantity_label(each.null))}</small>"


def number(value: float) -> str:
    """Three significant digits, a true minus sign, a dash where undefined.

    Example:
        >>> number(-0.012345), number(float("nan")), number(1234.5)
        ('−0.0123', '—', '1230')
    """
    if not np.isfinite(value):
        return "—"
    text = f"{value:.3g}"
    return (f"{float(text):.0f}" if "e+" in text and abs(value) < 1e6 else text).replace("-", "−")


def _signed(value: float) -> str:
    return f"+{number(value)}" if np.isfinite(value) and value > 0 else number(value)


def _counted(count: int, noun: str) -> str:
    plural = noun.removesuffix("y") + "ies" if noun.endswith("y") else noun + "s"
    return f"{count:,} {noun if count == 1 else plural}"


def _slug(words: str) -> str:
    return words.replace(" ", "-") if words in {*LEVELS, "within null"} else "other"
