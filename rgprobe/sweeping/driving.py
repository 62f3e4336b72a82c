"""`sweep`: many checkpoints, one result file each, wherever there are workers."""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rgprobe.checks import whole_number
from rgprobe.errors import EnvironmentFault, OptionError
from rgprobe.sweeping.cluster import DaskWorkers, connect
from rgprobe.sweeping.identity import complete_options
from rgprobe.sweeping.items import Item, plan_items, take_shard
from rgprobe.sweeping.ledger import Entry, Failure, Outcome, write_entry
from rgprobe.sweeping.local import LocalWorkers
from rgprobe.sweeping.measuring import measure_item
from rgprobe.sweeping.pools import InProcess, Pool, Work
from rgprobe.sweeping.record import Sweep, open_entries

__all__ = ["drive", "sweep"]

Progress = Callable[[int, int, str], None]
POLL = 0.5  # seconds between two looks at an item that another sweep works on


def sweep(
    sources: Sequence[str | Path],
    prompts: Any,
    *,
    out: str | Path = "runs",
    client: Any = None,
    workers: int = 0,
    shard: str | tuple[int, int] | None = None,
    retries: int = 2,
    threads: int = 1,
    resources: Mapping[str, float | int] | None = None,
    device: str = "auto",
    dtype: str = "float32",
    allow_pickle: bool = False,
    on_progress: Progress | None = None,
    **options: Any,
) -> Sweep:
    """Run every source on every prompt set; each result is a file of its own in `out`.

    A sweep that was stopped is continued by the same call: what has a result of the same identity (sha256 of weights,
    configuration, tokenizer and prompts; options, dtype, device, versions) is not run again. An item that fails is
    recorded, and the rest is finished. Sweeps may share a folder: an item is worked on by one process at a time.

    Args:
        sources: shipped names, checkpoint directories, folders of checkpoints (of `rgprobe train --checkpoints`, or of a
            Trainer), hub ids or `id@revision`.
        prompts: texts; texts by name of the set; or None for the set that `rgprobe run` takes for each source.
        out: folder of the results, made if need be.
        client: a client of Dask's `distributed`, or the address of a scheduler. It is not closed, unless it was an address.
        workers: processes on this machine; 0 works here, one item after the other.
        shard: "i/n": only every n-th item from the i-th on, for queues that know nothing of each other.
        retries: further attempts at an item whose worker died or whose failure may pass. Bad input is not tried again.
        threads: of torch, per item; equal bytes need equal threads.
        resources: what an item takes of a Dask worker's abstract resources, such as {"GPU": 1}.
        device, dtype, allow_pickle: see `rgprobe.load`.
        on_progress: called with (items done, items in all, what happened last).
        **options: of `rgprobe.run`.

    Returns:
        What is in the folder of these items; its `failures` say what went wrong.

    Raises:
        OptionError, PromptError: an option, source or prompt set that cannot be used; found before anything runs.
        EnvironmentFault: the folder cannot be made or written, or the scheduler does not answer.

    Example:
        >>> import tempfile
        >>> found = sweep(["standard-small"], ["Now is the winter of our discontent"], out=tempfile.mkdtemp(),
        ...               nulls=0, diagnostics="plateau")
        >>> found.flow("standard-small").diagnostics
        ('plateau',)
    """
    if client is not None and workers:
        raise OptionError("workers", expected="0 where there is a client", received=str(workers), remedy="choose one")
    for name, count, least in (("workers", workers, 0), ("retries", retries, 0), ("threads", threads, 1)):
        whole_number(name, count, least=least)
    complete_options(options)  # a wrong name is refused before anything runs
    loading = {"device": device, "dtype": dtype, "allow_pickle": allow_pickle}
    items = take_shard(plan_items(sources, prompts, loading=loading, running=options), shard)
    directory = _writable(Path(out))
    work = partial(measure_item, directory=directory, threads=threads)
    opened = connect(client) if isinstance(client, str) else None
    pool = _pool(work, workers, opened if opened is not None else client, resources)
    try:
        drive(items, pool, directory, retries=retries, on_progress=on_progress)
    finally:
        pool.close()
        if opened is not None:
            opened.close()
    return open_entries(directory, [item.stem for item in items])


def drive(
    items: Sequence[Item], pool: Pool, directory: Path, *, retries: int = 0, on_progress: Progress | None = None
) -> Counter[str]:
    """Keep a pool busy until every item has an outcome; failures that are left are written into the folder.

    Returns:
        How many items ended in which state.
    """
    waiting, attempts, ended, held = deque(items), Counter[str](), Counter[str](), deque[tuple[float, Item]]()
    if on_progress is not None:
        on_progress(0, len(items), "starting")
    while waiting or held or pool.busy:
        while waiting and pool.free > 0:
            pool.submit(waiting.popleft())
        if not pool.busy:  # all that is left is worked on by somebody else
            time.sleep(POLL)
        for item, outcome in pool.finished() if pool.busy else ():
            attempts[item.stem] += outcome.state != "held"
            if outcome.state == "held":
                held.append((time.monotonic() + POLL, item))
            elif _is_worth_another(outcome.failure, attempts[item.stem], retries):
                waiting.append(item)
            else:
                _conclude(item, outcome, attempts[item.stem], directory)
                ended[outcome.state] += 1
            if on_progress is not None:
                on_progress(ended.total(), len(items), _told(item, outcome))
        while held and held[0][0] <= time.monotonic():
            waiting.append(held.popleft()[1])
    return ended


def _is_worth_another(failure: Failure | None, attempts: int, retries: int) -> bool:
    return failure is not None and not failure.is_final and attempts <= retries


def _conclude(item: Item, outcome: Outcome, attempts: int, directory: Path) -> None:
    if outcome.failure is not None:
        write_entry(directory, item, Entry.of(item, failure=replace(outcome.failure, attempts=attempts)))


def _told(item: Item, outcome: Outcome) -> str:
    words = {"done": "done", "reused": "was there", "held": "another sweep works on it", "failed": "failed"}
    return f"{item.stem}: {words[outcome.state]}"


def _pool(work: Work, workers: int, client: Any, resources: Mapping[str, float | int] | None) -> Pool:
    if client is not None:
        return DaskWorkers(client, work, resources=resources)
    return LocalWorkers(workers, work) if workers else InProcess(work)


def _writable(directory: Path) -> Path:
    """The folder, absolute, since workers may have another working directory; made if need be."""
    path = directory.expanduser().resolve()
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(f"{path} is read-only")
    except OSError as error:
        raise EnvironmentFault(str(directory), expected="a directory that can be created and written",
                               received=error.strerror or str(error), remedy="pass another --out")  from error  # fmt: skip
    return path
