"""Writing that survives a kill."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from rgprobe.errors import EnvironmentFault

__all__ = ["not_writable", "sha256_of", "write_bytes_atomically", "write_text_atomically"]


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
        raise not_writable(path, error) from error


def write_text_atomically(path: Path, content: str) -> None:
    """`write_bytes_atomically` of the text in UTF-8."""
    write_bytes_atomically(path, content.encode())


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def not_writable(path: Path, error: OSError) -> EnvironmentFault:
    """The error for a file or directory that the system would not let us write."""
    return EnvironmentFault(
        str(path),
        expected="a place that can be written",
        received=str(error),
        remedy="free space or pass another --out",
    )
