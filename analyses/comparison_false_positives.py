"""How often are models that were never trained called different by a comparison?

    python analyses/comparison_false_positives.py [--models 24] [--layers 2] [--nulls 5] [--prompts 20] [--mixed]

The models are fresh draws of an initialiser (GPT-2 of width 32; with --mixed, GPT-2 against Llama), which read the same
random tokens. They are compared in three ways, and for each the share of verdicts that name a winner is printed, by depth, by
mean over depth and by trend:

  values, pairs      two checkpoints, paired over prompts: initialisations do differ, and a true difference is no false alarm
  beyond null, pairs the same after each one's random initialisations are subtracted: every verdict is a false alarm
  values, seeds      three checkpoints against three, Welch over checkpoints: a false alarm unless --mixed
  beyond null, seeds the same after each one's random initialisations are subtracted: a false alarm
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from artefacts import OUT_HELP, artefacts
from false_positives import VOCABULARY, untrained

import rgprobe as rg

GROUP = 3
READINGS = {"depth": "", "mean": "level_", "trend": "trend_"}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("models", 24), ("layers", 2), ("nulls", 5), ("prompts", 20)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--mixed", action="store_true", help="GPT-2 against Llama instead of GPT-2 against itself")
    parser.add_argument("--out", type=Path, metavar="DIR", help=OUT_HELP)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with artefacts(options.out, "comparison_false_positives") as keep:
        sides = [list(flows(options, side)) for side in range(2)]
        rows = [row for first, second in zip(*sides, strict=True) for row in verdicts("pairs", first, second)]
        for start in range(0, options.models // 2 - GROUP + 1, GROUP):
            rows += verdicts("seeds", *(side[start : start + GROUP] for side in sides))
        table = (
            pd.DataFrame(rows)
            .groupby(["of", "between", "reading"])[["named", "tested", "p_below_5%", "p_values"]]
            .sum()
        )
        table["false_alarms"] = table["named"] / table["tested"]
        table["uncorrected"] = table["p_below_5%"] / table["p_values"]
        with pd.option_context("display.width", 160, "display.max_rows", None):
            print(table)
        keep(table.reset_index().to_dict("records"))


def flows(options: argparse.Namespace, side: int) -> Iterator[rg.RGFlow]:
    """Half of the models, measured on the same prompts as the other half, with nulls of their own."""
    rng = np.random.default_rng(0)
    prompts = [torch.from_numpy(rng.integers(4, VOCABULARY, rng.integers(32, 49))) for _ in range(options.prompts)]
    family = "llama" if options.mixed and side else "gpt2"
    for index in range(options.models // 2):
        seed = 2 * index + side
        model = untrained(family, options.layers, 5000 + seed)
        yield rg.run(model, prompts, nulls=options.nulls, shuffles=0, seed=seed, positions=16)


def verdicts(
    between: str, first: rg.RGFlow | Sequence[rg.RGFlow], second: rg.RGFlow | Sequence[rg.RGFlow]
) -> list[dict]:
    """Verdicts of one comparison, counted by what they are of and how depth is read."""
    comparison = rg.compare({"first": first, "second": second})
    rows = []
    for name in comparison.diagnostics:
        node = comparison.to_xarray()[name].to_dataset()
        for reading, prefix in READINGS.items():
            for of, kind in (("values", ""), ("beyond null", "excess_")):
                here = node.sel(null_model="random_init") if kind else node
                words = here[f"{prefix}{kind}verdict"].values.ravel()
                p = here[f"{prefix}{kind}p_value"].values.ravel()
                named = sum(" above " in word for word in words)
                tested = named + sum(word == "no difference found" for word in words)
                finite = p[np.isfinite(p)]
                rows.append({"of": of, "between": between, "reading": reading, "named": named, "tested": tested,
                             "p_below_5%": int((finite < 0.05).sum()), "p_values": len(finite)})  # fmt: skip
    return rows


if __name__ == "__main__":
    main()
