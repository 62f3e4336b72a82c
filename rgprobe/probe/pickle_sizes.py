"""What a pickled weight file says it will take, read without unpickling anything.

Compressed archives can ask for a thousand times their size, records of an archive may overlap, and a pickle can make an
object of any length from one number. Files that `torch.save` wrote do none of that: their records are stored as they are, and
every number in their pickle (sizes, strides, offsets) counts elements that the file holds.
"""

from __future__ import annotations

import pickletools
import zipfile
import zlib
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import IO, cast

from rgprobe.errors import CheckpointError

__all__ = ["require_honest_size"]

MAGIC = 0x1950A86A20F9469CFC6C  # what files of torch before 1.6 begin with, as a pickled number
HEADERS = 3  # pickles before the one that holds the tensors: magic number, protocol, sizes of types
SMALL = 2**16  # numbers below are no matter, whatever they count
PICKLE_LIMIT = 16 * 2**20  # bytes of the pickle itself: names, shapes and strides


def require_honest_size(path: Path) -> None:
    """Refuse a pickled weight file that declares more than it holds.

    Raises:
        CheckpointError: records that are compressed, larger together than the file, or not those of their checksums; a
            number in the pickle above the file's size in bytes; or neither an archive nor a pickle of torch.

    Example:
        >>> import tempfile, torch
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save({"weight": torch.ones(3)}, Path(folder, "a.bin"))
        ...     require_honest_size(Path(folder, "a.bin"))
    """
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            if zipfile.is_zipfile(file):
                _check_archive(path, size)
            else:
                file.seek(0)
                _check_old_file(path, file, size)
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, KeyError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise _refusal(
            path, f"a damaged one ({str(error).splitlines()[0][:120] if str(error) else 'it ends early'})"
        ) from error


def _check_archive(path: Path, size: int) -> None:
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        compressed = [record.filename for record in records if record.compress_type != zipfile.ZIP_STORED]
        if compressed:
            raise _refusal(path, f"a compressed record ({compressed[0]!r:.60})")
        declared = sum(record.file_size for record in records)
        if declared > size:
            raise _refusal(path, f"records of {declared:,} bytes in a file of {size:,}")
        pickles = [record for record in records if record.filename.endswith(".pkl")]
        if not pickles:
            raise _refusal(path, "an archive without one")
        for record in pickles:
            if record.file_size > PICKLE_LIMIT:
                raise _refusal(path, f"a pickle of {record.file_size:,} bytes without its tensors")
            _check_numbers(path, BytesIO(archive.read(record)), size)
        damaged = archive.testzip()  # torch does not look at the checksums that it writes
        if damaged is not None:
            raise _refusal(path, f"a record that has changed since ({damaged!r:.60})")


def _check_old_file(path: Path, file: BufferedIOBase, size: int) -> None:
    """As torch before 1.6 wrote them: pickles one after the other, then the numbers."""
    first = [argument for _, argument, _ in pickletools.genops(cast("IO[bytes]", file)) if isinstance(argument, int)]
    if MAGIC not in first:
        raise _refusal(path, "another file")
    for _ in range(HEADERS):
        _check_numbers(path, file, size)


def _check_numbers(path: Path, stream: BufferedIOBase, size: int) -> None:
    for operation, argument, _ in pickletools.genops(cast("IO[bytes]", stream)):
        # lengths of what follows are arguments of their own operations, and bounded by the file
        if isinstance(argument, int) and abs(argument) > max(size, SMALL) and operation.name != "PROTO":
            raise _refusal(path, f"one that asks for {argument:,} of something")


def _refusal(path: Path, received: str) -> CheckpointError:
    return CheckpointError(
        str(path),
        expected="a pickle as torch.save writes it",
        received=received,
        remedy="convert the weights to safetensors where you trust them",
    )
