"""How often does a model that was never trained "beat" the random-initialisation null?

    python analyses/false_positives.py [--family gpt2|llama] [--models 20] [--layers 2] [--nulls 5] [--prompts 20]
        [--diagnostics default|all|NAMES]

Each "checkpoint" is itself a fresh draw of the initialiser (width 32, 4 heads, vocabulary 200), its prompts are random
tokens; so every "beats null" is a false alarm. Printed per quantity and in all, for single rows and for trends over depth:
the share of tests that say "beats null", and the share of uncorrected p-values below 0.05.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import transformers
from artefacts import OUT_HELP, artefacts

import rgprobe as rg

VOCABULARY = 200
COUNTS = ["beats", "within", "p_below_5%", "p_values"]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=["gpt2", "llama"], default="gpt2")
    for name, default in (("models", 20), ("layers", 2), ("nulls", 5), ("prompts", 20)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--diagnostics", default="default")
    parser.add_argument("--out", type=Path, metavar="DIR", help=OUT_HELP)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with artefacts(options.out, "false_positives") as keep:
        table = pd.DataFrame([row for seed in range(options.models) for row in verdicts(options, seed)])
        with pd.option_context("display.width", 160, "display.max_rows", None):
            print(rates(table.groupby(["kind", "diagnostic", "quantity"])[COUNTS].sum()))
            print(rates(table.groupby("kind")[COUNTS].sum()))
        total = table[["beats", "within"]].sum()
        alarmed = (table.groupby("seed")["beats"].sum() > 0).mean()
        print(f"all tests: {total['beats'] / total.sum():.2%} beat the null; runs with at least one: {alarmed:.0%}")
        keep(table.to_dict("records"))


def verdicts(options: argparse.Namespace, seed: int) -> Iterator[dict[str, Any]]:
    """One run on one untrained model: verdicts counted per quantity."""
    rng = np.random.default_rng(seed)
    prompts = [torch.from_numpy(rng.integers(4, VOCABULARY, rng.integers(32, 49))) for _ in range(options.prompts)]
    model = untrained(options.family, options.layers, 1000 + seed)
    flow = rg.run(
        model, prompts, nulls=options.nulls, shuffles=0, seed=seed, positions=16, diagnostics=options.diagnostics
    )
    for name in flow.diagnostics:
        node = flow.to_xarray()[name].to_dataset()
        for quantity in node["quantity"].values:
            entry = node.sel(quantity=quantity)
            for kind, prefix in (("row", ""), ("trend", "trend_")):
                words = entry[f"{prefix}verdict"].values.ravel()
                p = entry[f"{prefix}p_value"].sel(null_model="random_init").values.ravel()
                p = p[np.isfinite(p)]
                counts = [(words == "beats null").sum(), (words == "within null").sum(), (p < 0.05).sum(), len(p)]
                yield {
                    "seed": seed,
                    "diagnostic": name,
                    "quantity": quantity,
                    "kind": kind,
                    **dict(zip(COUNTS, counts, strict=True)),
                }


def untrained(family: str, layers: int, seed: int) -> transformers.PreTrainedModel:
    """A model as its own initialiser leaves it."""
    torch.manual_seed(seed)
    if family == "gpt2":
        size = {"n_layer": layers, "n_head": 4, "n_embd": 32, "n_positions": 64, "vocab_size": VOCABULARY}
        config = transformers.GPT2Config(**size, bos_token_id=0, eos_token_id=0)
        return transformers.GPT2LMHeadModel(config).eval()
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": layers}
    config = transformers.LlamaConfig(
        **heads, hidden_size=32, intermediate_size=64, max_position_embeddings=64, vocab_size=VOCABULARY
    )
    return transformers.LlamaForCausalLM(config).eval()


def rates(counts: pd.DataFrame) -> pd.DataFrame:
    """Counts with the two rates."""
    return counts.assign(
        false_alarms=counts["beats"] / (counts["beats"] + counts["within"]),
        uncorrected=counts["p_below_5%"] / counts["p_values"],
    )


if __name__ == "__main__":
    main()
