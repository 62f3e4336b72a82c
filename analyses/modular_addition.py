"""What happens to attention where a network passes from memorising to generalising, and is the passage found?

    python analyses/modular_addition.py train RUNS [--seeds 0 1 2] [--decays 1 0] [--steps 2500]
    python analyses/modular_addition.py table RUNS --out DIR

A block of width 64 learns a + b modulo 37, four problems to a line so that rows have keys enough for a temperature. Half of the
sums are never seen in training, a + b and b + a always on the same side. With weight
decay 1 the network first fits what it sees and then, some hundred steps later, gets the sums right that it never saw; without
decay it fits and stays there, which is the null. At 24 checkpoints, evenly spaced in log step, losses, accuracies and the
temperature of its heads are recorded in RUNS/decay-D/seed-S.json; finished runs are left alone. The second command tests every
series for an abrupt change (`rgprobe.diagnostics.changepoint`), says when each had covered half of its way, and what of that
the runs without decay do as well. A minute or two per run on one core.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dynamics_answers as answers
import numpy as np
import torch
from artefacts import OUT_HELP, artefacts, save_figure
from dynamics_answers import over_seeds
from dynamics_tables import COLOURS, markdown, plain_ticks, spoken
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
from rgprobe.nulls import benjamini_hochberg

MODULUS, SHARE, PROBLEMS, PAIRS = 37, 0.5, 4, 340  # sums modulo, share seen, problems per line, pairs per batch
CHECKPOINTS, LINES = 25, 12
DECAYS = (1.0, 0.0)
MEMORISED = 0.99  # train accuracy
SERIES = {
    "train loss": "nats", "test loss": "nats", "train accuracy": "1", "test accuracy": "1", "theta": "1", "entropy": "1",
}  # fmt: skip
LOGARITHMIC = ("theta",)
ORDER = (("test accuracy", "train accuracy"), ("theta", "train accuracy"), ("entropy", "train accuracy"),
         ("theta", "test accuracy"), ("entropy", "test accuracy"))  # fmt: skip


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
            # the rate stays at its peak after the warm-up: decay has to press at the end as it does in the beginning
            batch = lines(seen, PAIRS, batch_seed(seed, step))
            update_weights(model.train(), optimizer, *batch, min(step, options.warmup), options)
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


def curve(record: dict[str, Any], name: str) -> np.ndarray:
    """One series along the checkpoints; temperatures in logarithms, because they fall over two decades."""
    values = np.array([row[name] for row in record["rows"]])
    return np.log(values) if name in LOGARITHMIC else values


def changed(records: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The most likely abrupt change of every series after step 0, by series and run; significance over all of them."""
    found = []
    for name in SERIES:
        change = find_changepoints(np.stack([curve(record, name)[1:] for record in records]), trend="linear")
        steps = [[row["step"] for row in record["rows"]][1:] for record in records]
        found.append([{"before": own[at - 1], "after": own[at], "p_value": float(p)}
                      for own, at, p in zip(steps, change.index, change.p_value, strict=True)])  # fmt: skip
    kept = benjamini_hochberg(np.array([[each["p_value"] for each in row] for row in found]))
    for row, flags in zip(found, kept, strict=True):
        for each, flag in zip(row, flags, strict=True):
            each["significant"] = bool(flag)
    return found


def passage(record: dict[str, Any]) -> tuple[int, int]:
    """Checkpoints around the passage: test accuracy goes from a quarter to three quarters of what it gains after memorising."""
    known, unseen = (np.array([row[f"{part} accuracy"] for row in record["rows"]]) for part in ("train", "test"))
    memorised = int(np.argmax(known >= MEMORISED))
    way = (unseen[memorised:] - unseen[memorised]) / (unseen[-1] - unseen[memorised])
    last, first = int(np.argmax(way >= 0.25)) - 1, int(np.argmax(way >= 0.75))
    return memorised + max(last, 0), memorised + first


def half_way(record: dict[str, Any], name: str) -> float:
    """Step at which half of the way was covered; NaN where a curve ends nearer to where it began than it has been."""
    values = curve(record, name)
    if abs(values[-1] - values[0]) <= 0.5 * np.ptp(values):
        return float("nan")
    return answers.half_way([row["step"] for row in record["rows"]], values)


def tables(records: list[dict[str, Any]]) -> dict[str, str]:
    """Markdown by name: the curves, who is first, and the passage beside the same steps without decay."""
    return {"sums": curves_table(records), "order": order_table(records), "passage": passage_table(records)}


def with_decay(records: list[dict[str, Any]], decay: float) -> list[dict[str, Any]]:
    """Runs of one decay, in the order of seeds."""
    return sorted((record for record in records if record["decay"] == decay), key=lambda record: record["seed"])


def curves_table(records: list[dict[str, Any]]) -> str:
    """Ends of every series, when half of the way was covered, and what the test for an abrupt change says."""
    changes, rows = changed(records), []
    for decay in DECAYS:
        for name, found in zip(SERIES, changes, strict=True):
            own = [(record, each) for record, each in zip(records, found, strict=True) if record["decay"] == decay]
            ends = [spoken(over_seeds([record["rows"][at][name] for record, _ in own])) for at in (0, -1)]
            halves = [half_way(record, name) for record, _ in own]
            middle = ", ".join("-" if np.isnan(step) else f"{step:.0f}" for step in halves)
            words = (f"{e['before']}-{e['after']}, {e['p_value']:.4f}{'*' if e['significant'] else ''}" for _, e in own)
            rows.append([f"{decay:g}", f"{name} ({SERIES[name]})", *ends, middle, "; ".join(words)])
    head = ["weight decay", "series", "at step 0", "at the end", "half of the way at step, by seed",
            "abrupt change (between steps, p), by seed"]  # fmt: skip
    return markdown(head, rows)


def order_table(records: list[dict[str, Any]]) -> str:
    """Ratios of the steps at which half of the way was covered, with decay."""
    own, rows = with_decay(records, 1.0), []
    for later, sooner in ORDER:
        ratios = np.log([half_way(record, later) / half_way(record, sooner) for record in own])
        rows.append([f"{later} / {sooner}", spoken([float(np.exp(x)) for x in over_seeds(ratios.tolist())], 2)])
    return markdown(["half of the way, weight decay 1", "ratio of steps"], rows)


def passage_table(records: list[dict[str, Any]]) -> str:
    """What changes during the passage, and over the same steps without decay."""
    own, null, rows = with_decay(records, 1.0), with_decay(records, 0.0), []
    windows = [passage(record) for record in own]
    steps = [row["step"] for row in own[0]["rows"]]
    for name in SERIES:
        gained = [[curve(record, name)[b] - curve(record, name)[a] for record, (a, b) in zip(side, windows, strict=True)]
                  for side in (own, null)]  # fmt: skip
        paired = over_seeds(np.subtract(*gained).tolist())
        label = f"ln {name}" if name in LOGARITHMIC else f"{name} ({SERIES[name]})"
        rows.append([label, *(spoken(over_seeds(each), sign=True) for each in gained), spoken(paired, sign=True),
                     "no" if paired[1] <= 0 <= paired[2] else "yes"])  # fmt: skip
    words = ", ".join(f"{steps[a]}-{steps[b]}" for a, b in windows)
    head = [
        f"change over steps {words}",
        "weight decay 1",
        "without, same steps",
        "difference, paired by seed",
        "differ",
    ]
    return markdown(head, rows)


def draw(records: list[dict[str, Any]], path: Path) -> None:
    """Accuracy on seen and unseen sums, and temperature and entropy, against step; one column per weight decay."""
    from rgprobe.plots.paper.style import DOUBLE, finished, panel_letters, paper_figure, paper_style

    panels = ((("train accuracy", "test accuracy"), "accuracy"), (("theta",), "reduced\ntemperature (1)"),
              (("entropy",), "normalised\nentropy (1)"))  # fmt: skip
    with paper_style():
        figure = paper_figure(DOUBLE, 4.2)
        grid = figure.subplots(len(panels), len(DECAYS), sharex=True, sharey="row", squeeze=False)
        for record in records:
            column = grid[:, DECAYS.index(record["decay"])]
            steps = [row["step"] for row in record["rows"]]
            for axes, (names, _) in zip(column, panels, strict=True):
                for name, colour in zip(names, (COLOURS["standard"], COLOURS["gauge"]), strict=False):
                    values = [row[name] for row in record["rows"]]
                    axes.plot(steps, values, color=colour, lw=0.9, label=name if record["seed"] == 0 else None)
                axes.set(xscale="symlog")
            column[0].set(title=f"weight decay {record['decay']:g}", ylim=(0, 1.03))
            column[-1].set_xlabel("training step")
            plain_ticks(column[-1].xaxis, (0, 1, 10, 100, 1000))
        for axes, (_, title) in zip(grid[:, 0], panels, strict=True):
            axes.set_ylabel(title)
        grid[1, 0].set_yscale("log")
        plain_ticks(grid[1, 0].yaxis, (0.1, 1, 10, 100))
        grid[0, 0].legend(frameon=False)
        panel_letters(list(grid.ravel()))
        save_figure(finished(figure), path)


def main() -> None:
    """Train what is not there, or put the table together."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["train", "table"])
    parser.add_argument("runs", type=Path, metavar="RUNS")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--decays", type=float, nargs="+", default=DECAYS)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--out", type=Path, metavar="DIR", help=OUT_HELP)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.command == "table":
        with artefacts(options.out, "modular_addition") as keep:
            records = list(recorded(options.runs))
            keep(records)
            for name, table in tables(records).items():
                print(f"{name}\n\n{table}\n")
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
