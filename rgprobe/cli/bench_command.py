"""`rgprobe bench`: what a run, the shipped pair, a sweep, attention and condensation trees cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from rgprobe.checks import one_of
from rgprobe.cli.failures import printable
from rgprobe.cli.options import Debug, Quiet, known_sources
from rgprobe.cli.output_directory import Staging, staged_output
from rgprobe.cli.progress import Report, progress_bar
from rgprobe.errors import OptionError

__all__ = ["bench_command"]


def bench_command(
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="What to measure: run, pair, sweep, attention or tree.")
    ],
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Directory for the JSON file and the figure.")] = Path(
        "rgprobe-bench"
    ),
    fast: Annotated[bool, typer.Option("--quick", help="Small sizes and few calls: under a minute.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of what is measured on.")] = 0,
    source: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            show_default=False,
            autocompletion=known_sources,
            help="For run: a checkpoint of your own. Default: random weights in the shape of SmolLM2-135M.",
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="DEVICE", help="For pair: auto, cpu or cuda; auto is CUDA where there is one.")
    ] = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Measure what things cost against the ways to do without them: ratios of CPU time, memory, errors, growth.

    `run` times runs in plain forward passes of the same model, by tokens, blocks and prompts, and peaks of memory. `pair` sets
    the two shipped families side by side: loss, speed of training and of inference, memory, cost of the diagnostics. `sweep`
    is what a sweep adds to each of up to 500 items, beside writing two files. `attention` climbs from the textbook double loop
    over transported beliefs to exact attention in the common frame, one torch thread, methods taking turns. `tree` condenses
    up to 4,096 beliefs of the shipped models, and random ones, in units of SciPy's average linkage of as many points. All
    take minutes. Nothing else should run meanwhile.
    """
    one_of("TARGET", target, TARGETS, remedy="choose what is measured")
    if source is not None and target != "run":
        raise OptionError("--source", expected="the target run", received=target, remedy="leave it out")
    if device != "auto" and target != "pair":
        raise OptionError("--device", expected="the target pair", received=target, remedy="leave it out")
    with staged_output(out) as staging:
        with progress_bar(quiet=quiet) as report:
            text = TARGETS[target](staging, _Asked(fast, seed, source, device), report)
        written = staging.publish()
    typer.echo(text)
    for path in written:
        typer.echo(f"Wrote {printable(str(path))}")


@dataclass(frozen=True)
class _Asked:
    """What was asked for beside the target."""

    fast: bool
    seed: int
    source: str | None
    device: str


def _run(staging: Staging, asked: _Asked, report: Report) -> str:
    """Cost of a run: JSON and figure into the directory; its tables are what is returned."""
    from rgprobe.benchmarks.run_cost import RunOptions, measure_runs, run_tables

    options = (
        RunOptions.quick(asked.seed, asked.source) if asked.fast else RunOptions(seed=asked.seed, source=asked.source)
    )
    record, *drawings = _files(staging, "run-cost")
    result = measure_runs(options, on_progress=report)
    record.write_text(result.to_json(), "utf-8")

    from rgprobe.plots.benchmarks import draw_runs, save_figure

    save_figure(draw_runs(result), drawings)
    return "\n\n".join(table.as_text() for table in run_tables(result)) + "\n"


def _pair(staging: Staging, asked: _Asked, report: Report) -> str:
    """Both families side by side: JSON into the directory; its table is what is returned."""
    from rgprobe.benchmarks.pair_cost import PairOptions, measure_pair, pair_table

    options = (
        PairOptions.quick(asked.seed, asked.device) if asked.fast else PairOptions(seed=asked.seed, device=asked.device)
    )
    record = staging.path("pair-cost.json")
    result = measure_pair(options, on_progress=report)
    record.write_text(result.to_json(), "utf-8")
    return pair_table(result).as_text() + "\n"


def _sweep(staging: Staging, asked: _Asked, report: Report) -> str:
    """Overhead of a sweep: JSON and figure into the directory; its table is what is returned."""
    from rgprobe.benchmarks.sweep_overhead import SweepOptions, measure_sweep, sweep_table

    record, *drawings = _files(staging, "sweep-overhead")
    result = measure_sweep(SweepOptions.quick() if asked.fast else SweepOptions(), on_progress=report)
    record.write_text(result.to_json(), "utf-8")

    from rgprobe.plots.benchmarks import draw_sweep, save_figure

    save_figure(draw_sweep(result), drawings)
    return sweep_table(result).as_text() + "\n"


def _attention(staging: Staging, asked: _Asked, report: Report) -> str:
    """The attention ladder: JSON and figure into the directory; its tables are what is returned."""
    from rgprobe.models.bench.ladder import measure_ladder
    from rgprobe.models.bench.options import LadderOptions
    from rgprobe.models.bench.table import tables

    options = LadderOptions.quick(asked.seed) if asked.fast else LadderOptions(seed=asked.seed)
    record, *drawings = _files(staging, "attention-ladder")
    result = measure_ladder(options, on_progress=report)
    record.write_text(result.to_json(), "utf-8")

    from rgprobe.plots.paper import attention_ladder, rendered

    figure = attention_ladder(result)
    for path in drawings:
        path.write_bytes(rendered(figure, path.suffix[1:]))
    return "\n\n".join(table.as_text() for table in tables(result)) + "\n"


def _tree(staging: Staging, asked: _Asked, report: Report) -> str:
    """Speed of condensation trees: JSON into the directory; its table is what is returned."""
    from rgprobe.benchmarks.tree_speed import TreeOptions, measure_trees, tree_table

    options = TreeOptions.quick(asked.seed) if asked.fast else TreeOptions(seed=asked.seed)
    record = staging.path("tree-speed.json")
    result = measure_trees(options, on_progress=report)
    record.write_text(result.to_json(), "utf-8")
    return tree_table(result).as_text() + "\n"


def _files(staging: Staging, name: str) -> list[Path]:
    """The record and its figures."""
    return [staging.path(f"{name}.{suffix}") for suffix in ("json", "svg", "pdf", "png")]


# Everything that can be measured: writes its files into the directory and returns what to print.
TARGETS: dict[str, Callable[[Staging, _Asked, Report], str]] = {
    "run": _run,
    "pair": _pair,
    "sweep": _sweep,
    "attention": _attention,
    "tree": _tree,
}
