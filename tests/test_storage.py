"""Files are whole or absent, and equal for equal content."""

import gc
import sys

import h5py
import numpy as np
import pytest
import xarray as xr

from rgprobe.errors import BadInput, EnvironmentFault
from rgprobe.files import atomic_path, write_text
from rgprobe.storage import read_tree, write_tree


def tree(seed=0):
    rng = np.random.default_rng(seed)
    words = np.array([["beats null", ""], ["within null", "é‮"]], dtype=object)
    node = xr.Dataset(
        {"x": (("a", "b"), rng.standard_normal((40, 5))), "verdict": (("c", "d"), words), "n": ("c", np.int8([1, 0]))},
        coords={"c": ["one", "two"]},
        attrs={"text": "α <b>", "number": 3},
    )
    node["x"][0, 0] = np.nan
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs={"provenance": "{}"}), "node": node})


def test_a_tree_reads_back_identical_and_writes_equal_bytes(tmp_path):
    before = tree()
    for name in ("a.nc", "b.nc"):
        write_tree(before, tmp_path / name)
    assert (tmp_path / "a.nc").read_bytes() == (tmp_path / "b.nc").read_bytes()
    assert read_tree(tmp_path / "a.nc").identical(tree())
    assert before.identical(tree())
    assert all(not array.encoding for array in before["node"].data_vars.values())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.nc", "b.nc"]


def test_a_failed_write_leaves_the_earlier_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "first")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:
        temporary.write_text(str(1 / 0))
    with pytest.raises(EnvironmentFault, match="No space"), atomic_path(path) as temporary:
        raise OSError(28, "No space left on device")
    assert path.read_text() == "first"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]
    write_text(path, "second")
    assert path.read_text() == "second"


def test_a_missing_directory_and_a_torn_file_are_named(tmp_path):
    with pytest.raises(EnvironmentFault, match="absent"):
        write_tree(tree(), tmp_path / "absent" / "a.nc")
    with pytest.raises(BadInput, match=r"gone\.nc"):
        read_tree(tmp_path / "gone.nc")
    write_tree(tree(), tmp_path / "a.nc")
    torn = tmp_path / "torn.nc"
    torn.write_bytes((tmp_path / "a.nc").read_bytes()[:2000])
    with pytest.raises(BadInput, match=r"torn\.nc"):
        read_tree(torn)


def test_damage_is_told_once(tmp_path, monkeypatch):
    """What was opened of a damaged file fails again when it is closed, which Python would print."""

    class Opened:
        def __del__(self):
            raise OSError("cannot be closed")

    def damaged(*args, **kwargs):
        file = Opened()
        file.root = file  # as h5netcdf's groups hold their file
        raise ValueError("damaged")

    write_tree(tree(), tmp_path / "a.nc")
    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    monkeypatch.setattr(xr, "open_datatree", damaged)
    with pytest.raises(BadInput, match=r"a\.nc.*damaged"):
        read_tree(tmp_path / "a.nc")
    gc.collect()
    assert told == []


def test_memory_that_runs_out_is_not_a_fault_of_the_file(tmp_path, monkeypatch):
    write_tree(tree(), tmp_path / "a.nc")

    def exhausted(*args, **kwargs):
        raise MemoryError("Unable to allocate 9 bytes")

    monkeypatch.setattr(xr, "open_datatree", exhausted)
    with pytest.raises(MemoryError, match="9 bytes"):
        read_tree(tmp_path / "a.nc")


def test_a_file_that_declares_more_than_it_can_hold_is_refused_before_it_is_read(tmp_path):
    with h5py.File(tmp_path / "a.nc", "w") as file:  # 8 TiB in a file of a few kB
        file.create_dataset("x", shape=(2**40,), dtype="f8", chunks=(2**10,), compression="gzip")
    with pytest.raises(
        BadInput, match=r"a\.nc: expected arrays that .* bytes can hold, received arrays of 8,796,093,022,208"
    ):
        read_tree(tmp_path / "a.nc")
