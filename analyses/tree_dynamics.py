"""When do trees appear in training: before the loss falls, with it, or after?

    python analyses/tree_dynamics.py train RUNS [--readers bidirectional standard gauge] [--seeds 0] [--steps 2000]
    python analyses/tree_dynamics.py table RUNS --out DIR

Models of the random hierarchy model are trained as in `random_hierarchy.py` (both families, next leaf) and `cloze_models.py`
(bidirectional, gaps), and stopped at 13 checkpoints, the later 12 evenly spaced in log step. At each, trees of 12 single
sentences are made of the interaction between leaves at the input end, which is where the parse is read best
(docs/planted-hierarchy.md), and of thermal beliefs, the best of the beliefs, and scored by unlabelled bracket F1. The null is
five untrained models of each kind, at the state that suits them best; trees of other sentences say nothing here, because this
grammar has one tree. RUNS/READER/seed-S/trees.json holds every number; finished runs are left alone. Minutes per run.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cloze_models
import numpy as np
import planted_trees
import random_hierarchy
import torch
from artefacts import OUT_HELP, artefacts, save_figure
from crossed_intervals import crossed_interval
from dynamics_answers import half_way
from dynamics_tables import COLOURS, markdown, plain_ticks
from planted_hierarchy import DEVELOPMENT
from torch import nn

import rgprobe as rg
from rgprobe.condensation.brackets import bracket_score
from rgprobe.diagnostics.changepoint import find_changepoints
from rgprobe.models.training import checkpoint_steps
from rgprobe.probe.interaction import interaction
from rgprobe.probe.model import Probe
from rgprobe.testbeds import random_hierarchy as testbed

READERS = ("bidirectional", "standard", "gauge")
MEASURES = {"interaction": 0, "thermal": 1}  # trees of, at which state: as found in docs/planted-hierarchy.md
CHECKPOINTS, SENTENCES, CONTEXTS, NULLS = 13, 12, 32, 5
TESTED = 2000  # sentences of the loss


def trees_of(probe: Probe, reader: str, *, sentences: int = SENTENCES) -> dict[str, list[list[float]]]:
    """Bracket F1 of the trees that any pair may join, by measure, state and sentence."""
    name = reader if reader == "bidirectional" else f"next {reader}"
    language = cloze_models.fixed()
    read, parses, _ = language.draw(DEVELOPMENT + sentences, cloze_models.TEST_SEED + 1)
    read, parses = read[DEVELOPMENT:], parses[DEVELOPMENT:]
    found = []
    for row, parse in zip(read, parses, strict=True):
        contexts = planted_trees.contexts_of(name, row, language.vocabulary, count=CONTEXTS, seed=0)
        trees = [planted_trees.interaction_clades(each, "any") for each in interaction(probe, contexts).numpy()]
        found.append([bracket_score(tree, parse, leaves=language.leaves).f1 for tree in trees])
    thermal = planted_trees.belief_scores(probe, name, read, parses, names=("thermal",))[0, 0, : probe.n_blocks]
    return {"interaction": np.transpose(found).tolist(), "thermal": thermal.tolist()}


def train_one(out: Path, reader: str, *, seed: int, steps: int, sentences: int = SENTENCES) -> dict[str, Any]:
    """Train one model, looking at it on the way."""
    rows: list[dict[str, Any]] = []
    wanted = checkpoint_steps(CHECKPOINTS, steps)

    def watch(step: int, model: nn.Module) -> None:
        if step in wanted:
            frozen = copy.deepcopy(model).eval()  # what is loaded gets hooks, and the model trains on
            loss = loss_above_least(frozen, reader)
            probe = rg.load(getattr(frozen, "encoder", getattr(frozen, "decoder", frozen)), device="cpu")
            rows.append({"step": step, "loss": loss, **trees_of(probe, reader, sentences=sentences)})

    if reader == "bidirectional":
        cloze_models.train_one(out, "fixed", reader, seed=seed, steps=steps, watch=watch)
    else:
        random_hierarchy.train_one(out, reader, depth=3, seed=seed, steps=steps, watch=watch)
    return {"reader": reader, "seed": seed, "steps": steps, "rows": rows}


def loss_above_least(model: nn.Module, reader: str) -> float:
    """Nats per prediction above what a reader that knows the grammar has."""
    if reader == "bidirectional":
        return cloze_models.evaluated(model, cloze_models.fixed(), reader, TESTED)["excess_nats_per_gap"]
    rules = testbed.grammar(depth=3, **random_hierarchy.GRAMMAR)
    return float(np.mean(random_hierarchy.evaluated(model, rules, TESTED)["excess_by_prediction"]))


def untrained(run: Path, reader: str, *, count: int = NULLS, sentences: int = SENTENCES) -> list[dict[str, Any]]:
    """Trees of models of one architecture that were never trained."""
    found = []
    for seed in range(count):
        with rg.load(run, device="cpu").randomised(seed=seed) as probe:
            found.append(trees_of(probe, reader, sentences=sentences))
    return found


def recorded(runs: Path) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Finished runs and untrained models, by reader."""
    found = {}
    for reader in READERS:
        paths = sorted((runs / reader).glob("seed-*/trees.json"))
        if paths:
            null = json.loads((runs / reader / "untrained.json").read_text("utf-8"))
            found[reader] = {"runs": [json.loads(path.read_text("utf-8")) for path in paths], "untrained": null}
    return found


def scores(entry: dict[str, Any], measure: str) -> np.ndarray:
    """Bracket F1 (seed, step, sentence) at the state that is read."""
    return np.array([[row[measure][MEASURES[measure]] for row in run["rows"]] for run in entry["runs"]])


def null_scores(entry: dict[str, Any], measure: str) -> np.ndarray:
    """Bracket F1 (model, sentence) of untrained models, at the state where their mean is largest."""
    found = np.array([each[measure] for each in entry["untrained"]])
    return found[:, found.mean((0, 2)).argmax()]


def tables(record: dict[str, Any]) -> dict[str, str]:
    """Markdown by name: ends, nulls, half of the way and the test for an abrupt change; then loss and F1 by step."""
    first = next(iter(record.values()))["runs"][0]["rows"]
    head = ["step", *(f"{reader}, {what}" for reader in record for what in ("loss above least (nats)", *MEASURES))]
    by_step = [[str(row["step"])] for row in first]
    for entry in record.values():
        loss = losses(entry).mean(0)
        means = [scores(entry, measure).mean((0, 2)) for measure in MEASURES]
        for k, cells in enumerate(by_step):
            cells += [f"{loss[k]:.3f}", *(f"{mean[k]:.2f}" for mean in means)]
    ends = [summary(reader, entry, measure) for reader, entry in record.items() for measure in MEASURES]
    heads = ["reader (seeds), trees of", "F1 at step 0", "lowest (at step)", "at the end", "untrained, best state",
             "end less untrained", "half of the way at step, by seed", "the loss", "abrupt change (step, p)"]  # fmt: skip
    return {"trees": f"{markdown(heads, ends)}\n\n{markdown(head, by_step)}"}


def losses(entry: dict[str, Any]) -> np.ndarray:
    """(seed, step), nats per prediction above the least."""
    return np.array([[row["loss"] for row in run["rows"]] for run in entry["runs"]])


def summary(reader: str, entry: dict[str, Any], measure: str) -> list[str]:
    """Cells of one measure of one reader."""
    steps = [row["step"] for row in entry["runs"][0]["rows"]]
    values, null = scores(entry, measure), null_scores(entry, measure)
    curves = values.mean(-1)
    lowest = int(curves.mean(0).argmin())
    difference = "{:+.2f} ({:+.2f} to {:+.2f})".format(*crossed_interval(values[:, -1], null))
    change = find_changepoints(curves[:, 1:], trend="linear")
    words = [f"{steps[k]}-{steps[k + 1]}, {p:.3f}" for k, p in zip(change.index, change.p_value, strict=True)]
    return [f"{reader} ({len(curves)}), {measure}", f"{curves[:, 0].mean():.2f}",
            f"{curves.mean(0)[lowest]:.2f} ({steps[lowest]})", f"{curves[:, -1].mean():.2f}", f"{null.mean():.2f}", difference,
            half_ways(steps, curves), half_ways(steps, losses(entry)), "; ".join(words)]  # fmt: skip


def half_ways(steps: Sequence[int], curves: np.ndarray) -> str:
    """Of each seed."""
    return ", ".join(f"{half_way(steps, curve):.0f}" for curve in curves)


def draw(record: dict[str, Any], path: Path) -> None:
    """Loss above the least, and F1 beside untrained models (bands: their range), against step; one column per reader."""
    from rgprobe.plots.paper.style import DOUBLE, finished, panel_letters, paper_figure, paper_style

    with paper_style():
        figure = paper_figure(DOUBLE, 3.2)
        grid = figure.subplots(2, len(record), sharex=True, sharey="row", squeeze=False)
        for column, (reader, entry) in enumerate(record.items()):
            top, bottom = grid[:, column]
            steps = [row["step"] for row in entry["runs"][0]["rows"]]
            top.plot(steps, losses(entry).T, color="#30343a", lw=0.9)
            for measure, colour in zip(MEASURES, (COLOURS["standard"], COLOURS["gauge"]), strict=True):
                for seed, each in enumerate(scores(entry, measure).mean(-1)):
                    bottom.plot(steps, each, color=colour, lw=0.9, label=measure if seed == 0 else None)
                null = null_scores(entry, measure).mean(-1)
                bottom.axhspan(null.min(), null.max(), color=colour, alpha=0.2, lw=0)
            top.set(xscale="symlog", title=reader)
            bottom.set(ylim=(0, 1.03), xlabel="training step")
            plain_ticks(bottom.xaxis, (0, 1, 10, 100, 1000))
        grid[0, 0].set_ylabel("loss above the\nleast (nats)")
        grid[1, 0].set_ylabel("bracket F1")
        grid[0, 0].set_ylim(bottom=0)
        grid[1, 0].legend(frameon=False, loc="center left")
        panel_letters(list(grid.ravel()))
        save_figure(finished(figure), path)


def main() -> None:
    """Train what is not there, or put the table together."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["train", "table"])
    parser.add_argument("runs", type=Path, metavar="RUNS")
    parser.add_argument("--readers", nargs="+", choices=READERS, default=READERS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--out", type=Path, metavar="DIR", help=OUT_HELP)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.command == "train":
        train_missing(options)
        return
    with artefacts(options.out, "tree_dynamics") as keep:
        record = recorded(options.runs)
        keep(record)
        print("\n\n".join(tables(record).values()))
    if options.out:
        draw(record, options.out / "tree-dynamics.svg")


def train_missing(options: argparse.Namespace) -> None:
    """Train what is not there yet, and measure what was never trained once per reader."""
    for seed in options.seeds:
        for reader in options.readers:
            run, null = options.runs / reader / f"seed-{seed}", options.runs / reader / "untrained.json"
            if not (run / "trees.json").exists():
                record = train_one(run, reader, seed=seed, steps=options.steps)
                (run / "trees.json").write_text(json.dumps(record) + "\n", encoding="utf-8")
                print(f"{run}: {record['rows'][-1]['loss']:.4f} nats per prediction above the least", flush=True)
            if not null.exists():
                null.write_text(json.dumps(untrained(run, reader)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
