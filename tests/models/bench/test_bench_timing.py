"""Turns, rounds and budgets, with a clock that the calls themselves advance."""

import pytest
import torch

from rgprobe.models.bench import timing
from rgprobe.models.bench.timing import take_turns
from rgprobe.threads import torch_threads


@pytest.fixture
def clock(monkeypatch):
    """A clock, and a maker of calls that take the stated seconds, one after another, and write their name down."""
    now, log = [0.0], []

    def make(name, *seconds):
        left = list(seconds)

        def call():
            log.append(name)
            now[0] += left.pop(0) if len(left) > 1 else left[0]

        return call

    monkeypatch.setattr(timing.time, "process_time", lambda: now[0])
    return make, log


def test_methods_take_turns_after_their_warm_up(clock):
    make, log = clock
    times = take_turns({"a": make("a", 0.9, 0.1, 0.3, 0.2), "b": make("b", 0.5)}, rounds=3, patience=100.0)
    assert "".join(log) == "ab" + "ab" * 3
    assert (times["a"].low, times["a"].median, times["a"].high, times["a"].calls) == pytest.approx((0.1, 0.2, 0.3, 3))
    assert times["b"].median == pytest.approx(0.5)


def test_a_slow_first_call_counts_and_patience_ends_the_rest(clock):
    make, log = clock
    seconds = {"slow": 6.0, "slowish": 2.0, "middling": 0.9, "quick": 0.5}
    times = take_turns({name: make(name, each) for name, each in seconds.items()}, rounds=6, patience=4.2)
    assert {name: timing.calls for name, timing in times.items()} == {
        "slow": 1,
        "slowish": 3,
        "middling": 3,
        "quick": 6,
    }
    assert {name: timing.median for name, timing in times.items()} == pytest.approx(seconds)
    assert log.count("slow") == 1


def test_short_calls_are_repeated_until_a_sample_is_long(clock):
    make, log = clock
    times = take_turns({"short": make("short", 0.001)}, rounds=2, patience=10.0)
    assert len(log) == 1 + 2 * 10
    assert times["short"].median == pytest.approx(0.001)


def test_one_thread_inside_and_as_many_as_before_outside():
    before = torch.get_num_threads()
    inside = []

    def fail():
        with torch_threads(1):
            inside.append(torch.get_num_threads())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert inside == [1]
    assert torch.get_num_threads() == before
