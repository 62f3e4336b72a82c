"""What do products with Jacobians cost, in forward passes of the same tokens?

    python analyses/transport_cost.py [SOURCE] [--tokens 32] [--repeats 3]

SOURCE is anything `rgprobe.load` takes, by name ("gauge-small" by default). Printed are ratios to one forward pass, all blocks
together: finding the blocks as maps, building their graphs, one product with J, one with J^T; and what the collections of the
transport diagnostics took against what they state. One thread; the median of the repeats.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from artefacts import OUT_HELP, artefacts

import rgprobe as rg
from rgprobe.probe.passes import PASSES
from rgprobe.probe.prompts import EncodedPrompt
from rgprobe.probe.tangents import linearized, prompt_flow

COLLECTIONS = ("stretching", "jacobians", "iterations")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", default="gauge-small")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, metavar="DIR", help=OUT_HELP)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with artefacts(options.out, "transport_cost") as keep:
        probe = rg.load(options.source)
        ids = torch.randint(4, probe.vocabulary, (options.tokens,), generator=torch.Generator().manual_seed(0))
        forward = seconds(lambda: probe.stream(ids, []), options.repeats)
        flow = prompt_flow(probe, ids)
        products = [linearized(block, state) for block, state in zip(flow.blocks, flow.states, strict=False)]
        direction = torch.randn(1, *flow.states[0].shape)
        parts: dict[str, Callable[[], object]] = {
            "maps": lambda: prompt_flow(probe, ids),
            "graphs": lambda: [
                linearized(block, state) for block, state in zip(flow.blocks, flow.states, strict=False)
            ],
            "product with J": lambda: [each.jvp(direction) for each in products],
            "product with J^T": lambda: [each.vjp(direction) for each in products],
        }
        ratios = {}
        for name, part in parts.items():
            ratios[name] = seconds(part, options.repeats) / forward
            print(f"{name:18s} {ratios[name]:7.1f}")
        prompt = EncodedPrompt("", ids, tuple(map(str, ids.tolist())))
        for name in COLLECTIONS:
            own = PASSES[name]
            ratios[name] = seconds(lambda own=own: own.measure(probe, prompt, ids[:0], "exclude"), 1) / forward
            print(f"{name:18s} {ratios[name]:7.1f}, stated {own.forwards(probe):.0f} at most")
        keep(ratios)


def seconds(call: Callable[[], object], repeats: int) -> float:
    """Median wall time of a call, after one to warm up."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return median(times)


if __name__ == "__main__":
    main()
