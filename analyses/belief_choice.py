"""How far do conclusions depend on what a token's belief is taken to be?

    python analyses/belief_choice.py SOURCE [--prompts 6] [--positions 24] [--nulls 2] [--tokens 96] [--save FILE] [--out DIR]
    python analyses/belief_choice.py SOURCE --costs

Measures consensus and condensation trees of the same tokens under every kind of belief that the model has, each against random
initialisations, and compares the trees of one kind with those of another. Prints two tables in markdown.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from artefacts import OUT_HELP, artefacts

import rgprobe as rg
from rgprobe.condensation import CondensationTree
from rgprobe.condensation.agreement import cophenetic_correlation, cut_agreement
from rgprobe.data import load_prompts
from rgprobe.errors import OptionError
from rgprobe.models.shipped import prompts_unseen_by
from rgprobe.probe.estimators import ESTIMATORS

Trees = list[list[CondensationTree]]  # by prompt and block


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    for name, default in (("prompts", 6), ("positions", 24), ("nulls", 2), ("tokens", 96)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--costs", action="store_true", help="only measure what each belief costs")
    parser.add_argument("--beliefs", default=",".join(ESTIMATORS))
    parser.add_argument(
        "--save", type=Path, metavar="FILE.json", help="keep the numbers there, beside those of other sources"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help=OUT_HELP)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with artefacts(options.out, "belief_choice") as keep:
        if options.costs:
            print_costs(options)
            return
        rows, trees = measured(options)
        settings = {name: getattr(options, name) for name in ("prompts", "positions", "nulls", "tokens")}
        pairs = [agreement(a, b, trees) for a, b in combinations(trees, 2)]
        found = {Path(options.source).name: {"settings": settings, "beliefs": rows, "agreement": pairs}}
        if options.save:
            kept = json.loads(options.save.read_text("utf-8")) if options.save.exists() else {}
            options.save.write_text(json.dumps({**kept, **found}, indent=1) + "\n", encoding="utf-8")
        print(tables(found))
        keep(found)


def measured(options: argparse.Namespace) -> tuple[list[dict[str, Any]], dict[str, Trees]]:
    """A row and the trees of each kind of belief that the model has."""
    probe, ids, beliefs = prepared(options)
    rows, trees = [], {}
    for belief in beliefs:
        print(f"{belief} ...", file=sys.stderr, flush=True)
        flow = rg.run(
            probe, ids, belief=belief, nulls=options.nulls, shuffles=0, positions=options.positions,
            diagnostics="consensus,condensation",
        )  # fmt: skip
        rows.append({"belief": belief, **consensus_of(flow), **condensation_of(flow, options.positions)})
        # beliefs of block b are those of what enters it, state b
        trees[belief] = [[flow.tree(prompt, block) for block in range(probe.n_blocks)] for prompt in range(len(ids))]
    return rows, trees


def prepared(options: argparse.Namespace) -> tuple[Any, list[torch.Tensor], list[str]]:
    """The model, its prompts, and the kinds of belief that it has."""
    probe = rg.load(options.source)
    texts = load_prompts(prompts_unseen_by(options.source))
    ids = [prompt.ids[: options.tokens] for prompt in probe.encode(list(texts[: options.prompts]))]
    beliefs = []
    for belief in options.beliefs.split(","):
        try:
            ESTIMATORS[belief].check(probe)
        except OptionError:
            continue
        beliefs.append(belief)
    return probe, ids, beliefs


def print_costs(options: argparse.Namespace) -> None:
    """Processor time of a trace of the first two prompts, in traces that keep states only."""
    probe, ids, beliefs = prepared(options)

    def seconds(**collected: Any) -> float:
        start = time.process_time()
        rg.trace(probe, ids[:2], positions=options.positions, **collected)
        return time.process_time() - start

    seconds()  # what is done once
    alone = seconds(collect=["states"])
    for belief in beliefs:
        print(f"{belief:12} {seconds(belief=belief, collect=['beliefs']) / alone:.2g}", flush=True)


def consensus_of(flow: rg.RGFlow) -> dict[str, Any]:
    """How much nearer beliefs are at the output end, whether that slows down, and what random initialisations show."""
    node = flow.to_xarray()["consensus"].to_dataset().sel(quantity="jeffreys")
    null = node["null"].sel(null_model="random_init").values
    floor = (flow.provenance["belief_noise_nats"] or {}).get("consensus_threshold")
    # a KL divergence is half of Jeffreys' where both directions are equal
    pairs = flow.to_xarray()["consensus"]["jeffreys_matrix"].values / 2
    below = float((pairs[np.isfinite(pairs) & (pairs > 0)] < floor).mean()) if floor else None
    return {
        "J_in": node["value"].values[0], "J_out": node["value"].values[-1], "ratio": _ratio(node["value"].values),
        "ratio_null": _ratio(null), "slowing": _slowing(node["value"].values), "slowing_null": _slowing(null),
        "below_3_floors": below,
    }  # fmt: skip


def condensation_of(flow: rg.RGFlow, positions: int) -> dict[str, float]:
    """At the output end: information, how many meta-tokens keep half of it, and what a quarter of them loses."""
    node = flow.to_xarray()["condensation"].to_dataset()
    last: xr.Dataset = node.isel({node.attrs["depth"]: -1})
    value, null = last["value"], last["null"].sel(null_model="random_init")
    effective = {"quantity": "effective_fraction"}
    return {
        "information": float(value.sel(quantity="information")),
        "information_null": float(null.sel(quantity="information")),
        "N_eff": positions * float(value.sel(effective)),
        "N_eff_null": positions * float(null.sel(effective)),
        "quarter_loss": float(value.sel(quantity="quarter_loss")),
        "random_partition": float(last["null"].sel(null_model="random_partition", quantity="quarter_loss")),
    }


def agreement(a: str, b: str, trees: dict[str, Trees]) -> dict[str, Any]:
    """Of the trees of two kinds of belief over the same tokens, averaged over prompts and blocks; and over unlike prompts."""
    same = [(x, y) for ones, others in zip(trees[a], trees[b], strict=True) for x, y in zip(ones, others, strict=True)]
    shifted = [*trees[b][1:], trees[b][0]]
    other = [(x, y) for ones, others in zip(trees[a], shifted, strict=True) for x, y in zip(ones, others, strict=True)]
    other = [(x, y) for x, y in other if x.n_leaves == y.n_leaves]
    return {
        "beliefs": f"{a}, {b}",
        "ARI": _mean_ari(same),
        "ARI_other_prompt": _mean_ari(other),
        "cophenetic": _mean_cophenetic(same),
        "cophenetic_other_prompt": _mean_cophenetic(other),
    }


def _mean_ari(pairs: list[tuple[CondensationTree, CondensationTree]]) -> float:
    """Adjusted Rand index of the cuts at a quarter as many meta-tokens as tokens."""
    return float(np.mean([cut_agreement(x, y, n_clusters=-(-x.n_leaves // 4)) for x, y in pairs]))


def _mean_cophenetic(pairs: list[tuple[CondensationTree, CondensationTree]]) -> float:
    return float(np.nanmean([cophenetic_correlation(x, y) for x, y in pairs]))


def _ratio(divergences: np.ndarray) -> float:
    """Output end over input end."""
    return float(divergences[-1] / divergences[0])


def _slowing(divergences: np.ndarray) -> float:
    """Mean |step of ln J| per layer in the second half of the depth, over that in the first: below 1 it slows down."""
    steps = np.abs(np.diff(np.log(divergences)))
    half = len(steps) // 2
    return float(steps[-half:].mean() / steps[:half].mean()) if half else float("nan")


def tables(summary: dict[str, Any]) -> str:
    """Markdown: per source, what each kind of belief says and how far the trees agree."""
    return "\n\n".join(part for source, run in summary.items() for part in _tables_of(source, run))


def _tables_of(source: str, run: dict[str, Any]) -> list[str]:
    settings = run["settings"]
    head = (
        f"**{source}**, {settings['prompts']} prompts of up to {settings['tokens']} tokens, {settings['positions']} recorded, "
        f"{settings['nulls']} random initialisations (r.i.):"
    )
    columns = {
        "belief": ["belief"], "J in": ["J_in"], "J out": ["J_out"], "out / in (r.i.)": ["ratio", "ratio_null"],
        "slowing (r.i.)": ["slowing", "slowing_null"], "below 3 floors": ["below_3_floors"],
        "information (r.i.)": ["information", "information_null"], "N_eff (r.i.)": ["N_eff", "N_eff_null"],
        "quarter loss (random partition)": ["quarter_loss", "random_partition"],
    }  # fmt: skip
    agreed = {
        "trees of": ["beliefs"], "adjusted Rand index (other prompt)": ["ARI", "ARI_other_prompt"],
        "cophenetic correlation (other prompt)": ["cophenetic", "cophenetic_other_prompt"],
    }  # fmt: skip
    return [head, _table(columns, run["beliefs"]), _table(agreed, run["agreement"])]


def _table(columns: dict[str, list[str]], rows: list[dict[str, Any]]) -> str:
    """A column shows a number, and in brackets what it is compared with."""

    def cell(row: dict[str, Any], keys: list[str]) -> str:
        first, *rest = (_shown(row[key]) for key in keys)
        return f"{first} ({rest[0]})" if rest else first

    lines = [list(columns), ["---"] * len(columns), *([cell(row, keys) for keys in columns.values()] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _shown(value: Any) -> str:
    if not isinstance(value, float):
        return "" if value is None else str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.2g}" if abs(value) < 0.1 else f"{value:.3g}"


if __name__ == "__main__":
    main()
