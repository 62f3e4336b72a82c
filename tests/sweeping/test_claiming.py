"""Claims: one holder at a time, whoever died has lost his."""

import fcntl
import os
import subprocess
import sys

import pytest

from rgprobe.errors import EnvironmentFault
from rgprobe.sweeping.claiming import claim


def test_a_claim_is_held_once_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / ".item.lock"
    with claim(path) as first, claim(path) as second:
        assert (first, second) == (True, False)
        assert path.exists()
    assert list(tmp_path.iterdir()) == []
    with claim(path) as again:
        assert again


def test_the_claim_of_a_killed_process_is_taken_over(tmp_path):
    path = tmp_path / ".item.lock"
    code = (
        "import os, signal, sys; from pathlib import Path; from rgprobe.sweeping.claiming import claim\n"
        "with claim(Path(sys.argv[1])):\n    os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, path]).returncode == -9
    assert path.exists()
    with claim(path) as mine:
        assert mine


def test_a_lock_on_a_file_that_its_holder_has_removed_is_no_claim(tmp_path, monkeypatch):
    """Between opening and locking, the last holder lets go and another one comes: only that one may have it."""
    path, right, first = tmp_path / ".item.lock", fcntl.flock, []

    def flock(descriptor, how):
        if not first:
            first.append(descriptor)
            path.unlink()
            other = os.open(path, os.O_RDWR | os.O_CREAT)
            right(other, how)
            first.append(other)
        right(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with claim(path) as mine:
        assert not mine
    os.close(first[1])


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(EnvironmentFault, match="can be written"), claim(tmp_path / "absent" / ".item.lock"):
        pass
