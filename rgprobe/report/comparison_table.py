"""The tables of a comparison: key numbers of both runs, and the verdicts of every quantity of a diagnostic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import xarray as xr

from rgprobe.comparison import FlowComparison
from rgprobe.comparison.contrasting import words_of
from rgprobe.plots.arrays import policy_sink, quantity_label, select, unit_label
from rgprobe.report.comparison_wording import verdict_chip, verdict_words
from rgprobe.report.embedding import escaped
from rgprobe.report.wording import number, signed
from rgprobe.rg_flow import RGFlow

__all__ = ["facts_table", "verdict_table"]

# What a reader wants first: (diagnostic, quantity, where along depth, words). "output" is the output end.
FACTS = (
    ("elimination", "answer_surprisal", "output", "loss on the recorded tokens"),
    ("elimination", "entropy", "output", "entropy of the prediction"),
    ("elimination", "kl_to_output", "trend", "elimination: change of KL to the final prediction"),
    ("temperature", "theta", "level", "reduced temperature of attention"),
    ("attention_entropy", "normalised_entropy", "level", "entropy of attention over ln n"),
    ("attention_distance", "distance", "level", "attention distance"),
    ("consensus", "jeffreys", "output", "divergence between tokens"),
    ("condensation", "information", "output", "information held by all distinctions"),
    ("condensation", "quarter_loss", "output", "share lost at a quarter as many meta-tokens"),
    ("collapse", "cosine", "output", "cosine between token states"),
    ("collapse", "participation_ratio", "output", "participation ratio of token states"),
)
WHERE = {"output": "at the output end", "level": "mean over depth", "trend": "from input end to output end"}


def facts_table(comparison: FlowComparison, flows: Mapping[str, RGFlow]) -> str:
    """Family, parameters, loss and one number of each part of the story, side by side."""
    names = comparison.names
    rows = [*_identity_rows(comparison), *_number_rows(comparison, flows)]
    head = "".join(f"<th class='side{index}'>{escaped(name)}</th>" for index, name in enumerate(names))
    return (
        f"<div class='scroll'><table class='facts'><thead><tr><th></th>{head}"
        "<th>difference (95% interval)</th><th>verdict</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _identity_rows(comparison: FlowComparison) -> Iterator[str]:
    records = [comparison.provenance[name][0] for name in comparison.names]
    yield _row("family", "", [escaped(record.get("family", "")) for record in records])
    yield _row(
        "parameters", "", [f"{record['n_parameters']:,}" if record.get("n_parameters") else "—" for record in records]
    )
    if comparison.checkpoints != (1, 1):
        yield _row("checkpoints", "", [str(count) for count in comparison.checkpoints])


def _number_rows(comparison: FlowComparison, flows: Mapping[str, RGFlow]) -> Iterator[str]:
    for diagnostic, quantity, where, words in FACTS:
        entry = _entry(comparison, diagnostic, quantity)
        if entry is None:
            continue
        prefix = "" if where == "output" else f"{where}_"
        here = entry.isel({str(entry.attrs["depth"]): -1}) if where == "output" else entry
        write = signed if where == "trend" else number
        cells = [write(float(here[f"{prefix}value"].sel(run=run))) for run in comparison.names]
        if quantity == "theta":
            cells = [cell + _head_range(flows.get(name)) for cell, name in zip(cells, comparison.names, strict=True)]
        difference, low, high = (float(here[f"{prefix}{part}"]) for part in ("difference", "low", "high"))
        interval = f"{signed(difference)} <small>({number(low)} to {number(high)})</small>"
        yield _row(
            words, f"{unit_label(entry)}, {WHERE[where]}", cells, interval, _judged(here, prefix, comparison.names)
        )


def _row(words: str, small: str, cells: list[str], difference: str = "", chip: str = "") -> str:
    detail = f"<small>{escaped(small)}</small>" if small else ""
    values = "".join(f"<td class='num'>{cell}</td>" for cell in cells)
    return f"<tr><td>{escaped(words)}{detail}</td>{values}<td class='num'>{difference}</td><td>{chip}</td></tr>"


def _head_range(flow: RGFlow | None) -> str:
    """Coldest and hottest head."""
    if flow is None:
        return ""
    arrays = select(flow, "temperature", "theta")
    sink = policy_sink(arrays)
    heads = (arrays if sink is None else arrays.sel(sink=sink))["value"].values
    heads = heads[np.isfinite(heads)]
    return f"<small>heads {number(heads.min())} to {number(heads.max())}</small>" if len(heads) else ""


def _entry(comparison: FlowComparison, diagnostic: str, quantity: str) -> xr.Dataset | None:
    if diagnostic not in comparison.diagnostics:
        return None
    arrays = comparison.to_xarray()[diagnostic].to_dataset()
    if quantity not in arrays["quantity"].values:
        return None
    sink = policy_sink(arrays)
    chosen = arrays.sel(quantity=quantity)
    return chosen if sink is None else chosen.sel(sink=sink)


def verdict_table(comparison: FlowComparison, diagnostic: str) -> str:
    """A row per quantity: who is above on average, in trend, and at how many depths; beyond the nulls in small print."""
    held = comparison.to_xarray()[diagnostic].to_dataset()["quantity"].values
    rows = []
    for quantity in held:
        entry = _entry(comparison, diagnostic, str(quantity))
        if entry is not None:
            rows.append(_verdict_row(entry, str(quantity), comparison.names))
    return (
        "<div class='scroll'><table class='verdicts'><thead><tr><th>quantity</th><th>mean over depth</th>"
        f"<th>signed change over depth</th><th>depths that differ</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _verdict_row(entry: xr.Dataset, quantity: str, names: tuple[str, str]) -> str:
    cells = "".join(f"<td>{_judged(entry, prefix, names)}</td>" for prefix in ("level_", "trend_"))
    return f"<tr><td>{escaped(quantity_label(quantity))}</td>{cells}<td class='num'>{_depths(entry, names)}</td></tr>"


def _judged(entry: xr.Dataset, prefix: str, names: tuple[str, str]) -> str:
    words = verdict_chip(str(entry[f"{prefix}verdict"].item()), names)
    if "random_init" in entry.get("null_model", ()):
        beyond = str(entry[f"{prefix}excess_verdict"].sel(null_model="random_init").item())
        words += f"<small>beyond null: {verdict_words(beyond, names)}</small>"
    return words


def _depths(entry: xr.Dataset, names: tuple[str, str]) -> str:
    words = [str(word) for word in entry["verdict"].values.ravel() if word]
    decided = sum(word in words_of(names) for word in words)
    return f"{decided} of {len(words)}"
