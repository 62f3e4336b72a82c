"""The loop between items and workers, with work that takes no time: retries, deaths, failures, other sweeps."""

import sys
from functools import partial

import pytest
from sweep_fates import attempts, items, made_up

from rgprobe.sweeping import driving
from rgprobe.sweeping.driving import drive
from rgprobe.sweeping.ledger import read_entry
from rgprobe.sweeping.local import LocalWorkers
from rgprobe.sweeping.pools import InProcess


@pytest.fixture
def notes(tmp_path):
    path = tmp_path / "notes"
    path.touch()
    return path


def test_failures_are_recorded_and_the_rest_is_finished(tmp_path, notes):
    told = []
    ended = drive(
        items([], ["bad input"], ["disk once"], []), InProcess(partial(made_up, notes=notes)), tmp_path, retries=1,
        on_progress=lambda *words: told.append(words),
    )  # fmt: skip
    assert ended == {"done": 3, "failed": 1}
    assert attempts(notes) == {"item0": 1, "item1": 1, "item2": 2, "item3": 1}  # bad input is not tried again
    entry = read_entry(tmp_path / "item1--prompts.json")
    assert (entry.failure.kind, entry.failure.exit_code, entry.failure.attempts) == ("CheckpointError", 2, 1)
    assert entry.result == ""
    assert [path.name for path in tmp_path.glob("*.json")] == ["item1--prompts.json"]
    assert told[0][:2] == (0, 4)
    assert told[-1][:2] == (4, 4)


def test_what_fails_every_time_is_tried_so_often_and_no_more(tmp_path, notes):
    ended = drive(items(["disk once"]), InProcess(partial(made_up, notes=notes)), tmp_path, retries=0)
    assert ended == {"failed": 1}
    assert read_entry(tmp_path / "item0--prompts.json").failure.message == "no room"


def test_an_item_that_another_sweep_works_on_is_asked_for_again(tmp_path, notes, monkeypatch):
    monkeypatch.setattr(driving, "POLL", 0.01)
    ended = drive(items(["held once"], []), InProcess(partial(made_up, notes=notes)), tmp_path)
    assert ended == {"done": 2}
    assert attempts(notes) == {"item0": 2, "item1": 1}


def test_workers_that_die_cost_their_own_item_only(tmp_path, notes):
    fates = [[], ["die"], ["slow"], ["die once"], [], []]
    pool = LocalWorkers(2, partial(made_up, notes=notes))
    try:
        ended = drive(items(*fates), pool, tmp_path, retries=1)
    finally:
        pool.close()
    assert ended == {"done": 5, "failed": 1}
    assert attempts(notes) == {"item0": 1, "item1": 2, "item2": 1, "item3": 2, "item4": 1, "item5": 1}
    failure = read_entry(tmp_path / "item1--prompts.json").failure
    assert (failure.kind, failure.attempts) == ("EnvironmentFault", 2)
    assert "its end by signal SIGKILL" in failure.message


def test_a_worker_that_cannot_start_fails_its_items(tmp_path, notes, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    pool = LocalWorkers(2, partial(made_up, notes=notes))
    try:
        ended = drive(items([], [], []), pool, tmp_path)
    finally:
        pool.close()
    assert ended == {"failed": 3}
    assert "exit status" in read_entry(tmp_path / "item0--prompts.json").failure.message
