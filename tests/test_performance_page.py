"""docs/performance.md shows what was measured. To measure again and write it:

for target in run pair sweep; do rgprobe bench $target --out DIR; done; python tests/test_performance_page.py DIR
"""

import shutil
import sys
from pathlib import Path

from measured_page import DOCS, IMAGES, shown, write

from rgprobe.benchmarks.pair_cost import PairOptions, PairResult, pair_table
from rgprobe.benchmarks.run_cost import RunOptions, RunResult, run_tables
from rgprobe.benchmarks.run_ways import WAYS
from rgprobe.benchmarks.sweep_overhead import SweepOptions, SweepResult, sweep_table

PAGE = DOCS / "performance.md"
RUN, PAIR, SWEEP = (DOCS / f"{name}.json" for name in ("run-cost", "pair-cost", "sweep-overhead"))


def tables():
    run, sweep = RunResult.from_json(RUN.read_text("utf-8")), SweepResult.from_json(SWEEP.read_text("utf-8"))
    quick = tuple(run.options["tokens"]) == RunOptions.quick().tokens
    source = f" --source {run.options['source']}" if run.options["source"] else ""
    made = f"Made by `rgprobe bench run{source}{' --quick' if quick else ''}`: {run.model}; {versions(run)}."
    pair = PairResult.from_json(PAIR.read_text("utf-8"))
    short = " --quick" if pair.options["tokens"] == PairOptions.quick().tokens else ""
    device = " --device cuda" if pair.options["device"].startswith("cuda") else ""
    set_beside = f"Made by `rgprobe bench pair{device}{short}`: {versions(pair, without='on')}."
    few = tuple(sweep.options["items"]) == SweepOptions.quick().items
    swept = f"Made by `rgprobe bench sweep{' --quick' if few else ''}`: {versions(sweep)}."
    return {
        "run": "\n\n".join([made, *(table.as_markdown() for table in run_tables(run))]),
        "pair": "\n\n".join([set_beside, pair_table(pair).as_markdown()]),
        "sweep": "\n\n".join([swept, sweep_table(sweep).as_markdown()]),
    }


def versions(result, without=None):
    return ", ".join(f"{name} {number}" for name, number in result.versions.items() if name != without)


def test_the_page_shows_what_was_measured():
    assert shown(PAGE) == tables(), "run python tests/test_performance_page.py"


def test_the_records_have_todays_ways_and_no_paths():
    text = "".join(record.read_text("utf-8") for record in (RUN, PAIR, SWEEP))
    assert {timing.way for timing in RunResult.from_json(RUN.read_text("utf-8")).timings} == set(WAYS)
    assert "/home" not in text
    assert "/tmp" not in text


def test_the_figures_are_there():
    for name in ("run-cost", "sweep-overhead"):
        assert "</svg>" in (IMAGES / f"{name}.svg").read_text("utf-8")


if __name__ == "__main__":
    for folder in map(Path, sys.argv[1:]):
        for record in (RUN, PAIR, SWEEP):
            for found, kept in ((record.name, record), (f"{record.stem}.svg", IMAGES / f"{record.stem}.svg")):
                if (folder / found).exists():
                    shutil.copyfile(folder / found, kept)
    write(PAGE, tables())
