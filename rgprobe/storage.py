"""NetCDF files that are whole or absent, and equal for equal results.

A file is written beside its destination under a temporary name, flushed to the disk and renamed; a reader never sees a
part of it, and a failed write leaves the earlier file in place. Nothing in it depends on when or where it was written.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import xarray as xr

from rgprobe.errors import BadInput, EnvironmentFault

__all__ = ["atomic_path", "read_tree", "write_text", "write_tree"]


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`; renamed to it when the block succeeds, removed when it fails.

    Raises:
        EnvironmentFault: the directory is missing or read-only, or the disk is full.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
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


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_tree(tree: xr.DataTree, path: Path) -> None:
    """Write a tree of datasets as NetCDF4, numbers compressed without loss."""
    encoding = {
        node.path: {name: {"zlib": True, "complevel": 4} for name, array in node.data_vars.items() if _is_bulky(array)}
        for node in tree.subtree
    }
    # a copy shares no object with the caller's, so that encoding leaves no trace in it; and it is made in memory, because
    # a disk that fills up under the HDF5 library leaves it in a state that crashes the process when it exits
    content = tree.copy().to_netcdf(None, engine="h5netcdf", encoding=encoding)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def read_tree(path: Path) -> xr.DataTree:
    """Read a tree into memory and close the file.

    Raises:
        BadInput: no such file, or not NetCDF.
    """
    if not path.is_file():
        raise BadInput(str(path), expected="a result file", received="no such file", remedy="run rgprobe first")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with xr.open_datatree(path, engine="h5netcdf") as tree:
                return tree.load()
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise BadInput(str(path), expected="a NetCDF4 file that rgprobe wrote", received=str(error).splitlines()[0],
                       remedy="run rgprobe again")  from error  # fmt: skip


def _is_bulky(array: xr.DataArray) -> bool:
    return array.size > 64 and array.dtype.kind in "fiu" and np.ndim(array) > 0


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
