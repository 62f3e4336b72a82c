"""The two shipped families side by side on one device: loss, speed of training and inference, memory, cost of diagnostics."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from rgprobe.benchmarks.pair_memory import allocated_peaks
from rgprobe.benchmarks.pair_ways import WAYS, Work, pair_calls
from rgprobe.contrasts import paired_contrast
from rgprobe.data import load_prompts
from rgprobe.models.bench.saved import read_record, written_record
from rgprobe.models.bench.table import Table
from rgprobe.models.bench.timing import clock_of, take_turns
from rgprobe.probe.loading import find_device, load
from rgprobe.threads import torch_threads

__all__ = ["PairModel", "PairOptions", "PairResult", "PairTiming", "measure_pair", "pair_table"]

SCHEMA, SCHEMA_VERSION = "rgprobe.pair-cost", 1
PAIR = ("standard-small", "gauge-small")
SHOWN = {
    "step float32": "training, float32, tokens/s",
    "step bfloat16": "training, bfloat16, tokens/s",
    "forward": "plain forward pass, tokens/s",
    "run": "run of the default diagnostics, tokens/s",
}
MEMORY = {way: name.replace("tokens/s", "MiB beyond the model") for way, name in SHOWN.items()}


@dataclass(frozen=True)
class PairOptions:
    """What is measured; work of `batch` sequences of `tokens` tokens.

    Args:
        batch: sequences; the default is that of training.
        tokens: of each, at most the context of the pair (256).
        device: "auto", "cpu" or "cuda".
        rounds: timed calls of each way on each model.
        seed: of the tokens.
    """

    batch: int = 8
    tokens: int = 256
    device: str = "auto"
    rounds: int = 7
    seed: int = 0

    @classmethod
    def quick(cls, seed: int = 0, device: str = "auto") -> PairOptions:
        """Short sequences and few calls."""
        return cls(2, 64, device, 2, seed)


@dataclass(frozen=True)
class PairModel:
    """One model: its size and its loss on each held-out passage, nats per token."""

    source: str
    parameters: int
    losses: tuple[float, ...]


@dataclass(frozen=True)
class PairTiming:
    """One way on one model: seconds of a call (process CPU time; on a GPU the clock, synchronized) and bytes beyond the model.

    Args:
        source, way: what was called.
        least, median: of the calls.
        calls: how many.
        peak: bytes allocated at most.
    """

    source: str
    way: str
    least: float
    median: float
    calls: int
    peak: int


@dataclass(frozen=True)
class PairResult:
    """Everything that was measured."""

    models: tuple[PairModel, ...]
    timings: tuple[PairTiming, ...]
    options: Mapping[str, Any]
    versions: Mapping[str, str]

    def timing(self, source: str, way: str) -> PairTiming:
        """Timing of one way on one model."""
        return next(t for t in self.timings if (t.source, t.way) == (source, way))

    def speed(self, source: str, way: str) -> float:
        """Tokens per second, of the least time."""
        return float(self.options["batch"] * self.options["tokens"] / self.timing(source, way).least)

    def to_json(self) -> str:
        """JSON text."""
        return written_record(self, SCHEMA, SCHEMA_VERSION)

    @classmethod
    def from_json(cls, text: str) -> PairResult:
        """What `to_json` wrote; `BadInput` for anything else."""
        return read_record(text, SCHEMA, SCHEMA_VERSION, command="rgprobe bench pair", build=cls._built)

    @classmethod
    def _built(cls, record: Mapping[str, Any]) -> PairResult:
        models = tuple(PairModel(**{**model, "losses": tuple(model["losses"])}) for model in record["models"])
        return cls(models, tuple(PairTiming(**t) for t in record["timings"]), record["options"], record["versions"])


def measure_pair(
    options: PairOptions, *, on_progress: Callable[[int, int, str], None] = lambda done, of, what: None
) -> PairResult:
    """Measure both models on one device, the ways of both in turn, one CPU thread.

    Args:
        options: sizes, device, rounds and seed.
        on_progress: called with steps done, steps in all, and the next one.

    Raises:
        DeviceError: the device does not exist here.
        EnvironmentFault: a process that measures memory died.
    """
    device = find_device(options.device)
    sizes = Work(options.batch, options.tokens, device, options.seed)
    steps = 2 * len(PAIR) + 1
    with torch_threads(1), threadpool_limits(1):
        models = []
        for done, source in enumerate(PAIR):
            on_progress(done, steps, f"loss of {source}")
            models.append(_model(source, device))
        on_progress(len(PAIR), steps, "time")
        calls = {(source, way): call for source in PAIR for way, call in pair_calls(source, sizes).items()}
        found = take_turns(calls, rounds=options.rounds, patience=float("inf"), clock=clock_of(device))
        del calls
        timings = []
        for done, source in enumerate(PAIR, len(PAIR) + 1):
            on_progress(done, steps, f"memory of {source}")
            peaks = allocated_peaks(source, sizes)
            for way in WAYS:
                timing = found[source, way]
                timings.append(PairTiming(source, way, timing.low, timing.median, timing.calls, peaks[way]))
    on_progress(steps, steps, "done")
    where = torch.cuda.get_device_name(device) if device.startswith("cuda") else f"{platform.machine()}, one thread"
    versions = {name: version(name) for name in ("torch", "transformers", "transformer_lens")}
    return PairResult(tuple(models), tuple(timings), {**asdict(options), "device": device}, versions | {"on": where})


def _model(source: str, device: str) -> PairModel:
    probe = load(source, device=device)
    return PairModel(source, probe.n_parameters, tuple(probe.loss(text) for text in load_prompts("held_out")))


def pair_table(result: PairResult) -> Table:
    """One row per quantity: either model, and the second against the first."""
    first, second = result.models
    names = [model.source for model in result.models]
    contrast = paired_contrast(*(np.array(model.losses)[:, None] for model in result.models))
    difference, low, high = (float(x[0]) for x in (contrast.difference, contrast.low, contrast.high))
    passages = len(first.losses)
    rows = [
        ("parameters", *(f"{model.parameters:,}" for model in result.models), f"x {second.parameters / first.parameters:.3f}"),
        (
            f"loss, nats per token ({passages} held-out passages)",
            *(f"{np.mean(model.losses):.3f}" for model in result.models),
            f"{difference:+.3f} ({low:+.3f} to {high:+.3f})",
        ),
    ]  # fmt: skip
    for way, name in SHOWN.items():
        speeds = [result.speed(source, way) for source in names]
        rows.append((name, *(f"{speed:,.0f}" for speed in speeds), f"x {speeds[1] / speeds[0]:.2f}"))
    costs = [result.timing(source, "run").least / result.timing(source, "forward").least for source in names]
    rows.append(
        ("run over plain forward pass, time", *(f"{cost:.2f}" for cost in costs), f"x {costs[1] / costs[0]:.2f}")
    )
    for way, name in MEMORY.items():
        peaks = [result.timing(source, way).peak / 2**20 for source in names]
        rows.append((name, *(f"{peak:,.0f}" for peak in peaks), f"x {peaks[1] / peaks[0]:.2f}"))
    of = result.options
    caption = f"{of['batch']} sequences of {of['tokens']} tokens on {result.versions['on']}"
    return Table(caption, ("", *names, "second against first"), tuple(rows))
