"""`rgprobe plan`: what it prints and refuses."""

import json
import time

import pytest

from rgprobe.planning import Plan


@pytest.fixture
def asked(monkeypatch):
    seen = []

    def plan(source, **options):
        seen.append((source, options))
        options["on_progress"](1, 2, "3 blocks")
        seconds = {"passes": 100.0, "passes of their own": 0.0}
        return Plan("tiny", "standard", 1000, 2, 64, 3, 5, 2e9, seconds, {"weights": 4e3}, 1.5e6, 12.0)

    monkeypatch.setattr("rgprobe.planning.plan", plan)
    return seen


def test_time_memory_and_disk(rgprobe, asked):
    outcome = rgprobe("plan", "tiny", "--tokens", 64, "--prompts", 3, "--quiet")
    assert outcome.code == 0
    for line in ("3 prompts x 5 models", "time    2 min", "memory  4 kB", "disk    1.5 MB", "12 times the work"):
        assert line in outcome.out
    assert "of their own" not in outcome.out
    assert asked[0][1]["weight_bytes"] == 4
    assert asked[0][1]["rates"] is None
    assert asked[0][1]["clock"] is time.perf_counter
    assert rgprobe("plan", "tiny", "--busy").code == 0
    assert asked[1][1]["clock"] is time.process_time


def test_json_and_another_machine(rgprobe, asked):
    outcome = rgprobe(
        "plan", "tiny", "--json", "--dtype", "bfloat16", "--flops", 4e14, "--bandwidth", 3e12, "--parts", 8
    )
    assert json.loads(outcome.out)["total_seconds"] == 100.0
    assert (asked[0][1]["rates"].flops, asked[0][1]["rates"].parts, asked[0][1]["weight_bytes"]) == (4e14, 8, 2)


def test_one_rate_alone_is_refused(rgprobe, asked):
    outcome = rgprobe("plan", "tiny", "--flops", 1e12)
    assert outcome.code == 2
    assert "--bandwidth" in outcome.err
    assert asked == []
