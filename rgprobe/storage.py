"""Results as NetCDF files: equal bytes for equal results, since nothing in them depends on when or where they were written."""

from __future__ import annotations

import gc
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import xarray as xr

from rgprobe.checks import one_of
from rgprobe.errors import BadInput, is_out_of_memory
from rgprobe.files import write_bytes

__all__ = ["StoredTree", "read_tree", "write_tree"]

# dask's settings are of the process: threads that set and restore them in turn would mix them up
_ALONE = threading.RLock()
LARGEST_RATIO = 1032  # the most by which deflate, the compression of these files, shortens anything


@dataclass(frozen=True)
class StoredTree:
    """A result: labelled arrays, one node per diagnostic, that can be written whole and read back.

    Attributes:
        data: the arrays.
    """

    data: xr.DataTree

    @property
    def diagnostics(self) -> tuple[str, ...]:
        """Names of the diagnostics that it holds."""
        return tuple(name for name in self.data.children if name != "prompts")

    def to_xarray(self) -> xr.DataTree:
        """The labelled arrays, one node per diagnostic."""
        return self.data

    def save(self, path: str | Path) -> None:
        """Write one NetCDF4 file: to a temporary name, flushed to disk, then renamed.

        Raises:
            EnvironmentFault: the file cannot be written; an earlier one of that name is left as it was.
        """
        write_tree(self.data, Path(path))

    def _node(self, name: str) -> xr.Dataset:
        one_of("diagnostic", name, self.diagnostics, remedy="run it, or correct the name")
        return self.data[name].to_dataset()


def write_tree(tree: xr.DataTree, path: Path) -> None:
    """Write a tree of datasets as NetCDF4, numbers compressed without loss."""
    encoding = {
        node.path: {name: {"zlib": True, "complevel": 4} for name, array in node.data_vars.items() if _is_bulky(array)}
        for node in tree.subtree
    }
    # a copy shares no object with the caller's, so that encoding leaves no trace in it; and it is made in memory, because
    # a disk that fills up under the HDF5 library leaves it in a state that crashes the process when it exits
    with _without_a_cluster():
        # bytes of their own: a view that outlives an error into the interpreter's end takes its buffer down with it
        content = bytes(tree.copy().to_netcdf(None, engine="h5netcdf", encoding=encoding))
    write_bytes(path, content)


def read_tree(path: Path) -> xr.DataTree:
    """Read a tree into memory and close the file.

    Raises:
        BadInput: no such file, not NetCDF, or one that declares more than it can hold.
        MemoryError: it is as large as it says, and there is no room for it.
    """
    if not path.is_file():
        raise BadInput(str(path), expected="a result file", received="no such file", remedy="run rgprobe first")
    try:
        with _quiet_about_damage(), _without_a_cluster(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _refuse_impossible_sizes(path)
            with xr.open_datatree(path, engine="h5netcdf") as tree:
                return tree.load()
    except Exception as error:  # of a damaged file h5py and h5netcdf raise whatever its pieces run into
        if is_out_of_memory(error) or isinstance(error, BadInput):
            raise
        received = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadInput(str(path), expected="a NetCDF4 file that rgprobe wrote", received=received,
                       remedy="run rgprobe again")  from error  # fmt: skip


@contextmanager
def _without_a_cluster() -> Iterator[None]:
    """Where a Dask client is active, xarray asks its cluster for a lock on the file; ours lies in this process's memory."""
    if "distributed" not in sys.modules:
        yield
        return
    import dask

    with _ALONE, dask.config.set(scheduler="synchronous"):
        yield


@contextmanager
def _quiet_about_damage() -> Iterator[None]:
    """What was opened of a damaged file cannot always be closed, and Python prints an error that a finaliser raises."""
    try:
        yield
    except Exception as error:
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        try:
            cause: BaseException | None = error
            while cause is not None:
                traceback.clear_frames(cause.__traceback__)  # they hold the last references to the open file
                cause = cause.__cause__ or cause.__context__
            gc.collect()
        finally:
            sys.unraisablehook = hook
        raise


def _refuse_impossible_sizes(path: Path) -> None:
    """A changed shape asks for memory before anything is read, and then for more than the machine has."""
    sizes: list[int] = []

    def note(_: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset) and item.shape is not None:
            sizes.append(item.size * item.dtype.itemsize)

    with h5py.File(path, "r") as file:
        file.visititems(note)
    stored = path.stat().st_size
    if sum(sizes) > LARGEST_RATIO * stored:
        raise BadInput(str(path), expected=f"arrays that {stored:,} bytes can hold",
                       received=f"arrays of {sum(sizes):,} bytes", remedy="run rgprobe again")  # fmt: skip


def _is_bulky(array: xr.DataArray) -> bool:
    return array.size > 64 and array.dtype.kind in "fiu" and np.ndim(array) > 0
