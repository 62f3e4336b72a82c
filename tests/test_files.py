import os
import subprocess
import sys

import pytest

from rgprobe.errors import EnvironmentFault
from rgprobe.files import atomic_path, write_bytes


def test_failed_write_leaves_the_earlier_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "weights"
    write_bytes(path, b"earlier")

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(EnvironmentFault, match="No space left"):
        write_bytes(path, b"later")
    assert path.read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_left_is_removed_and_what_others_write_is_not(tmp_path):
    path = tmp_path / "weights"
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    with atomic_path(path) as mine:
        assert f".{os.getpid()}." in mine.name
        abandoned = mine.with_name(mine.name.replace(f".{os.getpid()}.", f".{dead.pid}."))
        elsewhere = mine.with_name(f".weights.another-machine.{dead.pid}.x.part")
        for other in (abandoned, elsewhere):
            other.write_bytes(b"half")
        with atomic_path(path):
            pass
        assert sorted(tmp_path.iterdir()) == sorted([mine, elsewhere, path])
