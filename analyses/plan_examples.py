"""What `rgprobe plan` foretells for two runs that no small machine makes: many checkpoints of one model, and one big model.

    python analyses/plan_examples.py [--only sweep big] [--out DIR]

The configurations are written here; weights are never made. Seconds of the first are those of this machine's processor, those
of the second follow from FLOPs and bytes on eight devices; memory and disk depend on no machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from artefacts import OUT_HELP, artefacts

from rgprobe.planning import Rates, plan


@dataclass(frozen=True)
class Example:
    """One run.

    Args:
        title: of its column.
        config: of a model of transformers, its class among `architectures`.
        tokens, prompts: of every prompt, and how many.
        weight_bytes: per parameter.
        rates: of another machine; None for this one.
    """

    title: str
    config: transformers.PretrainedConfig
    tokens: int
    prompts: int
    weight_bytes: int = 4
    rates: Rates | None = field(default=None)


EXAMPLES = {
    "sweep": Example(
        "Pythia-160M's shape, 1,000 prompts of 512 tokens, one core",
        transformers.GPTNeoXConfig(
            vocab_size=50304, hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072,
            max_position_embeddings=2048, architectures=["GPTNeoXForCausalLM"],
        ),
        512, 1000,
    ),
    "big": Example(
        "Llama-3-70B's shape, 24 prompts of 8,192 tokens, 8 GPUs",
        transformers.LlamaConfig(
            vocab_size=128256, hidden_size=8192, num_hidden_layers=80, num_attention_heads=64, num_key_value_heads=8,
            intermediate_size=28672, max_position_embeddings=8192, architectures=["LlamaForCausalLM"],
        ),
        8192, 24, 2, Rates(4e14, 2.5e12, 8),
    ),
}  # fmt: skip


def main() -> None:
    """Plan, print a table, and keep the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=list(EXAMPLES))
    parser.add_argument("--out", type=Path, metavar="DIR", help=OUT_HELP)
    parser.add_argument("--work", choices=list(EXAMPLES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        print(json.dumps(foretold(EXAMPLES[arguments.work])))
        return
    with artefacts(arguments.out, "plan_examples") as keep:
        found = {name: apart(name) for name in arguments.only or EXAMPLES}
        print("\n".join(table(found)))
        keep(found)


def apart(name: str) -> dict[str, Any]:
    """One plan, from a process of its own: what an earlier one left in memory would count as the program's."""
    command = [sys.executable, __file__, "--work", name]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def foretold(example: Example) -> dict[str, Any]:
    """The plan of one run without nulls, as JSON holds it."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="rgprobe-plan-") as folder:
        example.config.save_pretrained(folder)
        found = plan(
            folder, tokens=example.tokens, prompts=example.prompts, nulls=0, weight_bytes=example.weight_bytes,
            rates=example.rates, clock=time.process_time,
        )  # fmt: skip
    return {**json.loads(found.to_json()), "name": example.title}


def table(found: dict[str, dict[str, Any]]) -> list[str]:
    """A column for each run."""
    columns = list(found.values())
    seconds, memory = (
        [*dict.fromkeys(part for each in columns for part in each[kind])] for kind in ("seconds", "memory")
    )
    rows = [["parameters", *(f"{each['parameters'] / 1e6:,.0f} million" for each in columns)],
            ["FLOPs of a plain pass", *(f"{each['forward_flops']:.2g}" for each in columns)],
            ["time, minutes", *(f"{each['total_seconds'] / 60:.0f}" for each in columns)],
            *([f"- {part}", *(_of(each["seconds"], part, 60, ".1f") for each in columns)] for part in seconds
              if any(each["seconds"].get(part) for each in columns)),
            ["memory, GB", *(f"{each['peak_bytes'] / 1e9:.0f}" for each in columns)],
            *([f"- {part}", *(_of(each["memory"], part, 1e9, ".2g") for each in columns)] for part in memory),
            ["disk, GB", *(f"{each['disk'] / 1e9:.2g}" for each in columns)]]  # fmt: skip
    head = ["", *(each["name"] for each in columns)]
    return ["| " + " | ".join(row) + " |" for row in (head, ["---", *["---:"] * len(columns)], *rows)]


def _of(parts: dict[str, float], name: str, unit: float, form: str) -> str:
    return format(parts[name] / unit, form) if parts.get(name) else "-"


if __name__ == "__main__":
    main()
