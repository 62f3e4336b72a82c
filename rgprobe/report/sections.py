"""A section for each diagnostic: its figures, how to read them, what is assumed, when it is undefined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
import xarray as xr

from rgprobe.plots import elimination, energy_landscape, flow_over_depth, head_map
from rgprobe.plots.arrays import items, node, quantity_label, select, unit_label
from rgprobe.report.embedding import escaped
from rgprobe.report.verdicts import QUESTIONS, verdict_counts
from rgprobe.rg_flow import RGFlow
from rgprobe.wording import counted

__all__ = ["FIRST", "Figures", "framed", "leading", "ordered", "section"]

Figures = dict[str, go.Figure]
# The parts that tell the story; the others follow in the order in which the flow holds them.
FIRST = ("elimination", "temperature", "condensation", "consensus")
# The quantity of each diagnostic that stands for it on paper and in comparisons; elsewhere it is the first one.
LEAD = {
    "elimination": "kl_to_output",
    "attention_entropy": "normalised_entropy",
    "condensation": "quarter_loss",
    "collapse": "cosine",
    "consensus": "jeffreys",
}
# Reduced temperatures have a neutral value.
MIDPOINTS = {
    ("temperature", "theta"): 1.0,
    ("temperature", "theta_entropy"): 1.0,
    ("gauge_temperature", "isotropic_temperature"): 1.0,
}


def ordered(flows: Mapping[str, RGFlow]) -> list[str]:
    """Diagnostics that any of the flows holds."""
    held = list(dict.fromkeys(name for flow in flows.values() for name in flow.diagnostics))
    return [name for name in FIRST if name in held] + [name for name in held if name not in FIRST]


def leading(diagnostic: str, quantities: Sequence[str]) -> str:
    """The quantity that stands for a diagnostic where there is room for one.

    Example:
        >>> leading("collapse", ["dong_residual", "cosine"]), leading("plateau", ["angle", "cka"])
        ('cosine', 'angle')
    """
    chosen = LEAD.get(diagnostic, quantities[0])
    return chosen if chosen in quantities else quantities[0]


def section(flows: Mapping[str, RGFlow], diagnostic: str, figures: Figures) -> str:
    """HTML of one diagnostic; its figures are added to ``figures`` under the keys that the HTML names."""
    holding = {name: flow for name, flow in flows.items() if diagnostic in flow.diagnostics}
    arrays = node(next(iter(holding.values())), diagnostic)
    attrs = arrays.attrs
    drawn = [str(q) for q in arrays["quantity"].values if _is_drawn(holding, diagnostic, str(q))]
    chosen = leading(diagnostic, drawn) if drawn and diagnostic not in ("elimination", "energy_landscape") else None
    panels = "".join(
        _panels(holding, diagnostic, str(q), arrays.sel(quantity=q), figures, lead=str(q) == chosen)
        for q in arrays["quantity"].values
    )
    lead = ""
    if diagnostic == "elimination":
        figures[diagnostic] = elimination(holding)
        told = "Divergence from the final prediction, and entropy of the prediction, over depth"
        lead = framed(diagnostic, told, wide=True, lead=True)
    elif diagnostic == "energy_landscape":
        lead = _landscapes(holding, figures)
    return (
        f"<section id='{escaped(diagnostic)}'><h2>{escaped(attrs.get('title', diagnostic))}"
        f"<span class='catalogue'>{escaped(attrs.get('catalogue', ''))}</span></h2>"
        f"<p>{escaped(attrs.get('reading', ''), longest=2000)}</p>{VIEWS.get(diagnostic, '')}{lead}"
        f"<div class='grid'>{panels}</div>{_left_out(panels)}<dl class='fine'>{_fine_print(arrays)}</dl></section>"
    )


def _left_out(panels: str) -> str:
    """On paper: how many figures are in the file only."""
    count = panels.count("<figure><div")
    return f"<p class='left-out'>And {counted(count, 'figure')} more in the file.</p>" if count else ""


def _landscapes(flows: Mapping[str, RGFlow], figures: Figures) -> str:
    """The landscape of the first prompt that has one, of each flow."""
    drawn = ""
    for number, (name, flow) in enumerate(flows.items()):
        measured = np.isfinite(node(flow, "energy_landscape")["beta"].values).any(-1)
        if not measured.any():
            continue
        prompt, key = int(measured.argmax()), f"energy_landscape/slices/{number}"
        figures[key] = energy_landscape(flow, prompt)
        told = (
            f"<b>{escaped(name)}</b>, prompt {prompt}: free energy on the plane of the two leading components of the "
            "states that enter a block, one colour scale for all. Dots are tokens, crosses the minima of all dimensions "
            "that they fall into, both projected on the plane: a hollow of the slice need not be a minimum."
        )
        drawn += framed(key, told, wide=True, lead=True)
    return drawn


def _holding(flows: Mapping[str, RGFlow], diagnostic: str, quantity: str) -> dict[str, RGFlow]:
    return {name: flow for name, flow in flows.items() if quantity in items(node(flow, diagnostic), "quantity")}


def _is_drawn(flows: Mapping[str, RGFlow], diagnostic: str, quantity: str) -> bool:
    """Whether any of the flows has a value of it."""
    drawn = _holding(flows, diagnostic, quantity).values()
    return any(np.isfinite(select(flow, diagnostic, quantity)["value"]).any() for flow in drawn)


def _panels(
    flows: Mapping[str, RGFlow], diagnostic: str, quantity: str, arrays: xr.Dataset, figures: Figures, *, lead: bool
) -> str:
    drawn = _holding(flows, diagnostic, quantity)
    key = f"{diagnostic}/{quantity}"
    title = f"<b>{escaped(quantity_label(quantity))}</b> ({escaped(unit_label(arrays))})"
    caption = f"{title}: {escaped(arrays['meaning'].item())}. " if "meaning" in arrays.coords else f"{title}. "
    if diagnostic == "elimination" and quantity in ("kl_to_output", "entropy"):
        return ""  # in the figure that leads the section
    if not _is_drawn(flows, diagnostic, quantity):
        return (
            f"<figure><figcaption>{caption}Undefined everywhere in this run, so nothing is drawn.</figcaption></figure>"
        )
    figures[key] = flow_over_depth(drawn, diagnostic, quantity)
    panels = framed(key, caption + _counts(drawn, diagnostic, quantity), lead=lead)
    if "head" in arrays["value"].dims:
        figures[f"{key}/heads"] = head_map(drawn, diagnostic, quantity, midpoint=MIDPOINTS.get((diagnostic, quantity)))
        panels += framed(f"{key}/heads", f"{title}, head by block. {_marks(drawn, diagnostic, quantity)}")
    return panels


def framed(key: str, caption: str, *, wide: bool = False, lead: bool = False) -> str:
    """HTML of the figure of that key; `lead` if it stands for its diagnostic on paper."""
    kinds = " ".join(kind for kind, holds in (("wide", wide), ("lead", lead)) if holds)
    kind = f" class='{kinds}'" if kinds else ""
    return f"<figure{kind}><div class='plot' data-figure='{escaped(key)}'></div><figcaption>{caption}</figcaption></figure>"


def _marks(flows: Mapping[str, RGFlow], diagnostic: str, quantity: str) -> str:
    marked = any((select(flow, diagnostic, quantity)["verdict"] == "beats null").any() for flow in flows.values())
    return "A dot marks a head that beats random initialisation." if marked else ""


def _counts(flows: Mapping[str, RGFlow], diagnostic: str, quantity: str) -> str:
    """How many single values differ from each null, where that could be tested."""
    told = []
    for name, flow in flows.items():
        arrays = select(flow, diagnostic, quantity)
        of = f" ({escaped(name)})" if len(flows) > 1 else ""
        for null in items(arrays, "null_model"):
            counts = verdict_counts(arrays, null)
            if tested := counts["beats null"] + counts["within null"]:
                told.append(f"{counts['beats null']:,} of {tested:,} differ from {escaped(quantity_label(null))}{of}")
    return f"Tested values: {'; '.join(told)}." if told else ""


def _fine_print(arrays: xr.Dataset) -> str:
    nulls = [
        quantity_label(null) + (f" ({QUESTIONS[null]})" if null in QUESTIONS else "")
        for null in items(arrays, "null_model")
    ]
    entries = {
        "Assumption": arrays.attrs.get("assumption", ""),
        "Null": "; ".join(nulls) or "not run",
        "Undefined where": arrays.attrs.get("undefined", ""),
    }
    return "".join(f"<dt>{term}</dt><dd>{escaped(text, longest=2000)}</dd>" for term, text in entries.items() if text)


def _controls(view: str) -> str:
    return (
        f"<div class='controls'><label data-role='source-label'>model"
        f"<select data-role='source' id='{view}-source'></select></label>"
        f"<label>prompt<select data-role='prompt' id='{view}-prompt'></select></label>"
        f"<label>layer <output data-role='state-text'></output>"
        f"<input type='range' data-role='state' id='{view}-state' min='0' max='0' step='1'></label>"
    )


VIEWS = {
    "condensation": (
        f"<div class='view' data-view='tree'>{_controls('tree')}"
        "<label>clusters <output data-role='cut-text'></output>"
        "<input type='range' data-role='cut' id='tree-cut' min='1' max='1' step='1'></label>"
        "<label>find a token <output data-role='found' aria-live='polite'></output>"
        "<input type='search' data-role='search' id='tree-search' autocomplete='off' spellcheck='false'></label></div>"
        "<p class='hint'>The prompt, its tokens coloured by the cluster that they have condensed into; grey tokens were not "
        "recorded, and tokens without a number stand alone.</p>"
        "<div class='running' data-role='running' role='region' aria-label='prompt text, coloured by cluster'></div>"
        "<div class='treebox' data-role='treebox' role='region' aria-label='condensation tree'></div>"
        "<p class='hint' data-role='detail' aria-live='polite'></p>"
        "<p class='hint'>Click a node, or focus it and press Enter, to fold and unfold it. "
        "<span data-role='shown'></span></p></div>"
    ),
    "consensus": (
        f"<div class='view' data-view='consensus'>{_controls('consensus')}</div>"
        "<div class='plot matrix' data-role='matrix'></div>"
        "<p class='hint'>Jeffreys divergence between the beliefs of each pair of recorded tokens: dark pairs agree. The "
        "logarithmic colour scale is common to all layers of a prompt. <span data-role='shown'></span></p></div>"
    ),
}  # fmt: skip
