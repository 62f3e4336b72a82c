"""Is the gauge model as good a language model as its standard twin, and which of its parts matter?

    python analyses/matched_pair.py RUNS [--only pair|ablations|characters] [--workers 2]

Trains whatever is not yet finished under RUNS, one thread per run, an interrupted run from where it stopped, and prints
RUNS/summary.json as the tables of docs/matched-pair.md. Equal data, batches, steps and optimizer; parameters are counted.

- pair: both families with seeds 0, 1, 2 at the shipped size and length, and the standard model with the gauge model's
  log-prior over keys, so that the comparison does not credit divergences with what the prior does.
- ablations: one part of the gauge model changed at a time; seed 0, a third of the steps.
- characters: 4 layers of width 128, context 64, 2,000 steps of 12 windows.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from rgprobe.models.options import TrainingOptions
from rgprobe.models.training import train

SEEDS = (0, 1, 2)
STEPS = 3000
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


def runs(root: Path) -> Iterator[tuple[str, TrainingOptions]]:
    """Every run with the group it belongs to, the most telling first."""
    common = TrainingOptions(out=root, precision="bfloat16", steps=STEPS)
    twins: Mapping[str, dict[str, Any]] = {
        "standard": {"family": "standard"},
        "gauge": {"family": "gauge"},
        "standard with log-prior": {"family": "gauge", "settings": WITH_PRIOR},
    }
    for seed in SEEDS:
        for name, choice in twins.items():
            yield "pair", replace(common, out=root / "pair" / _slug(name) / f"seed-{seed}", seed=seed, **choice)
    third = replace(common, steps=STEPS // 3)
    yield "ablations", replace(third, out=root / "ablations" / "standard", family="standard")
    for name, settings in ABLATIONS.items():
        yield "ablations", replace(third, out=root / "ablations" / _slug(name), family="gauge", settings=settings)
    small = {"level": "character", "layers": 4, "heads": 8, "context": 64, "batch": 12, "steps": 2000}
    for name, choice in twins.items():
        yield "characters", replace(common, out=root / "characters" / _slug(name), **choice, **small)


def main() -> None:
    """Train what is missing, then summarise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, metavar="RUNS")
    parser.add_argument("--only", choices=["pair", "ablations", "characters"])
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    chosen = [options for group, options in runs(arguments.root) if arguments.only in (None, group)]
    missing = [options for options in chosen if not (options.out / "training.json").exists()]
    with get_context("spawn").Pool(arguments.workers) as pool:
        for finished in pool.imap_unordered(_train, missing, chunksize=1):
            print(finished, flush=True)
    summary = summarise(arguments.root)
    (arguments.root / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


def summarise(root: Path) -> dict[str, dict[str, Any]]:
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


def _train(options: TrainingOptions) -> str:
    torch.set_num_threads(1)
    result = train(replace(options, resume=True))
    return f"{options.out}: {result.n_parameters:,} parameters"


def _slug(name: str) -> str:
    return name.replace(" ", "-").replace("(", "").replace(")", "")


if __name__ == "__main__":
    main()
