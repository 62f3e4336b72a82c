"""CPU times of functions that take turns."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import torch

from rgprobe.models.bench.result import Timing

__all__ = ["clock_of", "take_turns"]

Name = TypeVar("Name", bound=Hashable)

# A call shorter than this is repeated until a sample takes as long: clocks and caches have their own grain.
SAMPLE = 0.01
MOST_REPEATS = 20
# A first call longer than this counts: by then nothing is being warmed up any more.
WARM = 1.0
# Timed calls that a median should have.
FEWEST = 3


def take_turns(
    calls: Mapping[Name, Callable[[], object]],
    *,
    rounds: int,
    patience: float,
    on_call: Callable[[Name], None] = lambda name: None,
    clock: Callable[[], float] | None = None,
) -> dict[Name, Timing]:
    """Time every function once per round, in turn, so that a machine that slows down slows all of them.

    The first call of each is a warm-up, unless it takes longer than a second. No garbage is collected
    during a round.

    Args:
        calls: functions by name.
        rounds: timed calls of each at most.
        patience: seconds for each, after which it is called no more; three calls of it are timed in any case, or, if
            a single one takes longer than this, one.
        on_call: told the name before each first call.
        clock: seconds, as `clock_of` gives them for a device; None for the CPU's.

    Example:
        >>> times = take_turns({"sum": lambda: sum(range(1000))}, rounds=3, patience=1.0)
        >>> times["sum"].calls, times["sum"].low <= times["sum"].median <= times["sum"].high
        (3, True)
    """
    clock = clock or clock_of("cpu")
    samples: dict[Name, list[float]] = {}
    repeats: dict[Name, int] = {}
    spent: dict[Name, float] = {}
    for name, call in calls.items():
        on_call(name)
        with _no_collection():
            first = _seconds(call, 1, clock)
        samples[name] = [first] if first > WARM else []
        repeats[name] = min(MOST_REPEATS, math.ceil(SAMPLE / max(first, 1e-9)))
        spent[name] = first
    for _ in range(rounds):
        with _no_collection():
            for name, call in calls.items():
                if _enough(samples[name], repeats[name], spent[name], rounds, patience):
                    continue
                took = _seconds(call, repeats[name], clock)
                samples[name].append(took / repeats[name])
                spent[name] += took
    return {name: Timing(statistics.median(x), min(x), max(x), len(x)) for name, x in samples.items()}


def _enough(samples: list[float], repeats: int, spent: float, rounds: int, patience: float) -> bool:
    if not samples:
        return False
    next_one = samples[-1] * repeats
    return len(samples) >= rounds or next_one > patience or (len(samples) >= FEWEST and spent + next_one > patience)


def _seconds(call: Callable[[], object], repeats: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(repeats):
        call()
    return clock() - start


def clock_of(device: str) -> Callable[[], float]:
    """Seconds by which work on a device is timed.

    On the CPU those of the process, all its threads, without waiting: on a busy machine they inflate, but far less than wall
    time does. A GPU works while the host goes on, so there the clock waits until all of its work is
    done, and is that on the wall.

    Example:
        >>> clock_of("cpu") is time.process_time
        True
    """
    if not device.startswith("cuda"):
        return time.process_time

    def after_all_work() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return after_all_work


@contextmanager
def _no_collection() -> Iterator[None]:
    """No garbage collection inside: a collection would be charged to whichever call it falls into."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
