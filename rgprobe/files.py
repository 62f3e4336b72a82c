"""Files that are whole or absent: written beside their destination, flushed to the disk, renamed."""

from __future__ import annotations

import glob
import hashlib
import os
import platform
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rgprobe.errors import EnvironmentFault

__all__ = ["atomic_path", "file_name", "sha256_of", "write_bytes", "write_text"]


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`; renamed to it when the block succeeds, removed when it fails.

    A reader sees the earlier file or the new one, never a part; a failure leaves the earlier file as it was. What writers of
    this file left that were killed on this machine is removed.

    Raises:
        EnvironmentFault: the directory is missing or read-only, or the disk is full.
    """
    try:
        _remove_abandoned(path)
        writer = f"{_machine()}.{os.getpid()}"
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.{writer}.", suffix=".part", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise _fault(path, error) from error
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        raise _fault(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def file_name(name: str) -> str:
    """A model's name as a file name: hub ids hold a slash, directories anything.

    Example:
        >>> file_name("org/model"), file_name("../x y"), file_name("...")
        ('org--model', '--x_y', 'model')
    """
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", name.replace("/", "--")).lstrip(".")
    return safe[:120] or "model"


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def sha256_of(path: Path) -> str:
    """Hexadecimal sha256 of a file, read in blocks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _remove_abandoned(path: Path) -> None:
    for part in path.parent.glob(f".{glob.escape(path.name)}.{_machine()}.*.part"):
        process = part.name.split(".")[-3]
        if process.isdigit() and not _is_alive(int(process)):
            part.unlink(missing_ok=True)


def _machine() -> str:
    """A folder may be shared, and numbers of processes belong to one machine."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", platform.node())[:40] or "unnamed"


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fault(path: Path, error: OSError) -> EnvironmentFault:
    return EnvironmentFault(
        str(path),
        expected="a directory with room that can be written to",
        received=error.strerror or str(error),
        remedy="choose another output directory or free space",
    )
