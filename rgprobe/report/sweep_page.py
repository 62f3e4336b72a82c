"""The report of a sweep: one HTML file with every quantity against training step, and what changed abruptly."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from rgprobe.files import write_text
from rgprobe.plots.arrays import quantity_label, unit_label
from rgprobe.plots.training_steps import over_steps, step_map
from rgprobe.report.document import document
from rgprobe.report.embedding import escaped
from rgprobe.report.sections import Figures, framed
from rgprobe.report.wording import chip, number, signed
from rgprobe.sweeping import Sweep, changes
from rgprobe.wording import counted

__all__ = ["sweep_page", "write_sweep_report"]


def write_sweep_report(sweep: Sweep, path: str | os.PathLike[str]) -> Path:
    """Write one HTML file about a sweep; it opens offline in any browser and fetches nothing.

    Args:
        sweep: what `rgprobe.sweep` or `rgprobe.open_sweep` gave.
        path: where to write; an older file is replaced only once the new one is complete.

    Raises:
        BadInput: no result, or results of different options.
        EnvironmentFault: the folder is missing or not writable, or the disk is full.
    """
    target = Path(path)
    write_text(target, sweep_page(sweep))
    return target


def sweep_page(sweep: Sweep) -> str:
    """One HTML document that holds everything it shows and asks for nothing."""
    figures: Figures = {}
    names = dict.fromkeys(entry.prompts for entry in sweep.results)
    sets = {name: sweep.only(prompts=name) for name in names}
    parts = [part for name, each in sets.items() for part in _prompt_set(each, name, figures, alone=len(sets) == 1)]
    links = {"summary": "Summary"} | {key: escaped(words) for key, words, _ in parts} | {"items": "Items"}
    runs = list(dict.fromkeys(entry.run for entry in sweep.results))
    return document(
        title=escaped(", ".join(runs), longest=200),
        kind="rgprobe · sweep",
        links=links,
        main=f"{_summary(sweep, sets)}{''.join(body for _, _, body in parts)}{_items(sweep)}",
        figures=figures,
        scripts=["page.js"],
    )


def _summary(sweep: Sweep, sets: Mapping[str, Sweep]) -> str:
    failed = f" {counted(len(sweep.failures), 'item')} failed; see the end of the page." if sweep.failures else ""
    told = "".join(_changes(each, name if len(sets) > 1 else "") for name, each in sets.items())
    return (
        f"<section id='summary'><h2>Summary</h2><p>{counted(len(sweep.results), 'result')} on "
        f"{counted(len(sets), 'prompt set')}.{failed}</p>{told}</section>"
    )


def _changes(sweep: Sweep, name: str) -> str:
    """What changed abruptly, most surprising first; nothing for results without steps."""
    if any(entry.step is None for entry in sweep.results):
        return ""
    table = changes(sweep)
    tested = table[np.isfinite(table["p_value"])].sort_values("p_value")
    heading = f"<h3 class='block'>Abrupt changes{f' on {escaped(name)}' if name else ''}</h3>"
    if tested.empty:
        return f"{heading}<p>No series is long enough: the test takes 8 checkpoints at least.</p>"
    significant = int(tested["significant"].sum())
    several = table["run"].nunique() > 1
    rows = "".join(_change_row(row, several) for _, row in tested.iterrows())
    column = "<th>run</th>" if several else ""
    return (
        f"{heading}<p class='scope'>Means over depth and heads against the number of the checkpoint. {significant} of "
        f"{len(tested)} series show one step that stands out from AR(1) noise around a straight line "
        "(false-discovery rate 5%). Few checkpoints make the test weak: not significant does not mean gradual.</p>"
        f"<details{' open' if len(tested) <= 60 else ''}><summary>Every series</summary><div class='scroll'><table><thead>"
        f"<tr><th>diagnostic</th><th>quantity</th>{column}<th>first to last</th><th>step between</th><th>height</th>"
        f"<th>p</th><th></th></tr></thead><tbody>{rows}</tbody></table></div></details>"
    )


def _change_row(row: pd.Series, several: bool) -> str:
    run = f"<td>{escaped(row['run'])}</td>" if several else ""
    units = "" if row["units"] in ("", "1") else f" <small>{escaped(row['units'])}</small>"
    return (
        f"<tr><td>{escaped(quantity_label(row['diagnostic']))}</td><td>{escaped(quantity_label(row['quantity']))}</td>{run}"
        f"<td class='num'>{number(row['first'])} to {number(row['last'])}{units}</td>"
        f"<td class='num'>{row['before']:,.0f} and {row['after']:,.0f}</td><td class='num'>{signed(row['height'])}</td>"
        f"<td class='num'>{number(row['p_value'])}</td><td>{chip('changes') if row['significant'] else ''}</td></tr>"
    )


def _prompt_set(sweep: Sweep, name: str, figures: Figures, *, alone: bool) -> Iterator[tuple[str, str, str]]:
    """Identifier, words of the link, and HTML of a section for each diagnostic."""
    data = sweep.to_xarray()
    for diagnostic in data.children:
        node = data[diagnostic].to_dataset()
        key = diagnostic if alone else f"{name}-{diagnostic}"
        words = quantity_label(diagnostic) + ("" if alone else f", {name}")
        drawn = "".join(_panels(data, diagnostic, str(q), node, figures, key) for q in node["quantity"].values)
        heading = escaped(node.attrs.get("title", diagnostic)) + ("" if alone else f" <small>{escaped(name)}</small>")
        yield (
            escaped(key),
            words,
            (
                f"<section id='{escaped(key)}'><h2>{heading}<span class='catalogue'>{escaped(node.attrs.get('catalogue', ''))}"
                f"</span></h2><p>{escaped(node.attrs.get('reading', ''), longest=2000)}</p>"
                f"<div class='grid'>{drawn}</div></section>"
            ),
        )


def _panels(data: xr.DataTree, diagnostic: str, quantity: str, node: xr.Dataset, figures: Figures, key: str) -> str:
    arrays = node.sel(quantity=quantity)
    title = f"<b>{escaped(quantity_label(quantity))}</b> ({escaped(unit_label(arrays))})"
    meaning = f": {escaped(arrays['meaning'].item())}" if "meaning" in arrays.coords else ""
    if not np.isfinite(arrays["value"].values.astype(float)).any():
        return f"<figure><figcaption>{title}{meaning}. Undefined everywhere.</figcaption></figure>"
    over, cells = f"{key}/{quantity}", f"{key}/{quantity}/map"
    figures[over], figures[cells] = over_steps(data, diagnostic, quantity), step_map(data, diagnostic, quantity)
    told = "mean over depth and heads" if "head" in arrays["value"].dims else "mean over depth"
    marks = " A dot marks what beats random initialisation." if (arrays["verdict"] == "beats null").any() else ""
    return framed(over, f"{title}{meaning}; {told}.", lead=True) + framed(cells, f"{title}, by depth.{marks}")


def _items(sweep: Sweep) -> str:
    rows = "".join(
        f"<tr><td>{escaped(entry.label)}</td><td>{escaped(entry.prompts)}</td><td>{escaped(entry.result or 'none')}</td>"
        f"<td>{escaped(entry.failure.message, longest=500) if entry.failure is not None else ''}</td></tr>"
        for entry in sweep.entries
    )
    settings = html.escape(json.dumps(dict(sweep.results[0].settings), indent=2)) if sweep.results else ""
    return (
        "<section id='items'><h2>Items</h2><div class='scroll'><table><thead><tr><th>checkpoint</th><th>prompts</th>"
        f"<th>result</th><th>failure</th></tr></thead><tbody>{rows}</tbody></table></div><h3>Options</h3>"
        f"<div class='scroll'><pre>{settings}</pre></div></section>"
    )
