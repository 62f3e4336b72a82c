"""Who works on an item: a claim that one process holds at a time, and that a process which died has lost."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rgprobe.errors import EnvironmentFault

__all__ = ["claim"]


@contextmanager
def claim(path: Path) -> Iterator[bool]:
    """Hold a lock file for the duration of a `with` block; yields False where another live process holds it.

    The system drops the lock of a process that died, so what it left behind is taken over. The file is removed by its holder.

    Raises:
        EnvironmentFault: the file cannot be made.
    """
    descriptor = _locked(path)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            with suppress(FileNotFoundError):
                path.unlink()  # before the lock is dropped: a file under this name is always somebody's
            os.close(descriptor)


def _locked(path: Path) -> int | None:
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise EnvironmentFault(str(path), expected="a directory that can be written",
                                   received=error.strerror or str(error),
                                   remedy="free space, or pass another --out")  from error  # fmt: skip
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if _is_at(path, descriptor):
            return descriptor
        os.close(descriptor)  # its last holder removed it in between; there may be a new one under the name


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
