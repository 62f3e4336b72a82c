"""Kills, full disks, read-only folders, races, other clocks: no torn file, nothing lost, resumed results identical."""

import collections
import gc
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager

import pytest
import safetensors.torch
from forked import Fork, at_change, contents, die
from long_commands import COMMANDS, comparable, without_drawing

KILLS, CHANGES, DISKS, PAIRS = (2, 50), (2, 50), (2, 20), (1, 20)


@pytest.fixture(scope="module", params=COMMANDS)
def command(request, sources, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        without_drawing(patch)
        yield COMMANDS[request.param](sources, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def reference(command, tmp_path_factory):
    """Results of a run that nothing disturbed, and the CPU seconds it takes; run here first, which loads everything."""
    assert command.run(tmp_path_factory.mktemp("warm") / "out") == 0
    gc.collect()
    gc.freeze()  # what is there is not walked, and so not copied, in the forks
    out = tmp_path_factory.mktemp("reference") / "out"
    ended = Fork(command(out)).ended()
    assert ended.code == 0, ended.err
    found, unfinished = contents(out)
    assert unfinished == []
    return found, ended.cpu


def torn(command, found, reference):
    """Files that are neither what an undisturbed run writes nor, where records and weights change on the way, readable."""
    whole = comparable(command, reference)
    return [name for name, content in found.items() if content != whole.get(name) and not readable(name, content)]


def readable(name, content):
    if not name.endswith((".json", ".safetensors")):
        return False
    try:
        json.loads(content) if name.endswith(".json") else safetensors.torch.load(content)
    except (ValueError, safetensors.SafetensorError):
        return False
    return True


def name_of(command):
    return type(command).__name__.lower()


def killed_at_random_instants(command, seconds, place):
    """Folders of forks killed at random instants of CPU time, without end; forks that were done before do not count."""
    draw = random.Random(0)
    for number in itertools.count():
        out = place / f"instant-{number}" / "out"
        if Fork(command(out)).kill_at(draw.uniform(0, seconds)).ended().code == -signal.SIGKILL:
            yield out


def killed_at_changes(command, place, *, step):
    """Folders of forks killed at every `step`-th change of a file."""
    for change in itertools.count(1, step):
        out = place / f"change-{change}" / "out"
        if Fork(command(out), before=at_change(change, die, below=out.parent)).ended().code != -signal.SIGKILL:
            return  # it does not change files as often
        yield out


def test_killed_at_any_instant(command, reference, full, tally, tmp_path):
    """SIGKILL at random instants of CPU time, and at every change of a file; then the same command again."""
    expected, seconds = reference
    kinds = {
        "at random instants": itertools.islice(killed_at_random_instants(command, seconds, tmp_path), KILLS[full]),
        "at changes of files": itertools.islice(
            killed_at_changes(command, tmp_path, step=1 if full else 9), CHANGES[full]
        ),
    }
    outcomes = collections.Counter()
    for kind, outs in kinds.items():
        for out in outs:
            assert torn(command, contents(out)[0], expected) == [], out
            again = Fork(command.resumed(out)).ended()
            assert again.code == 0, (out, again.err)
            found, unfinished = contents(out)
            assert unfinished == [], out
            assert comparable(command, found) == comparable(command, expected), out
            shutil.rmtree(out)
            outcomes[kind] += 1
    tally(f"kills of {name_of(command)}", **outcomes)


@contextmanager
def small_disk(place, size):
    """A file system of its own of so many bytes."""
    place.mkdir(parents=True, exist_ok=True)
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], capture_output=True)
    if made.returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_disk_full(command, reference, full, tally, tmp_path):
    """A real file system with room for a part of the results only."""
    expected, _ = reference
    need = sum(-(-len(content) // 4096) * 4096 for content in expected.values())
    outcomes = collections.Counter()
    for number in range(DISKS[full]):
        with small_disk(tmp_path / f"disk-{number}", 4 * need + 2**20) as disk:
            earlier = disk / "out"
            filler = disk / "filler"
            room = int(need * (number + 0.5) / DISKS[full])
            free = os.statvfs(disk).f_bavail * 4096
            filler.write_bytes(b"\0" * max(0, free - room - 8192))
            ended = Fork(command(earlier)).ended()
            found, unfinished = contents(earlier)
            outcomes[f"exit {ended.code}"] += 1
            assert ended.code in (0, 3), ended.err
            if ended.code == 3:
                assert ended.err.startswith("rgprobe: "), ended.err
            assert torn(command, found, expected) == []
            assert unfinished == []
            filler.unlink()
            again = Fork(command.resumed(earlier)).ended()
            assert again.code == 0, again.err
            assert comparable(command, contents(earlier)[0]) == comparable(command, expected)
            outcomes["identical after room was made"] += 1
    tally(f"full disks under {name_of(command)}", **outcomes)


def test_read_only_directory(command, reference, tmp_path):
    with small_disk(tmp_path / "disk", 2**22) as disk:
        out = disk / "out"
        out.mkdir()
        (out / "earlier").write_text("precious")
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        ended = Fork(command(out)).ended()
        assert ended.code == 3, ended.err
        assert contents(out)[0] == {"earlier": b"precious"}


def test_two_runs_into_one_directory(command, reference, full, tally, tmp_path):
    """Both start at once: one does the work, the other is refused (or, in a sweep, shares it); results are whole."""
    expected, _ = reference
    outcomes = collections.Counter()
    for number in range(PAIRS[full]):
        out = tmp_path / f"pair-{number}"
        pair = [Fork(command(out)), Fork(command(out))]
        ended = [each.ended() for each in pair]
        codes = tuple(sorted(each.code for each in ended))
        outcomes[str(codes)] += 1
        for each in ended:
            assert each.code == 0 or "lock held by another run" in each.err or "already holds" in each.err, each.err
        assert 0 in codes
        assert comparable(command, contents(out)[0]) == comparable(command, expected)
    tally(f"races of {name_of(command)}", **outcomes)


def test_lock_of_a_dead_run(command, reference, tmp_path):
    """What a killed run left, and files from the future, are no obstacle."""
    expected, seconds = reference
    out = tmp_path / "out"
    Fork(command(out)).kill_at(0.8 * seconds).ended()
    for path in [out, *out.rglob("*")]:
        if path.exists():
            os.utime(path, (4e9, 4e9))
    again = Fork(command.resumed(out)).ended()
    assert again.code == 0, again.err
    assert comparable(command, contents(out)[0]) == comparable(command, expected)


@pytest.mark.parametrize("shift", [-1e9, 1e9])
def test_results_do_not_depend_on_the_clock(command, reference, shift, tmp_path):
    expected, _ = reference

    def other_clock():
        now, steps = time.time, iter(range(10**9))
        time.time = lambda: now() + shift * (1 if next(steps) % 2 else -1)  # it jumps, too

    ended = Fork(command(tmp_path / "out"), before=other_clock).ended()
    assert ended.code == 0, ended.err
    assert comparable(command, contents(tmp_path / "out")[0]) == comparable(command, expected)
