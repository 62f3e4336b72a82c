"""Which claims about renormalization-group flow hold in a model, which fail, and by how much over the null?

    python analyses/findings.py FLOW.nc [FLOW.nc ...] --out DIR

reads results of `rgprobe run` and writes DIR/findings.json and DIR/findings.md (every claim, every number with its interval)
and DIR/findings.svg (each claim's quantity over relative depth with the band of its random initialisations). A claim is decided
by numbers that were measured, by rules that are written down here before the numbers are seen:

- holds: the trend (or the value at the output end) has the claimed sign, and beats the random initialisations;
- holds, order not needed: so, but shuffled words do the same;
- fails: beats the random initialisations with the other sign;
- not shown: within the null, or too few prompts or seeds to say.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from artefacts import save_figure

import rgprobe as rg
from rgprobe.diagnostics import available

END = "at the output end"
TREND = "over depth"


@dataclass(frozen=True)
class Claim:
    """What renormalization-group language says of a transformer, as a number with a sign.

    Attributes:
        text: the claim.
        diagnostic, quantity: the node of a result, and what is read there.
        sign: +1 or -1 of the difference from the null; 0 where the claim names no direction.
        where: `TREND` (slope against relative depth) or `END` (value at the output end).
    """

    text: str
    diagnostic: str
    quantity: str
    sign: int
    where: str = TREND


CLAIMS = (
    Claim("Attention cools with depth: reduced temperature falls", "temperature", "theta", -1),
    Claim("Attention rows narrow with depth", "attention_entropy", "normalised_entropy", -1),
    Claim("Attention reaches further with depth", "attention_distance", "distance", +1),
    Claim("Correlation length grows with depth", "correlation_length", "xi", +1),
    Claim("Layers approach a fixed point: angular steps shrink", "plateau", "angle", -1),
    Claim("Predictions settle: KL between layers shrinks", "plateau", "kl", -1),
    Claim("Hypotheses are eliminated: KL to the output falls", "elimination", "kl_to_output", -1),
    Claim("Token beliefs reach consensus", "consensus", "jeffreys", -1),
    Claim("Token states align", "collapse", "cosine", +1),
    Claim("Degrees of freedom are integrated out: participation falls", "collapse", "participation_ratio", -1),
    Claim("Tokens condense: the loss at the root falls", "condensation", "information", -1),
    Claim("States become more Gaussian with depth", "nongaussianity", "kurtosis", -1),
    Claim("Intrinsic dimension falls with depth", "intrinsic_dimension", "two_nn", -1),
    Claim("The input is forgotten: overlap with it falls", "input_overlap", "overlap", -1),
    Claim("Attention becomes self-similar: like its own coarse-graining", "coarse_graining", "rescaled_2", +1),
    Claim("Paraphrases flow together: universality grows", "universality", "icc", +1),
    Claim("Word order is irrelevant: its gain falls", "operator_gain", "gain_order", -1),
    Claim("Token identity is irrelevant: its gain falls", "operator_gain", "gain_token", -1),
    Claim("Position is integrated out: shuffling the context matters less", "positional", "permutation", -1),
    Claim("Perturbations of direction contract in the last block", "lyapunov", "angular_exponent", -1, END),
    Claim("Basins form: tokens fall into fewer minima", "energy_landscape", "basins", -1),
    Claim("Couplings run by one map: it predicts held-out layers", "running_couplings", "coupling_error", -1),
)


@dataclass(frozen=True)
class Reading:
    """What one result says about one claim."""

    value: float
    low: float
    high: float
    difference: float
    difference_low: float
    difference_high: float
    beats: bool
    order_matters: bool
    decided: bool


def main() -> None:
    """Read, decide, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("flows", type=Path, nargs="+", metavar="FLOW")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    flows = [rg.open_flow(path) for path in arguments.flows]
    rows = [
        {key: None if isinstance(x, float) and _missing(x) else x for key, x in row.items()} for row in decided(flows)
    ]
    (arguments.out / "findings.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    (arguments.out / "findings.md").write_text("\n".join(table(rows)) + "\n", encoding="utf-8")
    draw(flows, arguments.out / "findings.svg")


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


def table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Markdown, a line per claim and model; units as the registry has them."""
    units = _units_by_claim()
    yield "| claim | model | measured | minus random initialisation (95%) | verdict |"
    yield "|---|---|---|---|---|"
    before = ""
    for row in rows:
        where = "slope" if row["where"] == TREND else "at the end"
        of = units[row["claim"]]
        value = "undefined" if _missing(row["value"]) else f"{where} {_with_interval(row, 'value', 'low', 'high')}{of}"
        null = (
            ""
            if _missing(row["difference"])
            else _with_interval(row, "difference", "difference_low", "difference_high")
        )
        yield f"| {row['claim'] if row['claim'] != before else ''} | {row['model']} | {value} | {null} | {row['verdict']} |"
        before = row["claim"]


def tally(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Markdown, a line per model: how many claims hold, hold without word order, fail, and are not shown."""
    yield "| model | claims | hold | of these, order not needed | fail | not shown |"
    yield "|---|---|---|---|---|---|"
    for model in dict.fromkeys(row["model"] for row in rows):
        words = [row["verdict"] for row in rows if row["model"] == model]
        counts = [
            sum(word.startswith(kind) for word in words) for kind in ("holds", "holds, order", "fails", "not shown")
        ]
        yield f"| {' | '.join([model, str(len(words)), *map(str, counts)])} |"


def _units_by_claim() -> dict[str, str]:
    """Units of each claim's quantity behind a space, nothing for pure numbers."""
    known = {(name, quantity.name): quantity.units for name, d in available().items() for quantity in d.quantities}
    units = {claim.text: known[claim.diagnostic, claim.quantity] for claim in CLAIMS}
    return {text: "" if of == "1" else f" {of}" for text, of in units.items()}


def _with_interval(row: dict[str, Any], *names: str) -> str:
    value, low, high = (row[name] for name in names)
    return f"{value:+.3g}" + ("" if _missing(low) else f" ({low:+.3g} to {high:+.3g})")


def _missing(number: float | None) -> bool:
    return number is None or not np.isfinite(number)


def read(results: Sequence[rg.RGFlow], claim: Claim) -> Reading | None:
    """The numbers of a claim, or None where no result of this model has them."""
    for flow in results:
        if claim.diagnostic in flow.diagnostics:
            node = flow.to_xarray()[claim.diagnostic].to_dataset()
            if claim.quantity in node["quantity"]:
                return _reading(_entry(node, claim), "trend_" if claim.where == TREND else "")
    return None


def _entry(node: xr.Dataset, claim: Claim) -> xr.Dataset:
    entry = node.sel(quantity=claim.quantity)
    if "sink" in entry.dims:
        entry = entry.isel(sink=0)
    if claim.where == END:
        entry = entry.isel({node.attrs["depth"]: -1})
    return entry


def _reading(entry: xr.Dataset, prefix: str) -> Reading:
    against = entry.sel(null_model="random_init")
    order = str(against[f"{prefix}verdict_by_null"].values)
    if "shuffled_tokens" in entry["null_model"]:
        order = str(entry.sel(null_model="shuffled_tokens")[f"{prefix}verdict_by_null"].values)
    word = str(against[f"{prefix}verdict_by_null"].values)
    numbers = [float(against[f"{prefix}{name}"]) for name in ("difference", "low", "high")]
    value = "trend" if prefix else "value"
    return Reading(
        float(entry[value]), float(entry[f"{prefix}value_low"]), float(entry[f"{prefix}value_high"]), *numbers,
        beats=word == "beats null", order_matters=order == "beats null", decided=word in ("beats null", "within null"),
    )  # fmt: skip


def verdict(reading: Reading, claim: Claim) -> str:
    """Decided by the rules above.

    Example:
        >>> falls = Claim("x", "d", "q", -1)
        >>> verdict(Reading(-1.0, -1.2, -0.8, -0.5, -0.7, -0.3, True, False, True), falls)
        'holds, order not needed'
        >>> verdict(Reading(-1.0, -1.2, -0.8, 0.5, 0.3, 0.7, True, True, True), falls)
        'fails: less so than untrained'
    """
    if not reading.decided or not reading.beats:
        return "not shown" + ("" if reading.decided else ": descriptive only")
    same_sign = np.sign(reading.difference) == claim.sign
    if not same_sign:
        moves = np.sign(reading.value) == claim.sign
        return "fails: less so than untrained" if moves else "fails: the other way"
    if np.sign(reading.value) != claim.sign:
        return "fails: the other way, though less than untrained"
    return "holds" if reading.order_matters else "holds, order not needed"


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


COLOURS = ("#2b7bba", "#d1662c", "#16907a", "#b0609a")


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
