"""The HTML file put together: head with its policy, summary, sections, provenance, data, scripts."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from plotly.offline import get_plotlyjs

from rgprobe.comparison import FlowComparison
from rgprobe.plots.style import template
from rgprobe.report.comparison_section import comparison_section, not_compared_section
from rgprobe.report.embedding import content_security_policy, escaped, script_json
from rgprobe.report.payload import prompt_views
from rgprobe.report.sections import Figures, ordered, section
from rgprobe.report.summary import summary
from rgprobe.rg_flow import RGFlow

__all__ = ["LARGEST", "Refused", "page", "unstyled"]

LARGEST = 7_800_000  # bytes; what is left beside plotly.js and the figures goes to trees and matrices
SCRIPTS = ("page.js", "views.js", "tree.js", "consensus.js")


@dataclass(frozen=True)
class Refused:
    """Two runs that stand in one report and cannot be compared, with the reason."""

    names: tuple[str, str]
    reason: str


def page(flows: Mapping[str, RGFlow], comparisons: Sequence[FlowComparison | Refused] = ()) -> str:
    """One HTML document that holds everything it shows and asks for nothing; comparisons stand behind the summary."""
    figures: Figures = {}
    names = ordered(flows)
    compared = _comparisons(flows, comparisons, figures)
    body = "".join(section(flows, name, figures) for name in names)
    style, script, plotly = _asset("report.css"), _script(), get_plotlyjs()
    drawings = {key: figure.to_plotly_json() for key, figure in figures.items()}
    for drawing in drawings.values():
        drawing["layout"].pop("template", None)  # two templates, for light and dark, stand once in the data
    data = {
        "figures": drawings,
        "templates": {mode: template(mode == "dark").to_plotly_json() for mode in ("light", "dark")},
    }
    fixed = (plotly, body, style, script, script_json(data))
    spent = sum(len(part.encode()) for part in fixed) + 100_000  # for the summary, and what stands around all this
    share = max(0, LARGEST - spent) // len(flows)
    sources = [
        {"name": name, "n_prompts": len(flow.prompts), "prompts": prompt_views(flow, budget=share)}
        for name, flow in flows.items()
    ]
    policy = content_security_policy(scripts=[plotly, script], styles=[style])
    title = " and ".join(escaped(name) for name in flows)
    return (
        "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>"
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        "<meta name='viewport' content='width=device-width, initial-scale=1'><meta name='color-scheme' content='light dark'>"
        f"<title>rgprobe: {title}</title><style>{style}</style></head><body>"
        f"<header><p class='eyebrow'>rgprobe · renormalization-group flow</p><h1>{title}</h1></header>"
        f"{_contents(['summary', *compared, *names, 'provenance'])}<main><section id='summary'><h2>In plain words</h2>"
        f"{''.join(_summaries(flows))}"
        "<noscript><p><strong>The figures need JavaScript; the text and the tables do not.</strong></p></noscript></section>"
        f"{''.join(compared.values())}{body}{_provenance(flows)}</main>"
        f"{unstyled(plotly)}<script type='application/json' id='rgprobe-data'>"
        f"{script_json({**data, 'sources': sources})}</script>"
        f"<script>{plotly}</script><script>{script}</script></body></html>\n"
    )


def _summaries(flows: Mapping[str, RGFlow]) -> Iterator[str]:
    for name, flow in flows.items():
        yield f"<h3 class='block'>{escaped(name)}</h3>" if len(flows) > 1 else ""
        yield summary(name, flow)


def _comparisons(
    flows: Mapping[str, RGFlow], comparisons: Sequence[FlowComparison | Refused], figures: Figures
) -> dict[str, str]:
    """HTML of each comparison by the id of its section."""
    sections = {}
    for index, each in enumerate(comparisons, start=1):
        key = "comparison" if index == 1 else f"comparison-{index}"
        if isinstance(each, FlowComparison):
            sections[key] = comparison_section(each, flows, figures, key=key)
        else:
            sections[key] = not_compared_section(each.names, each.reason, key=key)
    return sections


def _contents(names: Sequence[str]) -> str:
    capital = ("comparison", "summary", "provenance")
    links = {name: name.capitalize() if name in capital else name.replace("_", " ") for name in names}
    return (
        "<nav aria-label='sections'>"
        + "".join(f"<a href='#{escaped(k)}'>{escaped(v)}</a>" for k, v in links.items())
        + "</nav>"
    )


def _provenance(flows: Mapping[str, RGFlow]) -> str:
    records = "".join(
        f"<h3>{escaped(name)}</h3><div class='scroll'><pre>{html.escape(json.dumps(flow.provenance, indent=2))}</pre></div>"
        for name, flow in flows.items()
    )
    return f"<section id='provenance'><h2>Provenance</h2>{records}</section>"


def unstyled(plotly: str) -> str:
    """Empty elements under the ids for which plotly.js looks before it adds the style sheet of its maps.

    The report has no maps and its policy would refuse that sheet, with an error in the console.
    """
    ids = re.findall(r'getElementById\("([0-9a-f]{64})"\)', plotly)
    return "".join(f"<template id='{name}'></template>" for name in dict.fromkeys(ids))


def _script() -> str:
    return '(() => {\n"use strict";\n' + "\n".join(_asset(name) for name in SCRIPTS) + "\n})();\n"


def _asset(name: str) -> str:
    return files("rgprobe.report").joinpath(name).read_text(encoding="utf-8")
