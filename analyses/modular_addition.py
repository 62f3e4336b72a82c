"""What happens to attention where a network passes from memorising to generalising, and is the passage found?

    python analyses/modular_addition.py train RUNS [--seeds 0 1 2] [--decays 1 0] [--steps 600]
    python analyses/modular_addition.py table RUNS --out DIR

A block of width 64 learns a + b modulo 41, four problems to a line so that rows have keys enough for a temperature. Half of the
sums are never seen in training, a + b and b + a always on the same side. With weight decay 1 the network first fits what
it sees and then, some hundred steps later, gets the sums right that it never saw; without decay it fits and stays there,
which is the null. At 24 checkpoints, evenly spaced in log step, losses, accuracies and the temperature of its heads are
recorded in RUNS/decay-D/seed-S.json; finished runs are left alone. The second command tests every series for an abrupt change
(`rgprobe.diagnostics.changepoint`) and says when each had covered half of its way. Minutes per run on one core.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from artefacts import OUT_HELP, artefacts
from scipy import stats
from torch import nn

import rgprobe as rg
from rgprobe.diagnostics.attention_entropy import attention_entropy
from rgprobe.diagnostics.changepoint import find_changepoints
from rgprobe.diagnostics.temperature import temperature
from rgprobe.models.families import get_family
from rgprobe.models.optimization import update_weights
from rgprobe.models.options import TrainingOptions
from rgprobe.models.sequence_training import FIRST_ID, batch_seed, sequence_ids
from rgprobe.models.training import checkpoint_steps

MODULUS, SHARE, PROBLEMS, PAIRS = 41, 0.5, 4, 300  # sums modulo, share seen, problems per line, pairs per batch
CHECKPOINTS, LINES = 25, 12
SERIES = {
    "train loss": "nats", "test loss": "nats", "train accuracy": "1", "test accuracy": "1", "theta": "1", "entropy": "1",
}  # fmt: skip


def pairs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Ordered pairs that are seen in training, and those that are not; (a, b) and (b, a) stand together."""
    unordered = np.array([(a, b) for a in range(MODULUS) for b in range(a, MODULUS)])
    np.random.default_rng(seed).shuffle(unordered)
    cut = int(SHARE * len(unordered))
    return tuple(
        np.unique(np.concatenate([part, part[:, ::-1]]), axis=0) for part in (unordered[:cut], unordered[cut:])
    )


def lines(known: np.ndarray, count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets of lines of problems a, b, a + b; only sums are predicted."""
    drawn = known[np.random.default_rng(seed).permutation(len(known))[: count // PROBLEMS * PROBLEMS]]
    problems = np.concatenate([drawn, drawn.sum(1, keepdims=True) % MODULUS], 1)
    ids = sequence_ids(problems.reshape(-1, 3 * PROBLEMS))
    targets = ids[:, 1:].clone()
    targets[:, np.arange(3 * PROBLEMS) % 3 != 2] = -100
    return ids[:, :-1], targets


def train_one(seed: int, decay: float, steps: int) -> dict[str, Any]:
    """Train one network and measure it on the way."""
    options = TrainingOptions(
        out=Path(), steps=steps, context=3 * PROBLEMS + 1, layers=1, width=64, heads=4, learning_rate=3e-3, warmup=10,
        weight_decay=decay, seed=seed,
    )  # fmt: skip
    torch.manual_seed(seed)
    sizes = {"context": options.context, "layers": options.layers, "width": options.width, "heads": options.heads}
    model = get_family("standard").build(vocabulary=MODULUS + FIRST_ID, **sizes)
    # decay on everything, embeddings too: they are where sums are memorised
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.learning_rate, betas=(0.9, 0.98), weight_decay=decay)
    seen, unseen = pairs(seed)
    kept, rows = checkpoint_steps(CHECKPOINTS, steps), []
    for step in range(steps + 1):
        if step in kept:
            rows.append({"step": step, **measured(model.eval(), seen, unseen)})
        if step < steps:
            update_weights(model.train(), optimizer, *lines(seen, PAIRS, batch_seed(seed, step)), step, options)
    return {"seed": seed, "decay": decay, "steps": steps, "rows": rows}


@torch.no_grad()
def measured(model: nn.Module, seen: np.ndarray, unseen: np.ndarray) -> dict[str, float]:
    """Losses (nats per sum), accuracies, reduced temperature and entropy of the heads on sums that were not seen."""
    found: dict[str, float] = {}
    for name, part in (("train", seen), ("test", unseen)):
        inputs, targets = lines(part, len(part), seed=1)
        scored = targets >= 0
        logits = model(inputs)[scored]
        found[f"{name} loss"] = float(nn.functional.cross_entropy(logits, targets[scored]))
        found[f"{name} accuracy"] = float((logits.argmax(-1) == targets[scored]).double().mean())
    inputs, _ = lines(unseen, len(unseen), seed=1)
    frozen = copy.deepcopy(model)  # what is loaded gets hooks, and the network trains on
    trace = rg.trace(rg.load(getattr(frozen, "decoder", frozen), device="cpu"), list(inputs[:LINES]), bos="never")
    heads = temperature(trace).values["theta"].isel(sink=0)
    entropy = attention_entropy(trace).values["normalised_entropy"].isel(sink=0)
    return {**found, "theta": float((heads**-2).mean() ** -0.5), "entropy": float(entropy.mean())}


def recorded(runs: Path) -> Iterator[dict[str, Any]]:
    """Finished runs, those that generalise first."""
    for path in sorted(runs.glob("decay-*/seed-*.json"), key=lambda path: (path.parent.name != "decay-1", str(path))):
        yield json.loads(path.read_text("utf-8"))


def summary(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Of each decay and series: first, last, step of half the way, and what the changepoint test says, seed by seed."""
    found: dict[str, Any] = {}
    for decay in dict.fromkeys(record["decay"] for record in records):
        own = [record for record in records if record["decay"] == decay]
        found[f"{decay:g}"] = {name: [series(record["rows"], name) for record in own] for name in SERIES}
    return found


def series(rows: list[dict[str, float]], name: str) -> dict[str, float]:
    """One curve: its ends, where it had covered half of the way, and its most likely abrupt change after step 0."""
    steps, values = (np.array([row[key] for row in rows]) for key in ("step", name))
    change = find_changepoints(values[None, 1:], trend="linear")
    at = 1 + int(change.index[0])
    return {
        "first": values[0], "last": values[-1], "half_way": half_way(steps[1:], values[1:]), "before": int(steps[at - 1]),
        "after": int(steps[at]), "p_value": float(change.p_value[0]),
    }  # fmt: skip


def half_way(steps: np.ndarray, values: np.ndarray) -> float:
    """Step at which a curve first passes the middle between its first and its last value, straight in log step."""
    way = (values - values[0]) / (values[-1] - values[0])
    at = int(np.argmax(way >= 0.5))
    share = (0.5 - way[at - 1]) / (way[at] - way[at - 1])
    return float(np.exp(np.log(steps[at - 1]) * (1 - share) + np.log(steps[at]) * share))


def table(found: dict[str, Any]) -> list[str]:
    """Markdown: means over seeds with 95% intervals; half way as a geometric mean."""
    lines = ["| weight decay | series | at step 0 | at the end | half of the way at step | abrupt change (step, p), by seed |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    for decay, curves in found.items():
        for name, runs in curves.items():
            ends = [mean_and_half([run[end] for run in runs]) for end in ("first", "last")]
            middle = mean_and_half(np.log([run["half_way"] for run in runs]).tolist())
            low, high = np.exp([middle[0] - middle[1], middle[0] + middle[1]])
            changes = "; ".join(f"{run['before']}-{run['after']}, {run['p_value']:.3f}" for run in runs)
            cells = [f"{mean:.3g} ± {half:.2g}" for mean, half in ends]
            lines.append(f"| {decay} | {name} | {' | '.join(cells)} | {np.exp(middle[0]):.0f} ({low:.0f} to {high:.0f}) "
                         f"| {changes} |")  # fmt: skip
    return lines


def mean_and_half(values: list[float]) -> tuple[float, float]:
    """Mean over seeds and half its 95% t interval."""
    drawn = np.asarray(values, dtype=float)
    if len(drawn) < 2:
        return float(drawn.mean()), float("nan")
    return float(drawn.mean()), float(stats.t.ppf(0.975, len(drawn) - 1) * drawn.std(ddof=1) / np.sqrt(len(drawn)))


def draw(records: list[dict[str, Any]], path: Path) -> None:
    """Loss on seen and unseen sums, and temperature, against step; one column per weight decay."""
    from rgprobe.plots.paper.style import DOUBLE, finished, panel_letters, paper_figure, paper_style

    decays = list(dict.fromkeys(record["decay"] for record in records))
    with paper_style():
        figure = paper_figure(DOUBLE, 2.9)
        grid = figure.subplots(2, len(decays), sharex=True, sharey="row", squeeze=False)
        for record in records:
            top, bottom = grid[:, decays.index(record["decay"])]
            steps = [row["step"] for row in record["rows"]][1:]
            first = record["seed"] == min(each["seed"] for each in records)
            for axes, names in ((top, ("train loss", "test loss")), (bottom, ("theta",))):
                for name, colour in zip(names, ("#1f6fb2", "#c4552d"), strict=False):
                    values = [row[name] for row in record["rows"]][1:]
                    axes.plot(steps, values, color=colour, lw=0.9, label=name if first else None)
            top.set(xscale="log", title=f"weight decay {record['decay']:g}")
            bottom.set_xlabel("training step")
        grid[0, 0].set_ylabel("loss (nats)")
        grid[1, 0].set_ylabel("reduced\ntemperature (1)")
        grid[1, 0].set_yscale("log")
        grid[0, 0].legend(frameon=False)
        panel_letters(list(grid.ravel()))
        path.parent.mkdir(parents=True, exist_ok=True)
        finished(figure).savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> None:
    """Train what is not there, or put the table together."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["train", "table"])
    parser.add_argument("runs", type=Path, metavar="RUNS")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--decays", type=float, nargs="+", default=[1.0, 0.0])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--out", type=Path, metavar="DIR", help=OUT_HELP)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.command == "table":
        with artefacts(options.out, "modular_addition") as keep:
            records = list(recorded(options.runs))
            keep(records)
            print("\n".join(table(summary(records))))
        if options.out:
            draw(records, options.out / "modular-addition.svg")
        return
    for seed in options.seeds:
        for decay in options.decays:
            path = options.runs / f"decay-{decay:g}" / f"seed-{seed}.json"
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                record = train_one(seed, decay, options.steps)
                path.write_text(json.dumps(record) + "\n", encoding="utf-8")
                print(f"{path}: {record['rows'][-1]}", flush=True)


if __name__ == "__main__":
    main()
