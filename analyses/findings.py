"""Which claims about renormalization-group flow hold in a model, which fail, and by how much over the null?

    python analyses/findings.py FLOW.nc [FLOW.nc ...] --out DIR

reads results of `rgprobe run` and writes DIR/findings.json and DIR/findings.md (every claim, every number with its interval)
and DIR/findings.svg (each claim's quantity over relative depth with the band of its random initialisations). Claims, and the
rules by which numbers decide them, are in `claims.py`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from artefacts import save_figure
from claims import CLAIMS, END, TREND, Against, Claim, Reading, verdict

import rgprobe as rg
from rgprobe.diagnostics import available

COLOURS = ("#2b7bba", "#d1662c", "#16907a", "#b0609a")


def main() -> None:
    """Read, decide, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("flows", type=Path, nargs="+", metavar="FLOW")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    flows = [rg.open_flow(path) for path in arguments.flows]
    rows = [without_nan(row) for row in decided(flows)]
    (arguments.out / "findings.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    (arguments.out / "findings.md").write_text("\n".join(table(rows)) + "\n", encoding="utf-8")
    draw(flows, arguments.out / "findings.svg")


def without_nan(row: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(row, dict):
        return {key: without_nan(value) for key, value in row.items()}
    return None if isinstance(row, float) and _missing(row) else row


def models(flows: Sequence[rg.RGFlow]) -> dict[str, list[rg.RGFlow]]:
    """Results by the name of their model: one model may have several, of different diagnostics."""
    found: dict[str, list[rg.RGFlow]] = {}
    for flow in flows:
        found.setdefault(Path(flow.provenance["source"]["name"]).name, []).append(flow)
    return found


def decided(flows: Sequence[rg.RGFlow]) -> Iterator[dict[str, Any]]:
    """A row per claim and model: its numbers and what they decide."""
    for claim in CLAIMS:
        for name, results in models(flows).items():
            reading = read(results, claim)
            if reading is not None:
                yield {"claim": claim.text, "where": claim.where, "model": name, "verdict": verdict(reading, claim),
                       **asdict(reading)}  # fmt: skip


def by_claim(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of one claim beside each other, in the order of the claims."""
    order = {claim.text: number for number, claim in enumerate(CLAIMS)}
    return sorted(rows, key=lambda row: order[row["claim"]])


def table(rows: Sequence[dict[str, Any]], *, shuffled: bool = True) -> Iterator[str]:
    """Markdown, a line per claim and model; units as the registry has them; with the column of shuffled words or without."""
    units, scales = _units_by_claim(), {claim.text for claim in CLAIMS if claim.scales}
    beside = " minus shuffled words (95%) |" if shuffled else ""
    yield f"| claim | model | measured | minus random initialisation (95%) |{beside} verdict |"
    yield "|---|---|---|---|---|" + "---|" * shuffled
    before = ""
    for row in rows:
        claim = row["claim"] + (" †" if row["claim"] in scales else "")
        cells = [claim if claim != before else "", row["model"], _measured(row, units[row["claim"]]), _untrained(row),
                 *([_difference(row["shuffled"])] if shuffled else []), row["verdict"]]  # fmt: skip
        yield f"| {' | '.join(cells)} |"
        before = claim


def _measured(row: dict[str, Any], units: str) -> str:
    if _missing(row["value"]):
        return "undefined"
    where = "slope" if row["where"] == TREND else "at the end"
    told = f"{where} {row['value']:+.3g}{_interval(row)}{units}"
    return told if _missing(row["later"]) else f"{told}; later {row['later']:+.3g}"


def _untrained(row: dict[str, Any]) -> str:
    told = _difference(row["untrained"])
    return (
        told
        if _missing(row["later_untrained"]["difference"])
        else f"{told}; later {_difference(row['later_untrained'])}"
    )


def _difference(against: dict[str, Any]) -> str:
    return "" if _missing(against["difference"]) else f"{against['difference']:+.3g}{_interval(against)}"


def _interval(row: dict[str, Any]) -> str:
    return "" if _missing(row["low"]) else f" ({row['low']:+.3g} to {row['high']:+.3g})"


def tally(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Markdown, a line per model: how many claims hold, hold without word order, fail, and are not shown."""
    yield "| model | claims | hold | of these, order not needed | fail | of these, one step at the input end | not shown |"
    yield "|---|---|---|---|---|---|---|"
    kinds = ("holds", "holds, ", "fails", "fails: one step", "not shown")
    for model in dict.fromkeys(row["model"] for row in rows):
        words = [row["verdict"] for row in rows if row["model"] == model]
        counts = [sum(word.startswith(kind) for word in words) for kind in kinds]
        yield f"| {' | '.join([model, str(len(words)), *map(str, counts)])} |"


def _units_by_claim() -> dict[str, str]:
    """Units of each claim's quantity behind a space, nothing for pure numbers."""
    known = {(name, quantity.name): quantity.units for name, d in available().items() for quantity in d.quantities}
    units = {claim.text: known[claim.diagnostic, claim.quantity] for claim in CLAIMS}
    return {text: "" if of == "1" else f" {of}" for text, of in units.items()}


def _missing(number: float | None) -> bool:
    return number is None or not np.isfinite(number)


def read(results: Sequence[rg.RGFlow], claim: Claim) -> Reading | None:
    """The numbers of a claim, or None where no result of this model has them."""
    for flow in results:
        if claim.diagnostic in flow.diagnostics:
            node = flow.to_xarray()[claim.diagnostic].to_dataset()
            if claim.quantity in node["quantity"]:
                return _reading(_entry(node, claim), claim)
    return None


def _entry(node: xr.Dataset, claim: Claim) -> xr.Dataset:
    entry = node.sel(quantity=claim.quantity)
    if "sink" in entry.dims:
        entry = entry.isel(sink=0)
    if claim.where == END:
        entry = entry.isel({node.attrs["depth"]: -1})
    return entry


def _reading(entry: xr.Dataset, claim: Claim) -> Reading:
    prefix, value = ("trend_", "trend") if claim.where == TREND else ("", "value")
    measured = (float(entry[name]) for name in (value, f"{prefix}value_low", f"{prefix}value_high"))
    against = {
        name: _against(entry, null, prefix)
        for name, null in (("untrained", "random_init"), ("shuffled", "shuffled_tokens"), ("beside", claim.beside))
    }
    if claim.where == TREND:
        against["later_untrained"] = _against(entry, "random_init", "later_trend_")
    return Reading(*measured, later=float(entry["later_trend"]) if claim.where == TREND else np.nan, **against)


def _against(entry: xr.Dataset, null: str, prefix: str) -> Against:
    if null not in entry["null_model"]:
        return Against()
    here = entry.sel(null_model=null)
    numbers = (float(here[f"{prefix}{name}"]) for name in ("difference", "low", "high"))
    return Against(*numbers, str(here[f"{prefix}verdict_by_null"].values))


def draw(flows: Sequence[rg.RGFlow], path: Path) -> None:
    """A panel per claim: the quantity over relative depth, a line per model, and the band of its random initialisations."""
    from matplotlib.figure import Figure
    from matplotlib.style import context

    style = {"font.size": 7.5, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "rgprobe"}
    shown = [claim for claim in CLAIMS if any(_defined(results, claim) for results in models(flows).values())]
    columns = 3
    with context(style):
        rows = -(-len(shown) // columns)
        figure = Figure(figsize=(6.9, 1.65 * rows + 0.4), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for panel, claim in zip(panels, shown, strict=False):
            _panel(panel, flows, claim)
        for panel in panels[len(shown) :]:
            panel.axis("off")
        named = {
            label: handle for panel in panels for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
        }
        figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=3, frameon=False)
        save_figure(figure, path)


def _defined(results: Sequence[rg.RGFlow], claim: Claim) -> bool:
    reading = read(results, claim)
    return reading is not None and not _missing(reading.value)


def _panel(panel: Any, flows: Sequence[rg.RGFlow], claim: Claim) -> None:
    for colour, (name, results) in zip(COLOURS, models(flows).items(), strict=False):
        for flow in results:
            if claim.diagnostic not in flow.diagnostics:
                continue
            node = flow.to_xarray()[claim.diagnostic].to_dataset()
            if claim.quantity not in node["quantity"]:
                continue
            value, low, high = _curves(node, claim)
            depth = np.linspace(0, 1, len(value))
            panel.plot(depth, value, color=colour, lw=1.4, label=name)
            panel.fill_between(depth, low, high, color=colour, alpha=0.16, lw=0, label=f"{name}, untrained")
            break
    units = _units(flows, claim)
    panel.set_title(claim.text.partition(":")[0], fontsize=7, loc="left", wrap=True)
    panel.set_ylabel(f"{claim.quantity.replace('_', ' ')}{units}")
    panel.set_xlabel("relative depth")
    panel.set_xlim(-0.03, 1.03)


def _curves(node: xr.Dataset, claim: Claim) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    entry = node.sel(quantity=claim.quantity)
    if "sink" in entry.dims:
        entry = entry.isel(sink=0)
    against = entry.sel(null_model="random_init")
    arrays = [entry["value"], against["null_low"], against["null_high"]]
    value, low, high = (array.mean("head") if "head" in array.dims else array for array in arrays)
    return value.values, low.values, high.values


def _units(flows: Sequence[rg.RGFlow], claim: Claim) -> str:
    for flow in flows:
        if claim.diagnostic in flow.diagnostics:
            node = flow.to_xarray()[claim.diagnostic].to_dataset()
            if claim.quantity in node["quantity"]:
                units = str(node["units"].sel(quantity=claim.quantity).values)
                return "" if units == "1" else f", {units}"
    return ""


if __name__ == "__main__":
    main()
