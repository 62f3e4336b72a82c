"""What a run costs, in plain forward passes of the same checkpoint: a record, its JSON, its tables."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from rgprobe.benchmarks.growth import Growth, growth
from rgprobe.benchmarks.peak_memory import resident_peak
from rgprobe.benchmarks.run_inputs import SMALL, SMOLLM2, Shape, directory_of, pinned_checkpoint
from rgprobe.benchmarks.run_ways import WAYS, Call, prepared
from rgprobe.models.bench.saved import read_record, written_record
from rgprobe.models.bench.table import Table
from rgprobe.models.bench.timing import take_turns
from rgprobe.threads import torch_threads

__all__ = ["BARS", "RunOptions", "RunPeak", "RunResult", "RunTiming", "measure_runs", "run_tables"]

SCHEMA, SCHEMA_VERSION = "rgprobe.run-cost", 1
AXES = ("tokens", "blocks", "prompts")
# what each way may cost at most, in plain forward passes; at most so much memory; exponents in tokens at most so much larger
BARS = {"run": 2.5, "attention": 1.3, "memory": 1.2, "exponent": 0.1}


@dataclass(frozen=True)
class RunOptions:
    """What is measured.

    Args:
        tokens: lengths of the only prompt, ascending.
        blocks: numbers of blocks, for pinned models alone.
        prompts: numbers of prompts.
        short: tokens of a prompt where blocks or prompts vary.
        shape: of the pinned model.
        source: a checkpoint of one's own instead: a shipped name or a directory.
        rounds: timed calls of each way at each size.
        memory: whether peaks of memory are measured, each in a process of its own.
        seed: of weights and prompts.
    """

    tokens: tuple[int, ...] = (128, 256, 512, 1024, 2048)
    blocks: tuple[int, ...] = (4, 8, 16, 30)
    prompts: tuple[int, ...] = (1, 2, 4, 8)
    short: int = 128
    shape: Shape = SMOLLM2
    source: str | None = None
    rounds: int = 3
    memory: bool = True
    seed: int = 0

    @classmethod
    def quick(cls, seed: int = 0, source: str | None = None) -> RunOptions:
        """A small model and short prompts."""
        return cls((32, 64, 128), (2, 4), (1, 2, 4), 32, SMALL, source, 2, seed=seed)


@dataclass(frozen=True)
class RunTiming:
    """One way at one size: process CPU seconds, all threads.

    Args:
        axis: "tokens", "blocks" or "prompts": what varies.
        size: how much of it.
        way: among `WAYS`.
        least, median: of the calls.
        calls: how many.
    """

    axis: str
    size: int
    way: str
    least: float
    median: float
    calls: int


@dataclass(frozen=True)
class RunPeak:
    """Peak of resident memory of a process that does one thing once, bytes."""

    tokens: int
    way: str
    peak: int


@dataclass(frozen=True)
class RunResult:
    """Everything that one benchmark measured.

    Attributes:
        model: what it was measured on.
        timings, peaks: by axis and size.
        options: as given.
        versions: of what ran.
    """

    model: str
    timings: tuple[RunTiming, ...]
    peaks: tuple[RunPeak, ...]
    options: Mapping[str, Any]
    versions: Mapping[str, str]

    def line(self, axis: str, way: str) -> dict[int, float]:
        """Least seconds by size."""
        return {t.size: t.least for t in self.timings if (t.axis, t.way) == (axis, way)}

    def ratios(self, axis: str, way: str) -> dict[int, float]:
        """Seconds over those of the plain forward pass, by size."""
        floor = self.line(axis, "forward")
        return {size: seconds / floor[size] for size, seconds in self.line(axis, way).items()}

    def memory(self, way: str) -> dict[int, float]:
        """Peak of memory over that of the plain forward pass, by tokens."""
        floor = {peak.tokens: peak.peak for peak in self.peaks if peak.way == "forward"}
        return {peak.tokens: peak.peak / floor[peak.tokens] for peak in self.peaks if peak.way == way}

    def growth(self, axis: str, way: str) -> Growth:
        """Exponent of seconds in a size."""
        line = self.line(axis, way)
        return growth([*line], [*line.values()])

    def excess(self, axis: str, way: str) -> Growth:
        """By how much that exponent is above the plain pass's: the exponent of the ratio, in which a slow machine cancels."""
        line = self.ratios(axis, way)
        return growth([*line], [*line.values()])

    def to_json(self) -> str:
        """JSON text."""
        return written_record(self, SCHEMA, SCHEMA_VERSION)

    @classmethod
    def from_json(cls, text: str) -> RunResult:
        """What `to_json` wrote; `BadInput` for anything else."""
        return read_record(text, SCHEMA, SCHEMA_VERSION, command="rgprobe bench run", build=cls._built)

    @classmethod
    def _built(cls, record: Mapping[str, Any]) -> RunResult:
        timings = tuple(RunTiming(**timing) for timing in record["timings"])
        peaks = tuple(RunPeak(**peak) for peak in record["peaks"])
        return cls(record["model"], timings, peaks, record["options"], record["versions"])


def measure_runs(
    options: RunOptions, *, on_progress: Callable[[int, int, str], None] = lambda done, of, what: None
) -> RunResult:
    """Time every way at every size on one thread, the ways in turn, so that all of them meet the same machine.

    Args:
        options: sizes, model, rounds and seed.
        on_progress: called with sizes done, sizes in all, and the next one.
    """
    plan = list(_plan(options))
    timings: list[RunTiming] = []
    peaks: list[RunPeak] = []
    with torch_threads(1), threadpool_limits(1), ExitStack() as folders:
        held, calls = 0, dict[str, Call]()
        for done, (axis, size, blocks, lengths) in enumerate(plan):
            on_progress(done, len(plan), f"{axis} {size:,}")
            if blocks != held:
                held, source = blocks, _source(options, blocks, folders)
                calls.clear()  # two models need never be in memory at once
                calls |= prepared(source, WAYS)
            timings += _timed(axis, size, calls, lengths, options)
            if axis == "tokens" and options.memory:
                peaks += [RunPeak(size, way, resident_peak(way, source, size, seed=options.seed)) for way in WAYS]
    on_progress(len(plan), len(plan), "done")
    versions = {name: version(name) for name in ("torch", "transformers", "transformer_lens", "numpy")}
    model = (
        options.source
        or "random weights, {blocks} blocks, {heads} heads, width {width}, {vocabulary:,} tokens".format(
            **asdict(options.shape)
        )
    )
    told = {**asdict(options), "source": Path(options.source).name if options.source else None}
    return RunResult(Path(model).name, tuple(timings), tuple(peaks), told, versions | {"machine": platform.machine()})


def _plan(options: RunOptions) -> Iterator[tuple[str, int, int, list[int]]]:
    """(axis, size, blocks, lengths of the prompts); equal blocks follow each other, one model is held at a time."""
    for tokens in options.tokens:
        yield "tokens", tokens, options.shape.blocks, [tokens]
    for prompts in options.prompts:
        yield "prompts", prompts, options.shape.blocks, [options.short] * prompts
    if options.source is None:
        for blocks in sorted(options.blocks, reverse=True):
            yield "blocks", blocks, blocks, [options.short]


def _source(options: RunOptions, blocks: int, folders: ExitStack) -> Path:
    if options.source is not None:
        return directory_of(options.source)
    return folders.enter_context(pinned_checkpoint(replace(options.shape, blocks=blocks), options.seed))


def _timed(
    axis: str, size: int, calls: Mapping[str, Call], lengths: Sequence[int], options: RunOptions
) -> list[RunTiming]:
    turns = {way: partial(calls[way], lengths, options.seed) for way in WAYS}
    found = take_turns(turns, rounds=options.rounds, patience=float("inf"))
    return [RunTiming(axis, size, way, t.low, t.median, t.calls) for way, t in found.items()]


def run_tables(result: RunResult) -> tuple[Table, ...]:
    """Ratios to the plain pass by tokens, and exponents by what grows: nothing in them is an absolute time."""
    sizes = [*result.line("tokens", "forward")]
    shown = {"run": "default diagnostics", "attention": "attention diagnostics"}
    rows = [
        (f"{name}, time", *(f"{result.ratios('tokens', way)[n]:.2f}" for n in sizes)) for way, name in shown.items()
    ]
    rows += [
        (f"{name}, peak memory", *(f"{result.memory(way)[n]:.2f}" for n in sizes))
        for way, name in shown.items()
        if result.peaks
    ]
    costs = Table("Cost over that of a plain forward pass, by tokens", ("", *(f"{n:,}" for n in sizes)), tuple(rows))
    growths = [
        (axis, *(str(result.growth(axis, way)) for way in WAYS), str(result.excess(axis, "run")))
        for axis in AXES
        if result.line(axis, "forward")
    ]
    header = ("time grows with", "plain pass", "default", "attention", "default over plain")
    return costs, Table("Exponents of growth, 95% intervals in brackets", header, tuple(growths))
