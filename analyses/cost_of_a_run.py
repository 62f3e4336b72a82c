"""What does a run cost, in plain forward passes and in memory?

    python analyses/cost_of_a_run.py CHECKPOINT [--tokens 128 512 2048] [--nulls 0] [--threads 1] [--repeats 3]

Every measurement runs in a process of its own: process time (all threads) of a plain `transformers` forward pass, of
`rgprobe.run` with its default diagnostics and with the attention diagnostics alone; medians, after one warm-up that is
reported too; and the peak of resident memory. Ratios are the result; absolute times belong to the machine.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from artefacts import OUT_HELP, artefacts

if TYPE_CHECKING:
    import torch

ATTENTION = ["free_energy", "attention_entropy", "temperature", "attention_distance"]


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--tokens", type=int, nargs="+", default=[128, 512, 2048])
    parser.add_argument("--nulls", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--measure", choices=["forward", "run", "attention"], help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, metavar="DIR", help=OUT_HELP)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options)))
        return
    with artefacts(options.out, "cost_of_a_run") as keep:
        print(f"{'tokens':>6} {'what':<10} {'x forward':>9} {'first call':>10} {'x memory':>9} {'peak GB':>8}")
        found = {}
        for tokens in options.tokens:
            rows = {what: in_own_process(options, tokens, what) for what in ("forward", "run", "attention")}
            found[tokens], floor = rows, rows["forward"]
            for what, row in rows.items():
                print(
                    f"{tokens:>6} {what:<10} {row['median'] / floor['median']:>9.2f} "
                    f"{row['first'] / floor['median']:>10.2f} {row['peak'] / floor['peak']:>9.2f} {row['peak']:>8.2f}"
                )
        keep(found)


def in_own_process(options: argparse.Namespace, tokens: int, what: str) -> dict[str, float]:
    """Run one measurement in a fresh interpreter."""
    command = [sys.executable, __file__, options.checkpoint, "--measure", what, "--tokens", str(tokens)]
    command += ["--nulls", str(options.nulls), "--threads", str(options.threads), "--repeats", str(options.repeats)]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(finished.stdout.splitlines()[-1])


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Median and first process time, s, and the peak of resident memory, GB."""
    import torch

    torch.set_num_threads(options.threads)
    call = prepare(options)
    times = [process_time(call) for _ in range(1 + options.repeats)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {"first": times[0], "median": statistics.median(times[1:] or times), "peak": peak}


def prepare(options: argparse.Namespace) -> Callable[[], object]:
    """Load the model and return what is to be timed."""
    import torch

    tokens = options.tokens[0]
    if options.measure == "forward":
        import transformers

        config = transformers.AutoConfig.from_pretrained(options.checkpoint)
        model_class = getattr(transformers, config.architectures[0])
        model = model_class.from_pretrained(options.checkpoint, dtype=torch.float32).eval()
        ids = token_ids(tokens, config.vocab_size)
        return torch.inference_mode()(lambda: model(ids[None]))
    import rgprobe as rg

    probe = rg.load(options.checkpoint, device="cpu")
    ids = token_ids(tokens, probe.vocabulary)
    chosen = "default" if options.measure == "run" else ATTENTION
    return lambda: rg.run(probe, [ids], nulls=options.nulls, diagnostics=chosen)


def token_ids(count: int, vocabulary: int) -> torch.Tensor:
    """Random ids: the cost does not depend on them."""
    import torch

    return torch.randint(vocabulary // 50, vocabulary, (count,), generator=torch.Generator().manual_seed(0))


def process_time(call: Callable[[], object]) -> float:
    """CPU seconds of one call, all threads."""
    start = time.process_time()
    call()
    return time.process_time() - start


if __name__ == "__main__":
    main()
