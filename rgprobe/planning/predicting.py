"""`plan`: time, memory and disk of a run that has not been made, of a model whose weights need not be here."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from threadpoolctl import threadpool_limits

from rgprobe.checks import whole_number
from rgprobe.diagnostics import applicable, select
from rgprobe.errors import OptionError
from rgprobe.planning.rates import Rates
from rgprobe.planning.rehearsal import Rehearsal, rehearse
from rgprobe.planning.work import Job, forward_flops
from rgprobe.probe.outline import outline_of

__all__ = ["Plan", "plan"]

# Bytes moved, read and written, where a machine's bandwidth is given: per attention score as a whole (float32, about 24 steps:
# softmax, the moments of rows), per score in tiles (32 times, the visible half), per class probability (17 times, float64).
SCORE_BYTES, TILE_BYTES, CLASS_BYTES = 24 * 2 * 4, 32 * 4 // 2, 17 * 8


@dataclass(frozen=True)
class Plan:
    """What a run will take.

    Attributes:
        name, family, parameters, blocks: of the model.
        tokens, prompts: of every prompt, and how many.
        models: how often the prompts are run: the model, its random initialisations, its shuffled prompts.
        forward_flops: of a plain forward pass over one prompt.
        seconds: by part; their sum is `total_seconds`.
        memory: bytes by part; their sum is `peak_bytes`, where the weights are.
        disk: bytes of the result.
        extrapolated: by how much the planned pass is more work than the largest one rehearsed.
    """

    name: str
    family: str
    parameters: int
    blocks: int
    tokens: int
    prompts: int
    models: int
    forward_flops: float
    seconds: Mapping[str, float]
    memory: Mapping[str, float]
    disk: float
    extrapolated: float

    @property
    def total_seconds(self) -> float:
        """Seconds of the whole run, loading and reports apart."""
        return sum(self.seconds.values())

    @property
    def peak_bytes(self) -> float:
        """At most in memory at once."""
        return sum(self.memory.values())

    def to_json(self) -> str:
        """JSON text."""
        totals = {"total_seconds": self.total_seconds, "peak_bytes": self.peak_bytes}
        return json.dumps({**asdict(self), **totals}, indent=1)


# as a run has it: numpy's matrices are small here
@threadpool_limits.wrap(limits=1, user_api="blas")
def plan(
    source: str | Path,
    *,
    tokens: int,
    prompts: int,
    diagnostics: str = "default",
    nulls: int = 3,
    shuffles: int | None = None,
    weight_bytes: int = 4,
    rates: Rates | None = None,
    clock: Callable[[], float] = time.perf_counter,
    on_progress: Callable[[int, int, str], None] = lambda done, of, what: None,
) -> Plan:
    """Predict what `rgprobe.run` will take, from the configuration and a rehearsal on small random relatives.

    Relatives have the architecture and width of the model and one or three of its blocks (less width, where 200 million
    parameters would not do), and prompts of up to 512 tokens. What they take is laid to counted amounts, such as FLOPs, scores
    and class probabilities, with prices that are not negative; the planned run has the same prices and its own amounts.

    Args:
        source: a shipped name, a directory with a config.json, that file, or a hub id. Weights are not read.
        tokens: per prompt.
        prompts: how many.
        diagnostics: "default", "all" or names, as for `rgprobe.run`. Passes of their own are counted, not rehearsed.
        nulls, shuffles: as for `rgprobe.run`.
        weight_bytes: per parameter: 4 for float32, 2 for bfloat16.
        rates: of another machine, where passes would run; all else is taken from this one.
        clock: seconds; `time.process_time` on a machine with other work.
        on_progress: called with rehearsals done, rehearsals in all, and what comes next.

    Raises:
        CheckpointError: no configuration of a known architecture.
        OptionError: a number below 1, or more tokens than the context holds.

    Example:
        >>> import rgprobe as rg
        >>> rg.plan("standard-small", tokens=16, prompts=2, nulls=0).models
        1
    """
    outline = outline_of(source)
    shuffles = (1 if nulls and prompts > 1 else 0) if shuffles is None else shuffles
    _check(tokens, prompts, nulls, shuffles, outline.context)
    chosen = applicable(select(diagnostics), belief="lens", family=outline.family)
    known = rehearse(outline, tokens, chosen, nulls=nulls, shuffles=shuffles, clock=clock, on_progress=on_progress)
    job, models = Job(outline, tokens, prompts, known.tiles), 1 + nulls + shuffles
    one_pass, forward = known.seconds_of_a_pass(job), known.seconds_of_a_forward(job)
    if rates is not None:
        one_pass, forward = _elsewhere(job, rates)
    seconds = {
        "passes": models * prompts * one_pass,
        "passes of their own": models * prompts * forward * sum(known.own_passes.values()),
        "diagnostics": models * known.seconds_of_measuring(job),
        "statistics": known.seconds_of_assembling(job),
        "random initialisations": nulls * known.drawing * outline.parameters,
    }
    return Plan(
        name=outline.name, family=outline.family, parameters=outline.parameters, blocks=outline.blocks, tokens=tokens,
        prompts=prompts, models=models, forward_flops=forward_flops(outline, tokens), seconds=seconds,
        memory=_memory(job, known, weight_bytes, rates), disk=known.bytes_kept(job),
        extrapolated=float(job.of_a_pass()[2] / max(sample.job.of_a_pass()[2] for sample in known.samples)),
    )  # fmt: skip


def _memory(job: Job, known: Rehearsal, weight_bytes: int, rates: Rates | None) -> dict[str, float]:
    """One trace at a time, whose prompts are put in place as they come; a result once, with its file's bytes."""
    parts = 1 if rates is None else rates.parts
    return {
        "program": float(known.program),
        "weights": job.outline.parameters * weight_bytes / parts,
        "one pass": known.bytes_of_a_pass(job, "cpu" if rates is None else "cuda"),
        "traces": known.bytes_traced(job),
        "result": 2 * known.bytes_kept(job),
    }


def _elsewhere(job: Job, rates: Rates) -> tuple[float, float]:
    """Seconds of a pass with and without what is reduced, where FLOPs and bytes alone count."""
    _, _, products, whole, tiled, classes = job.of_a_pass()
    forward = forward_flops(job.outline, job.tokens) / rates.flops
    moved = whole * SCORE_BYTES + tiled * TILE_BYTES + classes * CLASS_BYTES
    return products / rates.flops + moved / rates.bandwidth, forward


def _check(tokens: int, prompts: int, nulls: int, shuffles: int, context: int | None) -> None:
    for name, value, least in (
        ("tokens", tokens, 1),
        ("prompts", prompts, 1),
        ("nulls", nulls, 0),
        ("shuffles", shuffles, 0),
    ):
        whole_number(name, value, least=least)
    if context is not None and tokens > context:
        raise OptionError("tokens", expected=f"at most {context:,}, the context", received=f"{tokens:,}",
                          remedy="plan for shorter prompts")  # fmt: skip
