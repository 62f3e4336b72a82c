"""What does training do to the flow, and does it do the same to both families?

    python analyses/training_dynamics.py measure RUNS [--prompts 8]
    python analyses/training_dynamics.py table RUNS --out DIR

RUNS holds a folder per family, with a training run per seed in each: RUNS/standard/seed-0, RUNS/gauge/seed-0, ..., all by
`rgprobe train --family F --seed S --checkpoints 13` with equal options. The first command sweeps every checkpoint on held-out
passages, and measures how far weights and attention have moved, how far the output distributions of all runs lie apart, and
whether scores moved along gradients. Everything lands in RUNS/dynamics, and what is there is not measured again. The second
answers, with intervals over seeds: does the temperature fall, do heads pass from exploration to condensed, is any change
abrupt, do the families do the same, is motion diffusive, do all runs flow to one output end, do updates follow the natural
gradient. A minute of CPU time per run.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import dynamics_answers as answers
import dynamics_tables as tables
import numpy as np
import torch
import xarray as xr
from artefacts import OUT_HELP, artefacts

import rgprobe as rg
from rgprobe import categorical
from rgprobe.data import load_prompts
from rgprobe.diagnostics.displacement import displacement_exponent
from rgprobe.models.optimization import learning_rate
from rgprobe.models.options import TrainingOptions
from rgprobe.sweeping import (
    alignment_with_gradients,
    attention_displacement,
    open_sweep,
    weight_displacement,
)
from rgprobe.sweeping.trajectory import changes, trajectories

FAMILIES = ("standard", "gauge")
DIAGNOSTICS = "temperature,attention_entropy,attention_distance,elimination,plateau,consensus,collapse,condensation"
SHORT = 3  # prompts of what compares whole patterns or distributions
SPACING, FIRST = 4, 16  # output distributions are compared at every fourth token from the sixteenth on


def main() -> None:
    """Measure, or put the answers together."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["measure", "table"])
    parser.add_argument("runs", type=Path, metavar="RUNS")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--out", type=Path, metavar="DIR", help=OUT_HELP)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.command == "measure":
        measure(options.runs, load_prompts("held_out")[: options.prompts])
        return
    with artefacts(options.out, "training_dynamics") as keep:
        record = answered(options.runs)
        keep(record)
        for name, table in tables.tables(record).items():
            print(f"{name}\n\n{table}\n")
    if options.out:
        tables.draw(record, options.out / "training-dynamics.svg")


def runs_of(folder: Path) -> dict[tuple[str, int], Path]:
    """Finished training runs by family and seed."""
    return {
        (family, int(path.name.removeprefix("seed-"))): path
        for family in FAMILIES
        for path in sorted((folder / family).glob("seed-*"))
        if (path / "training.json").exists()
    }


def measure(folder: Path, prompts: list[str]) -> None:
    """Everything that needs the models."""
    runs, place = runs_of(folder), folder / "dynamics"
    rg.sweep(list(runs.values()), {"held-out": prompts}, out=place, nulls=0, positions=16, diagnostics=DIAGNOSTICS,
             device="cpu", on_progress=lambda done, count, what: print(f"{done}/{count} {what}", flush=True))  # fmt: skip
    _remember(place / "ends.nc", lambda: output_ends(runs, prompts[:SHORT]))
    kinds = {
        "weights": weight_displacement,
        "updates": lambda path: alignment_with_gradients(path, prompts[:SHORT], tokens=48, device="cpu"),
        "attention": lambda path: attention_displacement(path, prompts[:SHORT], device="cpu"),
    }
    for kind, compute in kinds.items():
        for (family, seed), path in sorted(runs.items(), key=lambda run: run[0][1]):
            _remember(place / f"{kind}-{family}-{seed}.nc", lambda path=path, compute=compute: compute(path))


def _remember(path: Path, compute: Callable[[], xr.Dataset]) -> None:
    if not path.exists():
        found = compute()
        found.to_netcdf(path.with_suffix(".part"), engine="h5netcdf")
        path.with_suffix(".part").rename(path)
        print(path.name, flush=True)


def output_ends(runs: dict[tuple[str, int], Path], prompts: list[str]) -> xr.Dataset:
    """Jeffreys divergence between the predictions of all pairs of runs at equal steps, nats per token.

    `apart` (step, pair) is at the same tokens; `elsewhere` compares predictions at tokens of different prompts, what two
    models that know only how frequent words are would have; `loss` (step, run) is the held-out loss at the compared tokens.
    """
    steps = [
        int(path.name.removeprefix("step-")) for path in sorted((next(iter(runs.values())) / "checkpoints").iterdir())
    ]
    pairs = list(combinations(range(len(runs)), 2))
    apart, elsewhere, loss = [], [], []
    for step in steps:
        predicted = [_predictions(path / "checkpoints" / f"step-{step:06d}", prompts) for path in runs.values()]
        log_p = [each for each, _ in predicted]
        loss.append([value for _, value in predicted])
        apart.append([float(categorical.jeffreys(log_p[a], log_p[b]).mean()) for a, b in pairs])
        half = len(log_p[0]) // 2
        elsewhere.append([float(categorical.jeffreys(log_p[a], log_p[b].roll(half, 0)).mean()) for a, b in pairs])
    names = [f"{family}-{seed}" for family, seed in runs]
    return xr.Dataset(
        {"apart": (("step", "pair"), apart), "elsewhere": (("step", "pair"), elsewhere), "loss": (("step", "run"), loss)},
        {"step": steps, "run": names, "first": ("pair", [names[a] for a, _ in pairs]),
         "second": ("pair", [names[b] for _, b in pairs])},
    )  # fmt: skip


def _predictions(checkpoint: Path, prompts: list[str]) -> tuple[torch.Tensor, float]:
    probe = rg.load(checkpoint, device="cpu")
    rows, losses = [], []
    for prompt in probe.encode(prompts):
        log_p = probe.logits(prompt.ids).double().log_softmax(-1)
        at = torch.arange(FIRST, len(prompt.ids) - 1, SPACING)
        rows.append(log_p[at])
        losses.append(-log_p[at].gather(-1, prompt.ids[at + 1][:, None]))
    return torch.cat(rows), float(torch.cat(losses).mean())


def answered(folder: Path) -> dict[str, Any]:
    """All numbers of the page, from what was measured."""
    place, runs = folder / "dynamics", runs_of(folder)
    options = TrainingOptions(out=folder, **_options_of(next(iter(runs.values()))))
    rates = np.array([learning_rate(step, options) for step in range(options.steps)])
    swept = open_sweep(place)
    data = swept.to_xarray()
    order = [f"{family}/seed-{seed}" for family, seed in runs]
    curves = {
        f"{node}: {quantity}": _by_family(trajectories(data[node].to_dataset(), str(quantity))["value"], order)
        for node in data.children
        for quantity in data[node]["quantity"].values
    }
    temperatures = data["temperature"]["value"].isel(sink=0).sel(run=order)
    theta, theta_entropy = (temperatures.sel(quantity=name) for name in ("theta", "theta_entropy"))
    kinds = {kind: _measured(place, kind, runs) for kind in ("weights", "attention", "updates")}
    moved = {kind: kinds[kind] for kind in ("weights", "attention") if kinds[kind]}
    steps = [int(step) for step in theta["step"].values]
    return {
        "steps": steps,
        "seeds": sorted({seed for _, seed in runs}),
        "units": {f"{node}: {q}": str(data[node]["units"].sel(quantity=q).values)
                  for node in data.children for q in data[node]["quantity"].values},
        "curves": curves,
        "heads": _heads(theta, runs),
        "heads_by_entropy": _heads(theta_entropy, runs),
        "changes": json.loads(changes(swept).to_json(orient="records")),
        "false_alarms": answers.false_alarms(len(steps)),
        "motion": answers.motion(moved, rates, displacement_exponent),
        "ends": answers.ends(xr.load_dataset(place / "ends.nc", engine="h5netcdf")),
        "updates": answers.updates(kinds["updates"]),
    }  # fmt: skip


def _measured(place: Path, kind: str, runs: dict[tuple[str, int], Path]) -> dict[tuple[str, int], xr.Dataset]:
    """What there is of one kind, run by run."""
    paths = {key: place / f"{kind}-{key[0]}-{key[1]}.nc" for key in runs}
    return {key: xr.load_dataset(path, engine="h5netcdf") for key, path in paths.items() if path.exists()}


def _options_of(run: Path) -> dict[str, Any]:
    """What of a run's options decides its learning rates."""
    record = json.loads((run / "training.json").read_text("utf-8"))
    kept = record.get("options", record)
    return {name: kept[name] for name in ("steps", "learning_rate", "warmup") if name in kept}


def _by_family(values: xr.DataArray, order: list[str]) -> dict[str, list[list[float]]]:
    """Seeds by steps, for each family."""
    return {
        family: [[float(x) for x in values.sel(run=run).values] for run in order if run.startswith(family)]
        for family in FAMILIES
    }


def _heads(theta: xr.DataArray, runs: dict[tuple[str, int], Path]) -> dict[str, list[Any]]:
    """Reduced temperature by family: seed, step, block, head."""
    values = theta.transpose("run", "step", "block", "head").values
    families = np.array([family for family, _ in runs])
    return {family: np.round(values[families == family], 4).tolist() for family in FAMILIES}


if __name__ == "__main__":
    main()
