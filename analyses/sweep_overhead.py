"""What a sweep costs per item beside the measuring: identity, lock, record, scheduling.

    python analyses/sweep_overhead.py --items 500 --workers 2

Every item is a tiny checkpoint on a prompt set of its own; measuring it is replaced by writing a small file, so that what is
left is the sweep itself. Prints milliseconds per item in one process, in local workers (their start apart), and of a second
pass that finds every result there; beside them the same for the file alone, written, flushed and renamed twice as a result
and its record are, because on some disks that is most of it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file

from rgprobe.files import write_bytes
from rgprobe.sweeping.driving import drive
from rgprobe.sweeping.items import Item, plan_items
from rgprobe.sweeping.local import LocalWorkers
from rgprobe.sweeping.measuring import measure_item
from rgprobe.sweeping.pools import InProcess, Pool

CONTENT = bytes(4096)


@dataclass(frozen=True)
class Instant:
    """What a run gives, as far as a sweep is concerned."""

    def save(self, path: Path) -> None:
        """Write a file as results are written."""
        write_bytes(path, CONTENT)


def instantly(item: Item) -> Instant:
    """Measure nothing."""
    return Instant()


def checkpoint(folder: Path) -> Path:
    """Files of a model of a few thousand parameters; nobody loads them."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    save_file({"weight": torch.zeros(4000)}, folder / "model.safetensors")
    return folder


def seconds(items: list[Item], pool: Pool, out: Path) -> tuple[float, float]:
    """Wall time and processor time of this process, per item."""
    wall, processor = time.perf_counter(), time.process_time()
    ended = drive(items, pool, out)
    if ended["failed"]:
        raise RuntimeError(f"{ended['failed']} items failed, see {out}")
    return (time.perf_counter() - wall) / len(items), (time.process_time() - processor) / len(items)


def measure(count: int, workers: int, folder: Path) -> Iterator[tuple[str, float, float]]:
    """Each way: wall time and processor time of this process per item, seconds."""
    source = checkpoint(folder / "tiny")
    loading = {"device": "cpu", "dtype": "float32", "allow_pickle": False}
    items = plan_items([source], {f"set{n}": [f"text {n}"] for n in range(count)}, loading=loading, running={})
    serial, local = folder / "serial", folder / "local"
    serial.mkdir()
    local.mkdir()
    work = partial(measure_item, directory=serial, measure=instantly)
    yield "one process", *seconds(items, InProcess(work), serial)
    yield "one process, results there", *seconds(items, InProcess(work), serial)
    pool = LocalWorkers(workers, partial(measure_item, directory=local, measure=instantly))
    try:
        drive(items[:workers], pool, local)  # workers come up
        yield f"{workers} workers", *seconds(items[workers:], pool, local)
    finally:
        pool.close()
    wall, processor = time.perf_counter(), time.process_time()
    for n in range(count):
        write_bytes(folder / f"{n}.a", CONTENT)
        write_bytes(folder / f"{n}.b", CONTENT)
    yield "two files alone", (time.perf_counter() - wall) / count, (time.process_time() - processor) / count


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=500)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name, wall, processor in measure(options.items, options.workers, Path(folder)):
            print(f"{name:<28} {1000 * wall:7.2f} ms per item, {1000 * processor:6.2f} of the processor", flush=True)


if __name__ == "__main__":
    # by its name: what workers are sent must be found by them, and __main__ is another module there
    importlib.import_module("sweep_overhead").main()
