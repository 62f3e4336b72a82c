"""What a run says at its end: which trends beat their null, which did not, what may be claimed, where the files are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from rgprobe.cli.cells import label, number, plain
from rgprobe.cli.compare_summary import outcome_text
from rgprobe.cli.failures import printable
from rgprobe.comparison import FlowComparison
from rgprobe.nulls import MINIMUM_PROMPTS, MINIMUM_SEEDS
from rgprobe.rg_flow import RGFlow
from rgprobe.wording import counted

__all__ = ["summary_json", "summary_text"]

STRONGEST = 6
Files = Mapping[str, tuple[Path, Path]]
Compared = tuple[FlowComparison, Path] | None


def summary_json(flows: Mapping[str, RGFlow], files: Files, report: Path, compared: Compared = None) -> str:
    """The summary as ASCII JSON; what is undefined is null, and "undefined_when" says why, by diagnostic."""
    results = [
        {
            "name": name,
            "source": flow.provenance["source"],
            "flow": str(files[name][0]),
            "trees": str(files[name][1]),
            "prompts": len(flow.prompts),
            "random_inits": _seeds(flow),
            "sufficient_for_verdicts": _sufficient(flow),
            "undefined_when": {each: flow.to_xarray()[each].attrs["undefined"] for each in flow.diagnostics},
            "summary": [{key: plain(value) for key, value in row.items()} for row in flow.summary().to_dict("records")],
        }
        for name, flow in flows.items()
    ]
    record = {"results": results, "report": str(report), "comparison": str(compared[1]) if compared else None}
    return json.dumps(record, allow_nan=False, indent=1)


def summary_text(flows: Mapping[str, RGFlow], files: Files, report: Path, compared: Compared = None) -> str:
    """The summary in plain words, one paragraph per checkpoint, and one for their comparison."""
    blocks = ["\n".join(_paragraph(name, flow)) for name, flow in flows.items()]
    written = [path for name in flows for path in files[name]]
    if compared:
        blocks.append(outcome_text(compared[0]))
        written.append(compared[1])
    places = [*(f"  {printable(str(path))}" for path in written), f"  {printable(str(report))}: open it in a browser"]
    return "\n\n".join([*blocks, "\n".join(["Wrote", *places])])


def _paragraph(name: str, flow: RGFlow) -> list[str]:
    table = _at_run_policy(flow.summary())
    lines = [
        f"{printable(name)}: {counted(len(flow.prompts), 'prompt')}, {counted(_seeds(flow), 'random initialisation')}, "
        f"{flow.provenance['belief']} beliefs"
    ]
    if _sufficient(flow):
        lines += _verdicts(table)
    lines += _strongest(table)
    return [*lines, *_caveats(flow)]


def _at_run_policy(table: pd.DataFrame) -> pd.DataFrame:
    """One row per quantity: the sink policy of the run is listed first."""
    return table.drop_duplicates(["diagnostic", "quantity"])


def _verdicts(table: pd.DataFrame) -> list[str]:
    beat, within = (table[table["trend_verdict"] == word] for word in ("beats null", "within null"))
    lines = [f"  {len(beat)} of {len(beat) + len(within)} trends over depth beat random initialisation."]
    if len(within):
        lines.append(f"  These did not: {_names(within)}.")
    untested = table[table["trend_verdict"] == "descriptive"]
    if len(untested):
        lines.append(f"  Not testable: {_names(untested)}.")
    tested = int(table["n_beat_null"].sum() + table["n_within_null"].sum())
    beaten = int(table["n_beat_null"].sum())
    return [
        *lines,
        f"  Layer by layer and head by head, {beaten:,} of {tested:,} values did (false-discovery rate 5%).",
    ]


def _strongest(table: pd.DataFrame) -> list[str]:
    """The trends farthest from random initialisation in units of their interval, one per diagnostic."""
    if "difference" not in table:
        return []
    half_width = (table["high"] - table["low"]) / 2
    if not half_width.notna().any():
        return ["  One prompt against one random initialisation has no interval."]
    clear = (table["difference"].abs() / half_width).where(half_width > 0)
    clear = clear[clear > 1].sort_values(ascending=False)
    if not len(clear):
        return ["  No trend stands clear of random initialisation: every 95% interval of a difference holds zero."]
    chosen = table.loc[clear.index].drop_duplicates("diagnostic").head(STRONGEST)
    turned = chosen[chosen["trend"] * chosen["later_trend"] < 0]
    note = f"  One step at the input end: without the first depth the slope of {_names(turned)} has the other sign."
    header = ("change from input end to output end", "here", "random", "difference (95% interval)", "")
    rows = [header, *(_row(row) for row in chosen.to_dict("records"))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    return ["  " + "  ".join(_aligned(row, widths)).rstrip() for row in rows] + ([note] if len(turned) else [])


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    units = "" if row["units"] == "1" else f", {row['units']}"
    interval = f"{number(row['difference'])} ({number(row['low'])} to {number(row['high'])})"
    return f"{label(row)}{units}", number(row["trend"]), number(row["null"]), interval, row["trend_verdict"]


def _aligned(row: tuple[str, ...], widths: list[int]) -> list[str]:
    return [
        row[0].ljust(widths[0]),
        *(cell.rjust(width) for cell, width in zip(row[1:4], widths[1:4], strict=True)),
        row[4],
    ]


def _caveats(flow: RGFlow) -> list[str]:
    lines = []
    seeds, prompts = _seeds(flow), len(flow.prompts)
    if not seeds:
        lines.append(
            "  No null model was run: nothing here is evidence of anything beyond this checkpoint and these prompts."
        )
    if seeds > 1 and prompts == 1:
        lines.append("  Intervals carry the variance of seeds alone: one prompt says nothing of others.")
    if not _sufficient(flow):
        lines.append(
            f"  Descriptive only: to say that something beats its null takes {MINIMUM_SEEDS} random initialisations and "
            f"{MINIMUM_PROMPTS} prompts (here {seeds} and {prompts})."
        )
    cut = sum(1 for tokens in flow.provenance["truncated_tokens"] if tokens)
    if cut:
        lines.append(f"  {counted(cut, 'prompt')} {'was' if cut == 1 else 'were'} cut to the context length.")
    return lines


def _names(table: pd.DataFrame) -> str:
    return ", ".join(label(row) for row in table.to_dict("records"))


def _seeds(flow: RGFlow) -> int:
    return len(flow.provenance["nulls"]["random_init_seeds"])


def _sufficient(flow: RGFlow) -> bool:
    return _seeds(flow) >= MINIMUM_SEEDS and len(flow.prompts) >= MINIMUM_PROMPTS
