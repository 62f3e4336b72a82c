"""The comparison of two runs: what it can say, a table of key numbers, and every diagnostic side by side."""

from __future__ import annotations

from collections.abc import Mapping

import xarray as xr

from rgprobe.comparison import FlowComparison
from rgprobe.plots import side_by_side
from rgprobe.plots.arrays import quantity_label, unit_label
from rgprobe.report.comparison_table import facts_table, verdict_table
from rgprobe.report.comparison_wording import outcome_words
from rgprobe.report.embedding import escaped
from rgprobe.report.sections import FIRST, Figures, framed, leading
from rgprobe.rg_flow import RGFlow

__all__ = ["comparison_section", "not_compared_section"]


def comparison_section(
    comparison: FlowComparison, flows: Mapping[str, RGFlow], figures: Figures, *, key: str = "comparison"
) -> str:
    """HTML of a comparison; its figures are added to ``figures`` under keys that start with ``key``.

    Args:
        comparison: what `rgprobe.compare` gave.
        flows: the runs of the report, from which facts are read that a comparison does not hold.
        figures: to add to.
        key: id of the section.
    """
    first, second = (escaped(name) for name in comparison.names)
    diagnostics = [name for name in FIRST if name in comparison.diagnostics]
    diagnostics += [name for name in comparison.diagnostics if name not in FIRST]
    blocks = "".join(_block(comparison, name, figures, key) for name in diagnostics)
    return (
        f"<section id='{key}'><h2>{first} and {second}, side by side</h2>"
        f"<p class='scope'>{escaped(comparison.statement, longest=2000)}</p>{outcome_words(comparison)}"
        f"{facts_table(comparison, flows)}<p class='hint'>{_legend(comparison)}</p>{blocks}{_left_out(comparison)}</section>"
    )


def not_compared_section(names: tuple[str, str], reason: str, *, key: str = "comparison") -> str:
    """HTML that says why two runs of a report are not compared."""
    first, second = (escaped(name) for name in names)
    return (
        f"<section id='{key}'><h2>{first} and {second}</h2><p>They are shown together and not compared. "
        f"{escaped(reason, longest=1000)}.</p></section>"
    )


def _legend(comparison: FlowComparison) -> str:
    first, second = (escaped(name) for name in comparison.names)
    return (
        f"In every figure below: the values of {first} and {second} with their 95% intervals, dashed lines and pale bands "
        f"their own random initialisations; under them {second} minus {first}; at the bottom the same difference after each "
        "run’s random initialisations were subtracted. A filled dot marks a difference that is significant (false-discovery "
        "rate 5% over the depths of the quantity). Attention heads enter as their mean, since heads of two models do not "
        "correspond."
    )


def _block(comparison: FlowComparison, diagnostic: str, figures: Figures, key: str) -> str:
    arrays = comparison.to_xarray()[diagnostic].to_dataset()
    quantities = [str(name) for name in arrays["quantity"].values]
    lead = leading(diagnostic, quantities)
    drawn = {q: _figure(comparison, diagnostic, q, figures, key, lead=q == lead) for q in quantities}
    others = "".join(html for q, html in drawn.items() if q != lead)
    folded = (
        f"<details><summary>The other quantities of this diagnostic</summary><div class='grid'>{others}</div></details>"
        if others
        else ""
    )
    heading = f"<h3 class='block'>{escaped(arrays.attrs.get('title', diagnostic))}</h3>"
    return f"{heading}<div class='grid pair'>{drawn[lead]}{verdict_table(comparison, diagnostic)}</div>{folded}"


def _figure(
    comparison: FlowComparison, diagnostic: str, quantity: str, figures: Figures, key: str, *, lead: bool
) -> str:
    name = f"{key}/{diagnostic}/{quantity}"
    figures[name] = side_by_side(comparison, diagnostic, quantity)
    arrays = comparison.to_xarray()[diagnostic].to_dataset().sel(quantity=quantity)
    meaning = f": {escaped(arrays['meaning'].item())}" if "meaning" in arrays.coords else ""
    caption = (
        f"<b>{escaped(quantity_label(quantity))}</b> ({escaped(unit_label(arrays))}){meaning}. {_alignment(arrays)}"
    )
    return framed(name, caption, lead=lead)


def _alignment(arrays: xr.Dataset) -> str:
    relative = str(arrays.attrs.get("alignment", "")).startswith("relative")
    return "Layers are matched by relative depth." if relative else ""


def _left_out(comparison: FlowComparison) -> str:
    if not comparison.not_compared:
        return ""
    rows = "".join(
        f"<li><b>{escaped(quantity_label(each.diagnostic))}</b>, {escaped(quantity_label(each.quantity))}: "
        f"{escaped(each.reason, longest=1000)}</li>"
        for each in comparison.not_compared
    )
    return f"<h3 class='block'>Not compared</h3><ul class='fine'>{rows}</ul>"
