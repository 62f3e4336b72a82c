"""The benchmark of runs: every way at every size, ratios and exponents from what was timed, a record that survives."""

import json

import pytest
import torch
from benchmark_results import runs

from rgprobe.benchmarks.growth import growth
from rgprobe.benchmarks.peak_memory import resident_peak
from rgprobe.benchmarks.run_cost import RunOptions, RunResult, measure_runs, run_tables
from rgprobe.benchmarks.run_inputs import Shape, pinned_checkpoint, token_ids
from rgprobe.benchmarks.run_ways import WAYS
from rgprobe.errors import BadInput, EnvironmentFault
from rgprobe.models.shipped import shipped_path
from rgprobe.probe.loading import load
from rgprobe.probe.plain import plain_forward

TINY = Shape(blocks=2, heads=2, width=8, vocabulary=67, context=64)


def test_every_way_is_timed_at_every_size():
    options = RunOptions((9, 12), (1,), (1, 3), 9, TINY, rounds=1, memory=False)
    told = []
    result = measure_runs(options, on_progress=lambda *step: told.append(step))
    sizes = [("tokens", 9), ("tokens", 12), ("prompts", 1), ("prompts", 3), ("blocks", 1)]
    assert [(t.axis, t.size, t.way) for t in result.timings] == [(*size, way) for size in sizes for way in WAYS]
    assert all(0 < timing.least <= timing.median for timing in result.timings)
    assert told[0] == (0, 5, "tokens 9")
    assert told[-1] == (5, 5, "done")
    assert "2 blocks, 2 heads, width 8" in result.model


def test_ratios_exponents_and_tables():
    result = runs()
    assert result.ratios("tokens", "run") == pytest.approx({32: 2.0, 64: 4.0, 128: 8.0})
    assert result.memory("run") == {32: 2.0, 64: 2.0, 128: 2.0}
    assert result.growth("tokens", "attention").exponent == pytest.approx(1.5)
    assert result.excess("tokens", "run").exponent == pytest.approx(1.0)
    costs, growths = run_tables(result)
    assert costs.rows[0] == ("default diagnostics, time", "2.00", "4.00", "8.00")
    assert [row[0] for row in growths.rows] == ["tokens", "blocks", "prompts"]


def test_the_interval_of_an_exponent_holds_it_as_often_as_it_says():
    generator = torch.Generator().manual_seed(0)
    sizes = [128, 256, 512, 1024, 2048]
    held = 0
    for _ in range(1000):
        noise = (0.1 * torch.randn(5, generator=generator)).exp().tolist()
        found = growth(sizes, [n**1.3 * factor for n, factor in zip(sizes, noise, strict=True)])
        held += found.low <= 1.3 <= found.high
    assert 930 <= held <= 970


def test_a_record_survives_its_file():
    result = runs()
    again = RunResult.from_json(result.to_json())
    assert (again.timings, again.peaks, again.model) == (result.timings, result.peaks, result.model)
    with pytest.raises(BadInput, match="run cost"):
        RunResult.from_json(json.dumps({"schema": "other"}))


def test_a_plain_pass_computes_the_logits_of_the_probe():
    ids = token_ids(11, 67, seed=3)
    with pinned_checkpoint(TINY, seed=1) as folder:
        forward, vocabulary = plain_forward(folder)
        torch.testing.assert_close(forward(ids)[0], load(folder, device="cpu").logits(ids), rtol=1e-5, atol=1e-5)
        again, _ = plain_forward(folder)
    assert vocabulary == 67
    assert not folder.exists()
    assert torch.equal(forward(ids), again(ids))
    gauge, _ = plain_forward(shipped_path("gauge-small"))
    torch.testing.assert_close(gauge(ids)[0], load("gauge-small", device="cpu").logits(ids), rtol=1e-5, atol=1e-5)


def test_a_process_that_dies_says_why(tmp_path):
    with pytest.raises(EnvironmentFault, match="peak memory of forward"):
        resident_peak("forward", tmp_path / "nowhere", 9)
