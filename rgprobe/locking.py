"""A lock on a directory, so that two runs never write into the same one."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rgprobe.errors import EnvironmentFault

__all__ = ["exclusive"]


@contextmanager
def exclusive(directory: Path) -> Iterator[Path]:
    """Create `directory` if need be and hold its lock.

    The lock is on the directory itself: it leaves no file behind, and the system drops the lock of a run that died.

    Raises:
        EnvironmentFault: another run holds the lock, or the directory cannot be created or written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if not os.access(directory, os.W_OK):
            raise PermissionError(f"{directory} is read-only")
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError as error:
        raise EnvironmentFault(
            str(directory),
            expected="a directory that can be created and written",
            received=error.strerror or str(error),
            remedy="pass another --out",
        ) from error
    try:
        _lock(directory, descriptor)
        yield directory
    finally:
        os.close(descriptor)


def _lock(directory: Path, descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise EnvironmentFault(
            str(directory),
            expected="a directory that no other run is writing to",
            received="a lock held by another run",
            remedy="wait for that run, or pass another --out",
        ) from error
