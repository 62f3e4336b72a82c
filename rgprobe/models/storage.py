"""Writing that survives a kill, and a lock so that two runs never share a directory."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rgprobe.errors import EnvironmentFault

__all__ = ["exclusive", "sha256_of", "write_bytes_atomically", "write_text_atomically"]


def write_bytes_atomically(path: Path, content: bytes) -> None:
    """Write to a temporary name beside `path`, fsync, rename: a reader sees the old file or the new one, never half.

    Raises:
        EnvironmentFault: the disk is full or the directory cannot be written; an earlier file stays as it was.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _not_writable(path, error) from error


def write_text_atomically(path: Path, content: str) -> None:
    """`write_bytes_atomically` of the text in UTF-8."""
    write_bytes_atomically(path, content.encode())


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def exclusive(directory: Path) -> Iterator[Path]:
    """Create `directory` if need be and hold its lock; the system drops the lock of a run that died.

    Raises:
        EnvironmentFault: another run holds the lock, or the directory cannot be created or written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / ".lock").open("w")
    except OSError as error:
        raise _not_writable(directory, error) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise EnvironmentFault(
                str(directory),
                expected="a directory that no other run is writing to",
                received="a lock held by another run",
                remedy="wait for that run, or pass another --out",
            ) from error
        yield directory


def _not_writable(path: Path, error: OSError) -> EnvironmentFault:
    return EnvironmentFault(
        str(path),
        expected="a place that can be written",
        received=str(error),
        remedy="free space or pass another --out",
    )
