"""What a sweep costs per item beside the measuring: identity, lock, record, scheduling.

Every item is a tiny checkpoint on a prompt set of its own; measuring it is replaced by writing a small file, so that what is
left is the sweep itself. Its peer is the file alone, written, flushed and renamed twice as a result and its record are:
on some disks that is most of the wall time.
"""

from __future__ import annotations

import json
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from rgprobe.benchmarks.growth import Growth, growth
from rgprobe.errors import EnvironmentFault
from rgprobe.files import write_bytes
from rgprobe.models.bench.saved import read_record, written_record
from rgprobe.models.bench.table import Table
from rgprobe.sweeping.driving import drive
from rgprobe.sweeping.items import Item, plan_items
from rgprobe.sweeping.local import LocalWorkers
from rgprobe.sweeping.measuring import measure_item
from rgprobe.sweeping.pools import InProcess, Pool

__all__ = ["BAR", "PEER", "SweepOptions", "SweepResult", "SweepTiming", "measure_sweep", "sweep_table"]

SCHEMA, SCHEMA_VERSION = "rgprobe.sweep-overhead", 1
CONTENT = bytes(4096)
PEER = "two files alone"
BAR = 0.020  # seconds per item at most


@dataclass(frozen=True)
class SweepOptions:
    """What is measured.

    Args:
        items: numbers of items, ascending.
        workers: processes on this machine.
    """

    items: tuple[int, ...] = (125, 250, 500)
    workers: int = 2

    @classmethod
    def quick(cls) -> SweepOptions:
        """Few items."""
        return cls((10, 20, 40))


@dataclass(frozen=True)
class SweepTiming:
    """One way with so many items: seconds per item, by the clock and of this process's processor time."""

    way: str
    items: int
    wall: float
    processor: float


@dataclass(frozen=True)
class SweepResult:
    """Everything that one benchmark measured.

    Attributes:
        timings: by way and items.
        options: as given.
        versions: of what ran.
    """

    timings: tuple[SweepTiming, ...]
    options: Mapping[str, Any]
    versions: Mapping[str, str]

    def of(self, way: str) -> tuple[SweepTiming, ...]:
        """Timings of one way, by items."""
        return tuple(timing for timing in self.timings if timing.way == way)

    def growth(self, way: str) -> Growth:
        """Exponent of all items' processor time in their number: 1 where an item costs the same in any company."""
        return growth([t.items for t in self.of(way)], [t.items * t.processor for t in self.of(way)])

    def to_json(self) -> str:
        """JSON text."""
        return written_record(self, SCHEMA, SCHEMA_VERSION)

    @classmethod
    def from_json(cls, text: str) -> SweepResult:
        """What `to_json` wrote; `BadInput` for anything else."""
        return read_record(text, SCHEMA, SCHEMA_VERSION, command="rgprobe bench sweep", build=cls._built)

    @classmethod
    def _built(cls, record: Mapping[str, Any]) -> SweepResult:
        return cls(tuple(SweepTiming(**timing) for timing in record["timings"]), record["options"], record["versions"])


@dataclass(frozen=True)
class _Instant:
    """What a run gives, as far as a sweep is concerned."""

    def save(self, path: Path) -> None:
        """Write a file as results are written."""
        write_bytes(path, CONTENT)


def _instantly(item: Item) -> Any:
    """Measure nothing. Workers find it by its name."""
    return _Instant()


def measure_sweep(
    options: SweepOptions, *, on_progress: Callable[[int, int, str], None] = lambda done, of, what: None
) -> SweepResult:
    """Time sweeps of items that take no time, in one process and in local workers, and the writing of as many files.

    Args:
        options: numbers of items and workers.
        on_progress: called with sweeps done, sweeps in all, and the next one.

    Raises:
        EnvironmentFault: an item failed.
    """
    timings: list[SweepTiming] = []
    for done, count in enumerate(options.items):
        on_progress(done, len(options.items), f"{count:,} items")
        with tempfile.TemporaryDirectory(prefix="rgprobe-bench-") as folder:
            timings += _measured(count, options.workers, Path(folder))
    on_progress(len(options.items), len(options.items), "done")
    versions = {name: version(name) for name in ("torch", "rgprobe")} | {"machine": platform.machine()}
    return SweepResult(tuple(timings), asdict(options), versions)


def _measured(count: int, workers: int, folder: Path) -> Iterator[SweepTiming]:
    source = _checkpoint(folder / "tiny")
    loading = {"device": "cpu", "dtype": "float32", "allow_pickle": False}
    items = plan_items([source], {f"set{n}": [f"text {n}"] for n in range(count)}, loading=loading, running={})
    serial, local = folder / "serial", folder / "local"
    serial.mkdir()
    local.mkdir()
    work = partial(measure_item, directory=serial, measure=_instantly)
    yield _timed("one process", count, partial(_swept, items, InProcess(work), serial))
    yield _timed("one process, results there", count, partial(_swept, items, InProcess(work), serial))
    pool = LocalWorkers(workers, partial(measure_item, directory=local, measure=_instantly))
    try:
        _swept(items[:workers], pool, local)  # workers come up
        rest = items[workers:]
        yield _timed(f"{workers} workers", len(rest), partial(_swept, rest, pool, local))
    finally:
        pool.close()
    yield _timed(PEER, count, partial(_two_files_each, count, folder))


def _swept(items: list[Item], pool: Pool, out: Path) -> None:
    ended = drive(items, pool, out)
    if ended["failed"]:
        raise EnvironmentFault("bench sweep", expected="items that take no time", received=f"{ended['failed']} that failed",
                               remedy="see that the temporary folder can be written")  # fmt: skip


def _two_files_each(count: int, folder: Path) -> None:
    for n in range(count):
        write_bytes(folder / f"{n}.a", CONTENT)
        write_bytes(folder / f"{n}.b", CONTENT)


def _checkpoint(folder: Path) -> Path:
    """Files of a model of a few thousand parameters; nobody loads them."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    save_file({"weight": torch.zeros(4000)}, folder / "model.safetensors")
    return folder


def _timed(way: str, count: int, call: Callable[[], None]) -> SweepTiming:
    wall, processor = time.perf_counter(), time.process_time()
    call()
    return SweepTiming(way, count, (time.perf_counter() - wall) / count, (time.process_time() - processor) / count)


def sweep_table(result: SweepResult) -> Table:
    """Milliseconds per item with the most items, and how processor time grows with their number."""
    largest = max(timing.items for timing in result.of(PEER))
    (peer,) = (timing for timing in result.of(PEER) if timing.items == largest)
    rows = []
    for way in dict.fromkeys(timing.way for timing in result.timings):
        last = max(result.of(way), key=lambda timing: timing.items)
        cells = (f"{1000 * last.processor:.1f}", f"{1000 * last.wall:.1f}", f"{last.wall / peer.wall:.2f}")
        rows.append((way, *cells, str(result.growth(way))))
    caption = f"What a sweep adds to each of {largest:,} items, and the exponent of all processor time in their number"
    return Table(caption, ("", "processor, ms", "clock, ms", "clock, of two files alone", "exponent"), tuple(rows))
