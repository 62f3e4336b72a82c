"""What does a long prompt cost, in memory and in time?

    python analyses/long_context.py [--tokens 2048 4096 8192] [--layers 4] [--what run attention forward] [--out DIR]

A llama of the shape of SmolLM2-135M (30 layers, 9 heads of 64, 3 key heads, width 576, 49,152 tokens) with random weights and a
context as long as the prompt: cost does not depend on what the weights are. Every measurement is made in a process of its own:
CPU seconds and the peak of resident memory of `rgprobe.run(nulls=0)` with its default diagnostics (`run`), with those of
attention alone (`attention`), or of the wrapped model's forward pass on fused kernels without any statistics (`forward`).
`--whole` makes rgprobe hook scores as a whole, whatever their size. `--thin 64` rehearses memory: row moments of every 64th
block of rows are made and stand for the rest, and only the first layer averages values; all arrays have the sizes of the whole
run, time and numbers have not.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from artefacts import OUT_HELP, artefacts

ATTENTION = ["free_energy", "attention_entropy", "temperature", "attention_distance"]


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="+", default=[2048, 4096, 8192])
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--what", nargs="+", choices=["run", "attention", "forward"], default=["run", "forward"])
    parser.add_argument("--whole", action="store_true", help="hook scores as a whole")
    parser.add_argument("--thin", type=int, default=1, metavar="K", help="rehearse memory: every K-th block of rows")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, metavar="DIR", help=OUT_HELP)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options)))
        return
    with artefacts(options.out, "long_context") as keep:
        rows = [in_own_process(options, tokens, what) for tokens in options.tokens for what in options.what]
        print(table(rows))
        keep(rows)


def table(rows: list[dict[str, Any]]) -> str:
    """As Markdown."""
    head = ["| tokens | layers | what | attention from | CPU s | peak GB |", "|---:|---:|---|---|---:|---:|"]
    return "\n".join([*head, *(
        f"| {row['tokens']:,} | {row['layers']} | {row['what']} | {row['way']} | {_seconds(row)} | {row['peak']:.2f} |"
        for row in rows
    )])  # fmt: skip


def _seconds(row: dict[str, Any]) -> str:
    return "-" if row["seconds"] is None else f"{row['seconds']:,.0f}"


def in_own_process(options: argparse.Namespace, tokens: int, what: str) -> dict[str, Any]:
    """Run one measurement in a fresh interpreter."""
    command = [sys.executable, __file__, "--measure", "--tokens", str(tokens), "--layers", str(options.layers)]
    command += ["--what", what, "--threads", str(options.threads), *(["--whole"] if options.whole else [])]
    command += ["--thin", str(options.thin)]
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(finished.stdout.splitlines()[-1])


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """CPU seconds, and the peak of resident memory, GB."""
    import torch

    torch.set_num_threads(options.threads)
    (tokens,), (what,) = options.tokens, options.what
    model = shaped(options.layers, tokens)
    ids = torch.randint(1000, model.config.vocab_size, (tokens,), generator=torch.Generator().manual_seed(0))
    took: tuple[float | None, str] = (forward if what == "forward" else run)(model, ids, options)
    seconds, way = took
    if options.thin > 1:  # the time is not that of the whole
        way, seconds = f"{way}, rehearsed", None
    return {"tokens": tokens, "layers": options.layers, "what": what, "way": way, "seconds": seconds, "peak": peak()}


def shaped(layers: int, tokens: int) -> Any:
    """SmolLM2-135M with other weights, and fewer layers if need be."""
    import torch
    import transformers

    config = transformers.LlamaConfig(
        num_hidden_layers=layers, num_attention_heads=9, num_key_value_heads=3, hidden_size=576, intermediate_size=1536,
        head_dim=64, vocab_size=49_152, max_position_embeddings=tokens, tie_word_embeddings=True, rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
    )  # fmt: skip
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(config).eval()


def forward(model: Any, ids: Any, options: argparse.Namespace) -> tuple[float, str]:
    """The decoder without its readout of every token, which rgprobe does not make either."""
    import torch

    model.set_attn_implementation("sdpa")
    start = time.process_time()
    with torch.inference_mode():
        model.model(ids[None], use_cache=False)
    return time.process_time() - start, "fused"


def run(model: Any, ids: Any, options: argparse.Namespace) -> tuple[float, str]:
    """rgprobe, from the model in hand to the result."""
    import rgprobe as rg
    from rgprobe.probe import attention

    if options.whole:
        attention.LARGEST_WHOLE = 2**62
    probe = rg.load(model)  # copies it
    if options.thin > 1:
        attention.way_of(probe, len(ids))  # its trial would find out
        thin(options.thin)
    start = time.process_time()
    flow = rg.run(probe, [ids], nulls=0, diagnostics="default" if options.what == ["run"] else ATTENTION)
    return time.process_time() - start, flow.provenance["attention_from"][0]


def thin(every: int) -> None:
    """Leave out most of the work on attention, and none of its memory."""
    from rgprobe.probe import fused_pass, scores

    make, average = scores.CoupledScores._block_moments, fused_pass._averages
    made: dict[int, Any] = {}
    averaged: list[bool] = []

    def block_moments(self: Any, start: int, stop: int) -> Any:
        if start // (stop - start) % every == 0 or stop - start not in made:
            made[stop - start] = make(self, start, stop)
        return made[stop - start]

    def averages(coupled: Any, values: Any) -> Any:
        averaged.append(True)
        groups = coupled.queries.shape[0] // values.shape[1]
        return average(coupled, values) if len(averaged) == 1 else values.repeat_interleave(groups, 1)

    scores.CoupledScores._block_moments, fused_pass._averages = block_moments, averages


def peak() -> float:
    """Of this process so far, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


if __name__ == "__main__":
    main()
