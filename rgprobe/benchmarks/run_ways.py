"""What is timed: a plain forward pass, a run of the default diagnostics, and of those of attention alone; no nulls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from rgprobe.benchmarks.run_inputs import token_ids
from rgprobe.flow import run
from rgprobe.probe.loading import load
from rgprobe.probe.plain import plain_forward

__all__ = ["WAYS", "Call", "prepared"]

WAYS = ("forward", "run", "attention")
ATTENTION = ("free_energy", "attention_entropy", "temperature", "attention_distance")
# (lengths of the prompts, seed) to whatever is timed
Call = Callable[[Sequence[int], int], object]


def prepared(source: Path, ways: Sequence[str], *, device: str = "cpu") -> dict[str, Call]:
    """Each way, loaded on a device and ready to be called with lengths of prompts and a seed."""
    calls: dict[str, Call] = {}
    if "forward" in ways:
        forward, vocabulary = plain_forward(source, device=device)
        calls["forward"] = lambda lengths, seed: [
            forward(token_ids(n, vocabulary, seed + i)) for i, n in enumerate(lengths)
        ]
    if chosen := [way for way in ways if way != "forward"]:
        probe = load(source, device=device)

        def measured(diagnostics: str | Sequence[str], lengths: Sequence[int], seed: int) -> object:
            prompts = [token_ids(n, probe.vocabulary, seed + i) for i, n in enumerate(lengths)]
            return run(probe, prompts, nulls=0, diagnostics=diagnostics)

        calls |= {way: partial(measured, "default" if way == "run" else ATTENTION) for way in chosen}
    return calls
