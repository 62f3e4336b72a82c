"""The HTML document around a page: its policy, its style, its data and scripts, plotly.js among them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any

from plotly.offline import get_plotlyjs

from rgprobe.plots.style import template
from rgprobe.report.embedding import content_security_policy, escaped, script_json
from rgprobe.report.sections import Figures

__all__ = ["document"]

NEEDED = "<noscript><p><strong>The figures need JavaScript; the text and the tables do not.</strong></p></noscript>"
# On paper a report of many diagnostics takes hundreds of pages; what is left out there is one click away.
PAPER = (
    "<p class='paper'><label><input type='checkbox' id='print-all'> print every figure; else the summary, and one figure "
    "of each diagnostic</label></p>"
)


def document(
    *,
    title: str,
    kind: str,
    links: Mapping[str, str],
    main: str,
    figures: Figures,
    scripts: Sequence[str],
    more: Mapping[str, Any] | None = None,
) -> str:
    """One HTML document that holds everything it shows and asks for nothing.

    Args:
        title: HTML of the heading.
        kind: what stands above it.
        links: the words of the contents, by the id of their section; HTML.
        main: HTML of the sections.
        figures: by the key under which the HTML names them.
        scripts: names of the files that are run, in this order, as one script.
        more: data for them beside the figures.
    """
    style, script, plotly = _asset("report.css"), _script(scripts), get_plotlyjs()
    drawings = {key: figure.to_plotly_json() for key, figure in figures.items()}
    for drawing in drawings.values():
        drawing["layout"].pop("template", None)  # two templates, for light and dark, stand once in the data
    templates = {mode: template(mode == "dark").to_plotly_json() for mode in ("light", "dark")}
    data = script_json({"figures": drawings, "templates": templates, **(more or {})})
    contents = "".join(f"<a href='#{key}'>{words}</a>" for key, words in links.items())
    return (
        "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta http-equiv='Content-Security-Policy' content=\""
        f'{content_security_policy(scripts=[plotly, script], styles=[style])}">'
        "<meta name='viewport' content='width=device-width, initial-scale=1'><meta name='color-scheme' content='light dark'>"
        f"<title>rgprobe: {title}</title><style>{style}</style></head><body>"
        f"<header><p class='eyebrow'>{escaped(kind)}</p><h1>{title}</h1>{NEEDED}{PAPER}</header>"
        f"<nav aria-label='sections'>{contents}</nav><main>{main}</main>{_unstyled(plotly)}"
        f"<script type='application/json' id='rgprobe-data'>{data}</script>"
        f"<script>{plotly}</script><script>{script}</script></body></html>\n"
    )


def _unstyled(plotly: str) -> str:
    """Empty elements under the ids for which plotly.js looks before it adds the style sheet of its maps.

    The report has no maps and its policy would refuse that sheet, with an error in the console.
    """
    ids = re.findall(r'getElementById\("([0-9a-f]{64})"\)', plotly)
    return "".join(f"<template id='{name}'></template>" for name in dict.fromkeys(ids))


def _script(names: Iterable[str]) -> str:
    return '(() => {\n"use strict";\n' + "\n".join(_asset(name) for name in names) + "\n})();\n"


def _asset(name: str) -> str:
    return files("rgprobe.report").joinpath(name).read_text(encoding="utf-8")
