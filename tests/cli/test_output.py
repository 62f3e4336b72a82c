"""Where results go: whole or absent, one run at a time, earlier ones kept."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import rgprobe.cli.run_command
import rgprobe.measuring
import rgprobe.report
from rgprobe.condensation import CondensationTree
from rgprobe.locking import exclusive
from rgprobe.rg_flow import open_flow

TEXT = ("--text", "Now is the winter of our discontent made glorious summer")
FILES = ["report.html", "tiny.nc", "tiny.trees.json"]
ROOT = Path(__file__).parents[2]


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture
def out(tmp_path):
    return tmp_path / "new" / "out"


@pytest.fixture
def earlier(finished, out):
    """Results of an earlier run of other prompts."""
    out.parent.mkdir()
    finished.rename(out)
    return contents(out)


def test_files_and_summary(run_tiny, out):
    outcome = run_tiny(*TEXT, out=out, nulls=2)
    assert outcome.code == 0
    assert names(out) == FILES
    for name in FILES:
        assert str(out / name) in outcome.out
    assert "Descriptive only" in outcome.out
    assert "(here 2 and 1)" in outcome.out


def test_trees_file_holds_every_tree(finished):
    flow = open_flow(finished / "tiny.nc")
    record = json.loads((finished / "tiny.trees.json").read_text("ascii"))
    assert (record["depth_is"], record["units"]) == ("state", "nats per token")
    assert [(t["prompt"], t["depth"]) for t in record["trees"]] == [(p, d) for p in range(2) for d in range(3)]
    for entry in record["trees"]:
        tree = CondensationTree.from_json(json.dumps(entry))
        expected = flow.tree(entry["prompt"], entry["depth"])
        assert tree.parents.tolist() == expected.parents.tolist()
        assert tree.labels == flow.recorded_tokens(entry["prompt"])
        assert entry["loss"] == expected.loss(1)


def test_no_trees_without_their_diagnostic(run_tiny, out):
    assert run_tiny(*TEXT, out=out, diagnostics="temperature,plateau").code == 0
    record = json.loads((out / "tiny.trees.json").read_text())
    assert record["trees"] == []
    assert "not run" in record["reason"]


def test_equal_runs_write_equal_bytes(run_tiny, out):
    assert run_tiny(*TEXT, out=out, nulls=1).code == 0
    first = contents(out)
    assert run_tiny(*TEXT, out=out, nulls=1).code == 0
    second = contents(out)
    assert first["tiny.nc"] == second["tiny.nc"]
    assert first["tiny.trees.json"] == second["tiny.trees.json"]


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_file_in_place_of_the_directory(run_tiny, tmp_path, place):
    (tmp_path / "file").write_text("precious")
    outcome = run_tiny(*TEXT, out=tmp_path / place)
    assert outcome.code == 3
    assert str(tmp_path / place) in outcome.err
    assert (tmp_path / "file").read_text() == "precious"


def test_directory_in_place_of_a_result(run_tiny, out, monkeypatch):
    (out / "report.html").mkdir(parents=True)
    monkeypatch.setattr(rgprobe.flow, "run", _must_not_be_called)
    outcome = run_tiny(*TEXT, out=out)
    assert outcome.code == 3
    assert "report.html" in outcome.err


def test_unwritable_directory_is_found_before_computing(run_tiny, out, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    monkeypatch.setattr(rgprobe.flow, "run", _must_not_be_called)
    outcome = run_tiny(*TEXT, out=out)
    assert outcome.code == 3
    assert "Read-only file system" in outcome.err
    assert not out.parent.exists()


def test_full_disk_is_found_before_computing(run_tiny, out, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 99, 1))
    monkeypatch.setattr(rgprobe.flow, "run", _must_not_be_called)
    outcome = run_tiny(*TEXT, out=out)
    assert outcome.code == 3
    assert "MiB of free space" in outcome.err


@pytest.mark.parametrize(
    "where", ["rgprobe.storage.write_tree", "rgprobe.report.write_report", "rgprobe.cli.output_directory._flush"]
)
def test_disk_that_fills_up_leaves_the_earlier_results(run_tiny, out, earlier, monkeypatch, where):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(where, full)
    outcome = run_tiny(*TEXT, out=out, draw=True)
    assert outcome.code == 3
    assert "No space left on device" in outcome.err
    assert contents(out) == earlier


def test_disk_that_fills_up_in_the_middle_of_a_file(checkpoint, out):
    """The system's own refusal, which the HDF5 library once survived only until the process ended."""
    limit = 100_000  # bytes per file: less than any result takes
    code = (
        f"import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}));"
        "from rgprobe.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    arguments = ["run", checkpoint, *TEXT, "--nulls", "0", "--out", out]
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 3, done
    assert done.stderr.startswith(f"rgprobe: {out / 'tiny.nc'}: expected")
    assert "File too large" in done.stderr
    assert not out.parent.exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_interrupted_run_leaves_the_earlier_results(run_tiny, out, earlier, monkeypatch, error):
    def stop(*args, **kwargs):
        raise error

    monkeypatch.setattr(rgprobe.measuring, "assemble_node", stop)
    outcome = run_tiny(*TEXT, out=out)
    assert outcome.code == (130 if error is KeyboardInterrupt else 1)
    assert contents(out) == earlier


def test_what_a_killed_run_left_is_removed(run_tiny, out, earlier):
    stale = out / ".rgprobe-unfinished-dead"
    stale.mkdir()
    (stale / "tiny.nc").write_bytes(b"half")
    assert run_tiny(*TEXT, out=out).code == 0
    assert names(out) == FILES


def test_second_run_into_the_directory_of_a_running_one(run_tiny, out, earlier):
    with exclusive(out):
        outcome = run_tiny(*TEXT, out=out)
    assert outcome.code == 3
    assert "lock held by another run" in outcome.err
    assert contents(out) == earlier
    assert run_tiny(*TEXT, out=out).code == 0


def test_terminated_run_cleans_up(checkpoint, out):
    text = "word " * 40
    command = [sys.executable, "-m", "rgprobe", "run", checkpoint, "--text", text, "--nulls", "100000", "--out", out]
    run = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    while run.poll() is None and not list(out.glob(".rgprobe-unfinished-*")):
        time.sleep(0.02)
    run.send_signal(signal.SIGTERM)
    _, err = run.communicate()
    assert run.returncode == 130, err
    assert err == "rgprobe: interrupted; nothing was written, earlier results are as they were\n"
    assert not out.parent.exists()


def _must_not_be_called(*args, **kwargs):
    raise AssertionError("computed before the output was checked")


def test_a_long_run_is_announced_unless_it_is_to_be_quiet(checkpoint, out, monkeypatch, capsys):
    monkeypatch.setattr(rgprobe.cli.run_command, "LONG", -1.0)
    arguments = ["run", str(checkpoint), *TEXT, "--nulls", "0", "--diagnostics", "temperature", "--out", str(out)]
    assert rgprobe.cli.main([*arguments, "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    assert rgprobe.cli.main(arguments) == 0
    assert re.fullmatch(r"rgprobe: about \d+ s: 1 prompt x 1 model, .*\n", capsys.readouterr().err)
