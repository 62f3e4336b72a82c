"""Small relatives of a model are run here at a few sizes, and what they take is laid to the amounts that it is made of."""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rgprobe.belief_trace import BeliefTrace
from rgprobe.diagnostics import Diagnostic
from rgprobe.measuring import assemble_flow, measurements
from rgprobe.models.bench.memory import peak_bytes
from rgprobe.planning.prices import fitted, shown
from rgprobe.planning.work import Job
from rgprobe.probe.attention import takes_tiles
from rgprobe.probe.model import Probe
from rgprobe.probe.outline import Outline, miniature
from rgprobe.probe.passes import PASSES
from rgprobe.tracing import trace

__all__ = ["Rehearsal", "Sample", "rehearse"]

Clock = Callable[[], float]
LONGEST = 512  # tokens of a rehearsed prompt at most
SHORTEST = 8
FEW, SOME = 1, 3  # blocks of the relatives
MORE = 4  # prompts, where their number varies
LONG = 0.5  # seconds: what a first call does beside is little against that


@dataclass(frozen=True)
class Sample:
    """What one rehearsal took.

    Attributes:
        job: of the relative.
        passing: seconds of the pass over one prompt with everything that is reduced in it.
        forward: seconds of that pass without.
        measuring: seconds of each diagnostic, by name.
        assembling: seconds from measurements to the result, null models included.
        traced, kept: bytes of the trace's arrays, and of the result's file.
    """

    job: Job
    passing: float
    forward: float
    measuring: Mapping[str, float]
    assembling: float
    traced: int
    kept: int


@dataclass(frozen=True)
class Rehearsal:
    """All samples, and what belongs to none.

    Attributes:
        samples: at several numbers of blocks, tokens and prompts.
        peaks: bytes that a pass of one block holds at most beside the weights, with the job.
        drawing: seconds per parameter of a random initialisation.
        program: bytes that libraries take.
        own_passes: forward passes per prompt of collections that make passes of their own, by name, in the whole model.
        tiles: whether long prompts of this architecture go through tiles of scores.
    """

    samples: tuple[Sample, ...]
    peaks: tuple[tuple[Job, int], ...]
    drawing: float
    program: int
    own_passes: dict[str, float]
    tiles: bool = True

    def seconds_of_a_pass(self, job: Job) -> float:
        """Predicted seconds of one pass over one prompt, with all that is reduced in it."""
        return self._at(job.of_a_pass(), [s.job.of_a_pass() for s in self.samples], [s.passing for s in self.samples])

    def seconds_of_a_forward(self, job: Job) -> float:
        """Predicted seconds of one pass over one prompt, nothing reduced."""
        amounts = [s.job.of_a_forward() for s in self.samples]
        return self._at(job.of_a_forward(), amounts, [s.forward for s in self.samples])

    def seconds_of_measuring(self, job: Job) -> float:
        """Predicted seconds of all diagnostics over all prompts.

        Each diagnostic has its own prices: trees never see rows of attention, and what is laid to rows by the noise of those
        who do not read them would be multiplied by a thousand in a long prompt.
        """
        amounts = np.array([s.job.of_measurements() for s in self.samples])
        names = self.samples[0].measuring
        return float(sum(
            job.of_measurements() @ shown(amounts, np.array([s.measuring[name] for s in self.samples])) for name in names
        ))  # fmt: skip

    def seconds_of_assembling(self, job: Job) -> float:
        """Predicted seconds from the measurements of all prompts to a result; it does not see tokens."""
        amounts = [s.job.of_measurements()[:3] for s in self.samples]
        return self._at(job.of_measurements()[:3], amounts, [s.assembling for s in self.samples])

    def bytes_traced(self, job: Job) -> float:
        """Predicted bytes of the arrays of a trace."""
        return self._at(job.of_arrays(), [s.job.of_arrays() for s in self.samples], [s.traced for s in self.samples])

    def bytes_kept(self, job: Job) -> float:
        """Predicted bytes of the result's file."""
        return self._at(job.of_arrays(), [s.job.of_arrays() for s in self.samples], [s.kept for s in self.samples])

    def bytes_of_a_pass(self, job: Job, device: str = "cpu") -> float:
        """Held at most while one prompt passes through one block and the lens, beside the weights."""
        return self._at(job.held(device), [j.held() for j, _ in self.peaks], [peak for _, peak in self.peaks])

    @staticmethod
    def _at(amounts: np.ndarray, seen: Sequence[np.ndarray], took: Sequence[float | int]) -> float:
        return float(amounts @ fitted(np.array(seen), np.array(took, dtype=float)))


def rehearse(
    outline: Outline,
    tokens: int,
    chosen: Sequence[Diagnostic],
    *,
    nulls: int,
    shuffles: int,
    clock: Clock,
    on_progress: Callable[[int, int, str], None] = lambda done, of, what: None,
) -> Rehearsal:
    """Run relatives of one and three blocks at up to three lengths, with one and with four prompts.

    Args:
        outline: of the model that is planned.
        tokens: of its prompts; no longer ones than `LONGEST` are rehearsed.
        chosen: diagnostics.
        nulls, shuffles: whose statistics are assembled; none of their passes is made.
        clock: seconds.
        on_progress: called with samples done, samples in all, and what comes next.
    """
    light = [d for d in chosen if not d.requires & PASSES.keys()]
    lengths = sorted({max(min(tokens, LONGEST, outline.context or LONGEST) // part, SHORTEST) for part in (4, 2, 1)})
    collect = sorted(set().union(*(d.requires for d in light)))
    samples: list[Sample] = []
    peaks: list[tuple[Job, int]] = []
    drawing, program, own, tiles = 0.0, 0, dict[str, float](), True
    for blocks in sorted({min(FEW, outline.blocks), min(SOME, outline.blocks)}):
        probe, relative = miniature(outline, blocks)
        program = program or _resident() - 4 * relative.parameters
        taller = _taller(probe, outline.blocks)
        own = {name: PASSES[name].forwards(taller) for d in chosen for name in d.requires & PASSES.keys()}
        tiles = takes_tiles(probe)
        jobs = list(_jobs(relative, lengths, tiles))
        for job in jobs:
            on_progress(
                len(samples), 2 * len(lengths) + 2, f"{blocks} blocks, {job.tokens} tokens, {job.prompts} prompts"
            )
            samples.append(_sample(probe, job, light, collect, nulls, shuffles, clock))
        if blocks == min(FEW, outline.blocks):
            peaks = [(job, _peak(probe, job, collect)) for job in jobs if job.prompts == 1]
        drawing = _drawing(probe, clock) / relative.parameters
    return Rehearsal(tuple(samples), tuple(peaks), drawing, max(program, 0), own, tiles)


def _jobs(outline: Outline, lengths: Sequence[int], tiles: bool) -> Iterator[Job]:
    for length in lengths:
        yield Job(outline, length, 1, tiles)
    yield Job(outline, lengths[0], MORE, tiles)


class _But:
    """An object, but for some attributes."""

    def __init__(self, original: Any, **others: Any) -> None:
        self.__dict__.update(others)
        self._original = original

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


def _taller(probe: Probe, blocks: int) -> Probe:
    """A relative that says it has as many blocks as the whole model, for what counts passes."""
    twin = copy.copy(probe)
    twin.bridge = _But(probe.bridge, cfg=_But(probe.bridge.cfg, n_layers=blocks))
    return twin


def _prompts(job: Job) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(job.tokens)
    return [torch.randint(job.outline.vocabulary, (job.tokens,), generator=generator) for _ in range(job.prompts)]


def _sample(
    probe: Probe, job: Job, light: Sequence[Diagnostic], collect: Sequence[str], nulls: int, shuffles: int, clock: Clock
) -> Sample:
    prompts = _prompts(job)
    forward, _ = _fastest(lambda: probe.stream(prompts[0], []), clock)
    passing, traced = _fastest(lambda: trace(probe, prompts, collect=collect), clock)
    measured = measurements(light, traced)
    measuring = {d.name: _fastest(partial(d.measure, traced), clock)[0] for d in light}
    provenance = {**traced.provenance, "seed": 0, "nulls": {"random_init_seeds": [], "shuffle_seeds": []}}
    drawn = {"random_init": [measured] * nulls, "shuffled_tokens": [measured] * shuffles}
    assembling, flow = _fastest(lambda: assemble_flow(light, measured, drawn, traced, provenance), clock)
    with tempfile.TemporaryDirectory(prefix="rgprobe-plan-") as folder:
        path = Path(folder) / "flow.nc"
        flow.save(path)
        kept = path.stat().st_size
    return Sample(job, passing / job.prompts, forward, measuring, assembling, _bytes_of(traced), kept)


def _fastest(call: Callable[[], Any], clock: Clock) -> tuple[float, Any]:
    """The quickest of three calls, the first of which allocates what others reuse; a long one is made once. Its result."""
    took: list[float] = []
    while len(took) < 3 and not (took and took[0] > LONG):
        start = clock()
        result = call()
        took.append(clock() - start)
    return min(took), result


def _drawing(probe: Probe, clock: Clock) -> float:
    """A random initialisation, and putting back what was there."""

    def draw() -> None:
        with probe.randomised(0):
            pass

    return _fastest(draw, clock)[0]


def _peak(probe: Probe, job: Job, collect: Sequence[str]) -> int:
    with _silent():
        return peak_bytes(lambda: trace(probe, _prompts(job), collect=collect))


@contextmanager
def _silent() -> Iterator[None]:
    """torch's profiler says on the process's own standard error, past Python, that it begins and ends."""
    with open(os.devnull, "wb") as nowhere:
        kept = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _bytes_of(traced: BeliefTrace) -> int:
    """Bytes of everything in a trace that grows with prompts."""
    arrays: list[Any] = [
        traced.attention, traced.geometry, traced.lens, traced.couplings, traced.units, *traced.reductions.values(),
        traced.graph, traced.states, traced.sketches, *traced.log_probabilities, *traced.classes,
    ]  # fmt: skip
    return int(sum(array.nbytes for array in arrays))


def _resident() -> int:
    """Bytes of this process that are in memory; 0 where the system does not say."""
    status = Path("/proc/self/statm")
    if not status.exists():
        return 0
    import resource

    return int(status.read_text().split()[1]) * resource.getpagesize()
