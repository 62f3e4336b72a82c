"""What a run will cost, before it starts: one prompt rehearsed, passes that are made on request counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rgprobe.diagnostics import Diagnostic
from rgprobe.probe.model import Probe
from rgprobe.probe.passes import PASSES
from rgprobe.probe.prompts import EncodedPrompt, unpadded
from rgprobe.tracing import trace
from rgprobe.wording import counted

__all__ = ["CostEstimate", "duration", "estimate_cost"]


@dataclass(frozen=True)
class CostEstimate:
    """The cost of a run.

    Attributes:
        prompts: number of prompts P.
        models: how often they are run: the model itself, its random initialisations, its shuffled prompts.
        forwards: work per prompt and model, in forward passes of that prompt.
        dearest: the collections that make passes of their own, with the forward passes each takes, dearest first.
        seconds: of the whole run, at the speed of the rehearsal.
    """

    prompts: int
    models: int
    forwards: float
    dearest: tuple[tuple[str, float], ...]
    seconds: float

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {count:.0f}" for name, count in self.dearest)
        passes = f"{self.forwards:.0f} forward passes' work each" + (f" ({parts})" if parts else "")
        runs = f"{counted(self.prompts, 'prompt')} x {counted(self.models, 'model')}"
        return f"about {duration(self.seconds)}: {runs}, {passes}"


def estimate_cost(
    probe: Probe,
    encoded: Sequence[EncodedPrompt],
    chosen: Sequence[Diagnostic],
    *,
    nulls: int,
    shuffles: int,
    **options: Any,
) -> CostEstimate:
    """Rehearse the prompt of median length without the collections that make passes of their own; those are counted.

    What a prompt takes is scaled by its tokens. What all prompts take together after the last pass (bootstraps, fits) is not
    in it, nor the drawing of weights.

    Args:
        probe, encoded: the model and its prompts.
        chosen: diagnostics to be run.
        nulls, shuffles: of `rgprobe.run`.
        **options: of `rgprobe.trace`.
    """
    rehearsed = sorted(encoded, key=len)[len(encoded) // 2]
    passes = sorted(set().union(*(d.requires for d in chosen)) & PASSES.keys())
    light = [d for d in chosen if not d.requires & PASSES.keys()]
    collect = sorted(set().union(*(d.requires for d in light)))

    def rehearse() -> None:
        traced = trace(probe, unpadded([rehearsed.ids]), collect=collect, **options)
        for diagnostic in light:
            diagnostic.measure(traced)

    forward = _seconds(lambda: probe.stream(rehearsed.ids, []))
    own = sorted(((name, PASSES[name].forwards(probe)) for name in passes), key=lambda pair: -pair[1])
    each = _seconds(rehearse) + forward * sum(count for _, count in own)
    models = 1 + nulls + shuffles
    tokens = sum(map(len, encoded)) / len(rehearsed)
    return CostEstimate(len(encoded), models, each / forward, tuple(own), each * tokens * models)


def _seconds(call: Callable[[], object]) -> float:
    call()  # the first call allocates what later ones reuse
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def duration(seconds: float) -> str:
    """Rounded as an estimate deserves.

    Example:
        >>> duration(42.3), duration(400.0), duration(9000.0)
        ('42 s', '7 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
