"""The benchmark of sweeps: every way is timed, with items that take no time."""

import json

import pytest
from benchmark_results import sweeps

from rgprobe.benchmarks.sweep_overhead import PEER, SweepOptions, SweepResult, measure_sweep, sweep_table
from rgprobe.errors import BadInput


def test_every_way_is_timed():
    result = measure_sweep(SweepOptions((4,), workers=1))
    assert [(t.way, t.items) for t in result.timings] == [
        ("one process", 4), ("one process, results there", 4), ("1 workers", 3), (PEER, 4),
    ]  # fmt: skip
    assert all(timing.wall > 0 and timing.processor >= 0 for timing in result.timings)


def test_the_table_sets_each_way_against_the_files_alone():
    table = sweep_table(sweeps())
    assert table.rows[0] == ("one process", "10.0", "20.0", "4.00", "1.00 (1.00 to 1.00)")
    assert table.rows[-1][3] == "1.00"


def test_a_record_survives_its_file():
    assert SweepResult.from_json(sweeps().to_json()).timings == sweeps().timings
    with pytest.raises(BadInput, match="sweep overhead"):
        SweepResult.from_json(json.dumps({"schema": "other"}))
