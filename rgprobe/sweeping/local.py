"""Local worker processes: one that dies costs its own item, which is tried again by a new one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection, wait

from rgprobe.errors import EnvironmentFault
from rgprobe.sweeping.items import Item
from rgprobe.sweeping.ledger import Outcome, failure_of
from rgprobe.sweeping.pools import Pool, Work

__all__ = ["LocalWorkers"]

READY = "ready"
PATIENCE = 5.0  # seconds that a worker gets to end by itself once nobody listens


class LocalWorkers(Pool):
    """A fixed number of processes, each with one item at a time.

    Args:
        count: how many, at least 1.
        work: a function that can be pickled.

    Each has one thread for linear algebra, torch's own threads apart, and where CUDA_VISIBLE_DEVICES lists several GPUs, one.
    """

    def __init__(self, count: int, work: Work) -> None:
        self._work = work
        self._count = count
        self._workers: dict[int, _Worker] = {}
        self._waiting: list[Item] = []

    @property
    def free(self) -> int:
        """Workers without an item."""
        return self._count - self.busy

    @property
    def busy(self) -> int:
        """Items that are worked on, or wait for a worker to come up."""
        return len(self._waiting) + sum(worker.item is not None for worker in self._workers.values())

    def submit(self, item: Item) -> None:
        """Give an item to a worker that is ready, or keep it until one is."""
        self._waiting.append(item)
        self._hand_out()

    def finished(self) -> list[tuple[Item, Outcome]]:
        """Wait for an outcome, or for the death of a worker that had an item."""
        told: list[tuple[Item, Outcome]] = []
        while not told:
            by_channel = {worker.channel: place for place, worker in self._workers.items()}
            for channel in wait(list(by_channel)):
                told += self._heard(by_channel[channel])  # type: ignore[index]
                self._hand_out()
        return told

    def close(self) -> None:
        """Hang up; a worker that is in the middle of an item is killed."""
        for worker in self._workers.values():
            worker.stop()
        self._workers.clear()

    def _hand_out(self) -> None:
        """Start as many workers as there are items for, and give items to those that are ready."""
        idle = sum(worker.item is None for worker in self._workers.values())
        for place in [each for each in range(self._count) if each not in self._workers][
            : max(0, len(self._waiting) - idle)
        ]:
            self._workers[place] = _Worker(self._work, {"OMP_NUM_THREADS": "1", **_gpu(place)})
        for worker in self._workers.values():
            if self._waiting and worker.ready and worker.item is None:
                worker.give(self._waiting.pop(0))

    def _heard(self, place: int) -> list[tuple[Item, Outcome]]:
        worker = self._workers[place]
        try:
            message = worker.channel.recv()
        except (EOFError, OSError):
            return self._died(place)
        if message == READY:
            worker.ready = True
            return []
        item, worker.item = worker.item, None
        return [] if item is None else [(item, message)]

    def _died(self, place: int) -> list[tuple[Item, Outcome]]:
        worker = self._workers.pop(place)
        error = _death(worker.stop())
        # one that dies before it is ready will do so again: its item must not wait for it
        item = self._waiting.pop(0) if self._waiting and not worker.ready else worker.item
        return [] if item is None else [(item, Outcome("failed", failure_of(error)))]


class _Worker:
    """A process and the channel to it."""

    def __init__(self, work: Work, environment: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "rgprobe.sweeping.worker", str(theirs.fileno())]
            self.process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                start_new_session=True,  # Ctrl-C is for the sweep, which then lets its workers go
            )
        self.channel = Connection(ours.detach())
        self.item: Item | None = None
        self.ready = False
        with suppress(BrokenPipeError):  # it died at once: that is heard when its channel is read
            self.channel.send(sys.path)
            self.channel.send(work)

    def give(self, item: Item) -> None:
        """Send an item."""
        self.item = item
        with suppress(BrokenPipeError):
            self.channel.send(item)

    def stop(self) -> int:
        """Hang up, and see to it that the process ends; its exit status, negative for a signal."""
        self.channel.close()
        if self.item is not None:
            self.process.kill()
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def _death(status: int) -> EnvironmentFault:
    ended = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
    return EnvironmentFault(
        "worker process", expected="an outcome", received=f"its end by {ended}",
        remedy="if memory ran out, use fewer workers, fewer prompts or a smaller dtype",
    )  # fmt: skip


def _gpu(place: int) -> dict[str, str]:
    """The GPU of one worker, where the environment names several: torch need not be imported here to count them."""
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return {"CUDA_VISIBLE_DEVICES": visible[place % len(visible)]} if len(visible) > 1 else {}
