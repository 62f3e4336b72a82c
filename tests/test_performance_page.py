"""docs/performance.md shows what was measured. To measure again and write it:

rgprobe bench run --out DIR; rgprobe bench sweep --out DIR; python tests/test_performance_page.py DIR
"""

import shutil
import sys
from pathlib import Path

from measured_page import DOCS, IMAGES, shown, write

from rgprobe.benchmarks.run_cost import RunOptions, RunResult, run_tables
from rgprobe.benchmarks.run_ways import WAYS
from rgprobe.benchmarks.sweep_overhead import SweepOptions, SweepResult, sweep_table

PAGE = DOCS / "performance.md"
RUN, SWEEP = DOCS / "run-cost.json", DOCS / "sweep-overhead.json"


def tables():
    run, sweep = RunResult.from_json(RUN.read_text("utf-8")), SweepResult.from_json(SWEEP.read_text("utf-8"))
    quick = tuple(run.options["tokens"]) == RunOptions.quick().tokens
    source = f" --source {run.options['source']}" if run.options["source"] else ""
    made = f"Made by `rgprobe bench run{source}{' --quick' if quick else ''}`: {run.model}; {versions(run)}."
    few = tuple(sweep.options["items"]) == SweepOptions.quick().items
    swept = f"Made by `rgprobe bench sweep{' --quick' if few else ''}`: {versions(sweep)}."
    return {
        "run": "\n\n".join([made, *(table.as_markdown() for table in run_tables(run))]),
        "sweep": "\n\n".join([swept, sweep_table(sweep).as_markdown()]),
    }


def versions(result):
    return ", ".join(f"{name} {number}" for name, number in result.versions.items())


def test_the_page_shows_what_was_measured():
    assert shown(PAGE) == tables(), "run python tests/test_performance_page.py"


def test_the_records_have_todays_ways_and_no_paths():
    text = RUN.read_text("utf-8") + SWEEP.read_text("utf-8")
    assert {timing.way for timing in RunResult.from_json(RUN.read_text("utf-8")).timings} == set(WAYS)
    assert "/home" not in text
    assert "/tmp" not in text


def test_the_figures_are_there():
    for name in ("run-cost", "sweep-overhead"):
        assert "</svg>" in (IMAGES / f"{name}.svg").read_text("utf-8")


if __name__ == "__main__":
    for folder in map(Path, sys.argv[1:]):
        for record in (RUN, SWEEP):
            if (folder / record.name).exists():
                shutil.copyfile(folder / record.name, record)
                shutil.copyfile(folder / f"{record.stem}.svg", IMAGES / f"{record.stem}.svg")
    write(PAGE, tables())
