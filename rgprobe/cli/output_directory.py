"""The directory that a run writes into: one run at a time, results whole or absent, earlier ones kept until then."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rgprobe.errors import EnvironmentFault
from rgprobe.locking import exclusive

__all__ = ["Staging", "staged_output"]

STAGING = ".rgprobe-unfinished-"
ROOM = 64 * 2**20  # bytes; a report takes about 7 MB at most and a result a few


@dataclass(frozen=True)
class Staging:
    """Where results are written until all of them are complete.

    Attributes:
        directory: where they will be.
        unfinished: a directory inside it, on the same file system, so that publishing is renaming.
    """

    directory: Path
    unfinished: Path

    def path(self, name: str) -> Path:
        """Where to write the result called `name` for now.

        Raises:
            EnvironmentFault: something that is not a file stands in its place.
        """
        target = self.directory / name
        if target.exists() and not target.is_file():
            raise _fault(target, "a file or nothing", "something else of that name")
        return self.unfinished / name

    def publish(self) -> list[Path]:
        """Flush every result to the disk, then give each its name; returns them in name order.

        Raises:
            EnvironmentFault: the disk is full or the directory has become unwritable.
        """
        written = sorted(self.unfinished.iterdir())
        try:
            for file in written:
                _flush(file)
            return [file.replace(self.directory / file.name) for file in written]
        except OSError as error:
            raise _fault(self.directory, "a directory that can be written", error.strerror or str(error)) from error


@contextmanager
def staged_output(directory: Path) -> Iterator[Staging]:
    """Hold `directory` for one run; whatever happens, nothing unfinished stays in it.

    Checked here, before anything is computed: that it can be created, written, and has room. What a killed run left
    unfinished is removed; so is the directory itself if this run created it and leaves it empty.

    Raises:
        EnvironmentFault: another run holds it, or it cannot be created or written, or the disk is full.
    """
    created = [place for place in (directory, *directory.parents) if not place.exists()]
    try:
        with exclusive(directory):
            _remove_unfinished(directory)
            _require_room(directory)
            try:
                unfinished = Path(tempfile.mkdtemp(prefix=STAGING, dir=directory))
            except OSError as error:
                raise _fault(directory, "a directory that can be written", error.strerror or str(error)) from error
            try:
                yield Staging(directory, unfinished)
            except EnvironmentFault as fault:
                raise _renamed(fault, unfinished, directory) from fault
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    finally:
        with suppress(OSError):  # the first that holds something ends it
            for place in created:
                place.rmdir()


def _renamed(fault: EnvironmentFault, unfinished: Path, directory: Path) -> EnvironmentFault:
    """The same fault of the file's final name: nobody knows the one that it has for a moment."""
    culprit = fault.culprit.replace(str(unfinished), str(directory))
    return EnvironmentFault(culprit, expected=fault.expected, received=fault.received, remedy=fault.remedy)


def _remove_unfinished(directory: Path) -> None:
    """Whoever wrote these is dead: its lock is ours."""
    for stale in directory.glob(f"{STAGING}*"):
        shutil.rmtree(stale, ignore_errors=True)


def _require_room(directory: Path) -> None:
    free = shutil.disk_usage(directory).free
    if free < ROOM:
        raise _fault(directory, f"{ROOM // 2**20} MiB of free space", f"{free // 2**20} MiB")


def _flush(file: Path) -> None:
    with file.open("rb+") as stream:
        os.fsync(stream.fileno())


def _fault(path: Path, expected: str, received: str) -> EnvironmentFault:
    return EnvironmentFault(
        str(path), expected=expected, received=received, remedy="free space, or choose another --out"
    )
