"""What a run will cost is said before it starts: the rehearsed part is timed, passes of their own are counted."""

import pytest
import xarray as xr

from rgprobe import estimating
from rgprobe.diagnostics import Diagnostic, Measurement, Quantity, select
from rgprobe.estimating import CostEstimate, estimate_cost
from rgprobe.probe.loading import load
from rgprobe.probe.passes import PASSES, OwnPasses

COUNTED = Diagnostic(
    name="counted", catalogue="D9", title="", depth="block", quantities=(Quantity("q", "1", "m"),),
    requires=frozenset({"counted"}), measure=lambda trace: Measurement(xr.Dataset()), assumption="", reading="", undefined="",
)  # fmt: skip


class Clock:
    """Advances by a second for each pass and by nothing else."""

    def __init__(self, probe, monkeypatch):
        self.now = 0.0
        stream = probe.stream
        monkeypatch.setattr(estimating.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(type(probe), "stream", lambda one, *given: (self.tick(), stream(*given))[1])

    def tick(self):
        self.now += 1.0


@pytest.fixture
def timed(monkeypatch):
    probe = load("standard-small")
    Clock(probe, monkeypatch)
    return probe


def test_own_passes_are_counted_and_the_rest_is_timed(timed, monkeypatch):
    def never(*_):
        raise AssertionError("an estimate must not make the passes that it counts")

    monkeypatch.setitem(PASSES, "counted", OwnPasses(measure=never, forwards=lambda probe: 40.0))
    encoded = timed.encode(["one two three four five", "one two three four five", "one two three four five"])
    found = estimate_cost(timed, encoded, (COUNTED, *select("free_energy")), nulls=2, shuffles=1)
    assert found.dearest == (("counted", 40.0),)
    assert found.forwards == pytest.approx(41.0)  # 40 counted and one rehearsed, a second each
    assert found.seconds == pytest.approx(41.0 * 3 * 4)


def test_longer_prompts_are_scaled_by_their_tokens(timed):
    encoded = timed.encode(["to be or not to be", "to be or not to be", "to be " * 30])
    found = estimate_cost(timed, encoded, select("free_energy"), nulls=0, shuffles=0)
    assert found.seconds == pytest.approx(sum(map(len, encoded)) / len(encoded[0]))


def test_it_is_said_in_one_line():
    line = str(CostEstimate(24, 7, 63.4, (("jacobians", 36.0), ("gains", 22.0)), 400.0))
    assert line == "about 7 min: 24 prompts x 7 models, 63 forward passes' work each (jacobians 36, gains 22)"
