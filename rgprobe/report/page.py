"""The HTML file put together: summary, comparisons, sections, provenance, and the data of the views."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from rgprobe.comparison import FlowComparison
from rgprobe.plots.arrays import quantity_label
from rgprobe.report.comparison_section import comparison_section, not_compared_section
from rgprobe.report.document import document
from rgprobe.report.embedding import escaped
from rgprobe.report.payload import prompt_views
from rgprobe.report.sections import Figures, ordered, section
from rgprobe.report.summary import summary
from rgprobe.rg_flow import RGFlow

__all__ = ["LARGEST", "Refused", "page"]

LARGEST = 7_000_000  # bytes; what is left beside plotly.js and the figures goes to trees and matrices
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
    links = {key: _words(key) for key in ("summary", *compared, *names, "provenance")}
    main = (
        f"<section id='summary'><h2>In plain words</h2>{''.join(_summaries(flows))}</section>"
        f"{''.join(compared.values())}{body}{_provenance(flows)}"
    )
    whole = partial(
        document,
        title=" and ".join(escaped(name) for name in flows),
        kind="rgprobe · renormalization-group flow",
        links={escaped(key): escaped(words) for key, words in links.items()},
        main=main,
        figures=figures,
        scripts=SCRIPTS,
    )
    share = max(0, LARGEST - len(whole().encode())) // len(flows)
    sources = [
        {"name": name, "n_prompts": len(flow.prompts), "prompts": prompt_views(flow, budget=share)}
        for name, flow in flows.items()
    ]
    return whole(more={"sources": sources})


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


def _words(key: str) -> str:
    """A link of the contents; what is no diagnostic has a capital."""
    words = quantity_label(key.replace("-", " "))
    return words.capitalize() if key.startswith(("comparison", "summary", "provenance")) else words


def _provenance(flows: Mapping[str, RGFlow]) -> str:
    records = "".join(
        f"<h3>{escaped(name)}</h3><div class='scroll'><pre>{html.escape(json.dumps(flow.provenance, indent=2))}</pre></div>"
        for name, flow in flows.items()
    )
    return f"<section id='provenance'><h2>Provenance</h2>{records}</section>"
