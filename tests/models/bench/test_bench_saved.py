"""Every benchmark's record refuses what is not its own, whatever that is."""

import pytest

from rgprobe.benchmarks.run_cost import RunResult
from rgprobe.benchmarks.sweep_overhead import SweepResult
from rgprobe.benchmarks.tree_speed import TreeResult
from rgprobe.errors import BadInput
from rgprobe.models.bench.result import LadderResult

RECORDS = {
    RunResult: "run-cost",
    SweepResult: "sweep-overhead",
    TreeResult: "tree-speed",
    LadderResult: "attention-ladder",
}


@pytest.mark.parametrize("record", RECORDS)
def test_what_is_not_a_record_is_bad_input(record):
    schema = RECORDS[record]
    wrong = [
        "",
        "no JSON",
        "[1]",
        "7",
        "{}",
        f'{{"schema": "rgprobe.{schema}", "version": 2}}',
        f'{{"schema": "rgprobe.{schema}", "version": 1}}',
    ]
    for text in wrong:
        with pytest.raises(BadInput, match=f"{schema.replace('-', ' ')}: expected JSON of schema rgprobe.{schema}"):
            record.from_json(text)
