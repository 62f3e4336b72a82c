"""Is the gauge model as good a language model as its standard twin, and which of its parts matter?

    python analyses/matched_pair.py RUNS [--only pair|ablations|rates|characters] [--workers 2]
    python analyses/matched_pair.py RUNS --step-time
    python analyses/matched_pair.py RUNS --by-position
    python analyses/matched_pair.py RUNS --table

The first trains whatever is not yet finished under RUNS, one thread per run and an interrupted run from where it stopped,
and writes RUNS/summary.json; the second times training steps of both families in turns and adds them to the summary (leave
the machine alone meanwhile); the third adds the losses of the pair by place in the context (`position_losses.py`); the last
prints the tables of docs/matched-pair.md. Equal data, batches, steps and optimizer.

- pair: both families with seeds 0, 1, 2 at the shipped size and length; the standard model with the gauge model's log-prior
  over keys, and with its successor values as well, so that the comparison does not credit divergences with what these do; and
  the gauge model without successor values.
- ablations: one part of the gauge model changed at a time; seed 0, a third of the steps.
- rates: both families at other peaks of the learning rate, so that neither is judged at a rate that suits the other; seed 0, a
  third of the steps.
- characters: the three of the pair again, 4 layers of width 128, context 64, 2,000 steps of 12 windows.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from position_losses import by_position
from scipy import stats

from rgprobe.models.families import get_family
from rgprobe.models.optimization import build_optimizer, optimize_step
from rgprobe.models.options import TrainingOptions
from rgprobe.models.training import train

SEEDS = (0, 1, 2)
STEPS = 2000
# The standard model in the gauge model's parts: dot products, rotary frames, a token sees itself, the full feed-forward width
STANDARD = ("attention=dot", "frames=rotary", "d_mlp=512")
WITH_PRIOR = (*STANDARD, "include_self=true")
ABLATIONS = {
    "none": (),
    "uniform attention": ("attention=uniform",),
    "no log-prior": ("log_prior=false",),
    "no global frame": ("global_frame=false",),
    "frames of position only": ("frames=rotary",),
    "no frames": ("frames=none",),
    "isotropic covariance": ("covariance=isotropic",),
    "full covariance": ("covariance=full",),
    "no state-dependent precision": ("state_dependent_precision=false",),
    "own values only": ("successor_values=false",),
    "a token sees itself": ("include_self=true",),
    "free-energy descent (vfe)": ("update=vfe",),
    "KL readout": ("decode=kl",),
    "standard twin with log-prior": WITH_PRIOR,
    "standard twin with log-prior and successor values": STANDARD,
}
RATES = (0.001, 0.006)  # beside the 0.003 of all others
LABELS = {"ablations/none": "gauge, nothing changed"}


def runs(root: Path) -> Iterator[tuple[str, TrainingOptions]]:
    """Every run with the group it belongs to."""
    common = TrainingOptions(out=root, precision="bfloat16", steps=STEPS)
    twins: Mapping[str, dict[str, Any]] = {
        "standard": {"family": "standard"},
        "gauge": {"family": "gauge"},
        "standard with log-prior": {"family": "gauge", "settings": WITH_PRIOR},
    }
    # what the other family gains by the successor values of the gauge model, and what is left of it without them
    controls: Mapping[str, dict[str, Any]] = {
        "standard with log-prior and successors": {"family": "gauge", "settings": STANDARD},
        "gauge without successors": {"family": "gauge", "settings": ("successor_values=false",)},
    }
    for seed in SEEDS:
        for name, choice in (twins | controls).items():
            yield "pair", replace(common, out=root / "pair" / _slug(name) / f"seed-{seed}", seed=seed, **choice)
    third = replace(common, steps=STEPS // 3)
    yield "ablations", replace(third, out=root / "ablations" / "standard", family="standard")
    for name, settings in ABLATIONS.items():
        yield "ablations", replace(third, out=root / "ablations" / _slug(name), family="gauge", settings=settings)
    for rate in RATES:
        for family in ("standard", "gauge"):
            out = root / "rates" / family / f"{rate:g}"
            yield "rates", replace(third, out=out, family=family, learning_rate=rate)
    small = {"level": "character", "layers": 4, "heads": 8, "context": 64, "batch": 12}
    for seed in SEEDS:
        for name, choice in twins.items():
            out = root / "characters" / _slug(name) / f"seed-{seed}"
            yield "characters", replace(common, out=out, seed=seed, **choice, **small)


def main() -> None:
    """Train what is missing and summarise, or time steps, or print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, metavar="RUNS")
    parser.add_argument("--only", choices=["pair", "ablations", "rates", "characters"])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--step-time", action="store_true")
    parser.add_argument("--by-position", action="store_true")
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    path = arguments.root / "summary.json"
    summary: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    if arguments.table:
        print("\n\n".join(tables(summary)))
        return
    if arguments.step_time:
        summary["step_seconds"] = step_seconds()
    elif arguments.by_position:
        torch.set_num_threads(1)
        summary["by_position"] = by_position(pair_checkpoints(arguments.root))
    else:
        train_missing(arguments.root, arguments.only, arguments.workers)
        summary["runs"] = finished_runs(arguments.root)
    path.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


def train_missing(root: Path, only: str | None, workers: int) -> None:
    """Train the runs of a group, or of all, that have not finished."""
    chosen = [options for group, options in runs(root) if only in (None, group)]
    missing = [options for options in chosen if not (options.out / "training.json").exists()]
    with get_context("spawn").Pool(workers) as pool:
        for finished in pool.imap_unordered(_train, missing, chunksize=1):
            print(finished, flush=True)


def pair_checkpoints(root: Path) -> dict[str, list[Path]]:
    """Those of the pair and its controls that are finished, by group."""
    found: dict[str, list[Path]] = {}
    for group, options in runs(root):
        if group == "pair" and (options.out / "training.json").exists():
            found.setdefault(options.out.parent.name.replace("-", " "), []).append(options.out)
    return found


def finished_runs(root: Path) -> dict[str, dict[str, Any]]:
    """What each finished run recorded: steps, parameters, losses."""
    found = {}
    for _, options in runs(root):
        path = options.out / "training.json"
        if path.exists():
            record = json.loads(path.read_text("utf-8"))
            found[options.out.relative_to(root).as_posix()] = {
                "steps": options.steps,
                "n_parameters": record["n_parameters"],
                "settings": list(options.settings),
                "validation": record["validation"]["nats_per_token"],
                "test": record["test_all"]["nats_per_token"],
                "test_bits_per_character": record["test_all"]["bits_per_character"],
            }
    return found


def step_seconds(rounds: int = 15) -> dict[str, dict[str, float]]:
    """Median process time of one training step at the shipped size, one thread, families and precisions in turns."""
    torch.set_num_threads(1)
    stream = np.random.default_rng(0).integers(2, 2048, 100_000)
    trained = {}
    for family in ("standard", "gauge"):
        for precision in ("float32", "bfloat16"):
            options = TrainingOptions(out=Path("unused"), family=family, precision=precision)
            sizes = {name: getattr(options, name) for name in ("vocabulary", "context", "layers", "width", "heads")}
            model = get_family(family).build(**sizes)
            trained[family, precision] = (model, build_optimizer(model, options), options)
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in trained}
    for step in range(rounds + 2):
        for key, (model, optimizer, options) in trained.items():
            start = time.process_time()
            optimize_step(model, optimizer, stream, step, options)
            seconds[key].append(time.process_time() - start)
    medians = {key: median(times[2:]) for key, times in seconds.items()}  # the first two warm up
    return {
        precision: {family: round(medians[family, precision], 4) for family in ("standard", "gauge")}
        for precision in ("float32", "bfloat16")
    }


def tables(summary: dict[str, Any]) -> Iterator[str]:
    """Markdown: the pair, its differences, the ablations, the character level, and the time of a step."""
    found = summary["runs"]
    yield from _seeds_tables(_grouped(found, "pair"), "pair, nats per token")
    yield _markdown(
        ["ablations", "parameters", "validation loss", "test loss"],
        [_ablation_row(key, run) for key, run in found.items() if key.startswith("ablations")],
    )
    if any(key.startswith("rates/") for key in found):
        yield _rates_table(found)
    yield from _seeds_tables(_grouped(found, "characters"), "characters, nats per character")
    if "by_position" in summary:
        yield _position_table(summary["by_position"])
    if "step_seconds" in summary:
        yield _markdown(
            ["a training step, seconds", "standard", "gauge", "ratio"],
            [
                [name, f"{times['standard']:.3f}", f"{times['gauge']:.3f}", f"{times['gauge'] / times['standard']:.2f}"]
                for name, times in summary["step_seconds"].items()
            ],
        )


def _grouped(found: dict[str, dict[str, Any]], group: str) -> dict[str, dict[str, dict[str, Any]]]:
    grouped: dict[str, dict[str, dict[str, Any]]] = {}
    for key, run in found.items():
        if key.startswith(group):
            _, name, seed = key.split("/")
            grouped.setdefault(name.replace("-", " "), {})[seed] = run
    return grouped


def _seeds_tables(grouped: dict[str, dict[str, dict[str, Any]]], title: str) -> Iterator[str]:
    yield _markdown(
        [title, "parameters", *(f"seed {seed}" for seed in SEEDS), "mean test loss", "bits per character"],
        [_seeds_row(name, runs) for name, runs in grouped.items()],
    )
    yield _markdown(
        ["difference in test loss", "mean", "95% interval"],
        [_difference_row(name, grouped[name], grouped["gauge"]) for name in grouped if name != "gauge"],
    )


def _ablation_row(key: str, run: dict[str, Any]) -> list[str]:
    name = LABELS.get(key, key.split("/")[1].replace("-", " "))
    return [name, f"{run['n_parameters']:,}", f"{run['validation']:.4f}", f"{run['test']:.4f}"]


def _seeds_row(name: str, runs: dict[str, dict[str, Any]]) -> list[str]:
    losses = [f"{runs[f'seed-{seed}']['test']:.4f}" if f"seed-{seed}" in runs else "" for seed in SEEDS]
    mean, bits = (np.mean([run[key] for run in runs.values()]) for key in ("test", "test_bits_per_character"))
    return [name, f"{next(iter(runs.values()))['n_parameters']:,}", *losses, f"{mean:.4f}", f"{bits:.4f}"]


def _difference_row(name: str, other: dict[str, dict[str, Any]], gauge: dict[str, dict[str, Any]]) -> list[str]:
    """Runs of equal seed saw equal batches, so seeds are paired; Student's t over them."""
    seeds = sorted(other.keys() & gauge.keys())
    differences = np.array([gauge[seed]["test"] - other[seed]["test"] for seed in seeds])
    half = (
        stats.t.ppf(0.975, len(seeds) - 1) * differences.std(ddof=1) / np.sqrt(len(seeds)) if len(seeds) > 1 else np.nan
    )
    mean = differences.mean()
    interval = f"{mean - half:+.4f} to {mean + half:+.4f}" if len(seeds) > 1 else "one seed"
    return [f"gauge - {name} ({len(seeds)} seeds)", f"{mean:+.4f}", interval]


def _rates_table(found: dict[str, dict[str, Any]]) -> str:
    """Test loss by peak learning rate; the rate of all other runs is that of their options."""
    usual = TrainingOptions(out=Path("unused")).learning_rate
    rates = sorted([usual, *RATES])
    rows = []
    for family, key in (("standard", "ablations/standard"), ("gauge", "ablations/none")):
        runs_of = {usual: found.get(key), **{rate: found.get(f"rates/{family}/{rate:g}") for rate in RATES}}
        rows.append([family, *("" if (run := runs_of[rate]) is None else f"{run['test']:.4f}" for rate in rates)])
    return _markdown(["test loss by peak learning rate", *(f"{rate:g}" for rate in rates)], rows)


def _position_table(found: dict[str, Any]) -> str:
    """Loss of the first group by place, and what the others add to it."""
    differences = found["differences"]
    head = [
        "tokens before, of test windows",
        found["baseline"],
        *(f"{name} (seeds: {found['seeds'][name]})" for name in differences),
    ]
    rows = [
        [f"{start} to {stop - 1}", f"{found['nats'][k]:.3f}",
         *("{:+.3f} ({:+.3f} to {:+.3f})".format(*each[k]) for each in differences.values())]
        for k, (start, stop) in enumerate(pairwise(found["edges"]))
    ]  # fmt: skip
    return _markdown(head, rows)


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows])


def _train(options: TrainingOptions) -> str:
    torch.set_num_threads(1)
    result = train(replace(options, resume=True))
    return f"{options.out}: {result.n_parameters:,} parameters"


def _slug(name: str) -> str:
    return name.replace(" ", "-").replace("(", "").replace(")", "")


if __name__ == "__main__":
    main()
