"""`rgprobe bench`: benchmarks of parts of a model and of condensation trees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from rgprobe.cli.failures import printable
from rgprobe.cli.options import Debug, Quiet
from rgprobe.cli.output_directory import Staging, staged_output
from rgprobe.cli.progress import Report, progress_bar
from rgprobe.errors import OptionError, nearest

__all__ = ["bench_command"]


def bench_command(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="What to measure: attention or tree.")],
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Directory for the JSON file and the figure.")] = Path(
        "rgprobe-bench"
    ),
    fast: Annotated[bool, typer.Option("--quick", help="Small sizes and few calls: under a minute.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of what is measured on.")] = 0,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Measure attention or trees against the ways to do without them: ratios of CPU time, memory, errors, growth.

    `attention` climbs from the textbook double loop over transported beliefs to exact attention in the common frame, one
    torch thread, methods taking turns. `tree` condenses up to 4,096 beliefs of the shipped models, and random ones, in
    units of SciPy's average linkage of as many points. Both take minutes. Nothing else should run meanwhile.
    """
    if target not in TARGETS:
        raise OptionError(
            "TARGET", expected=f"one of {', '.join(TARGETS)}", received=repr(target),
            remedy=nearest(target, TARGETS, "choose what is measured"),
        )  # fmt: skip
    with staged_output(out) as staging:
        with progress_bar(quiet=quiet) as report:
            text = TARGETS[target](staging, fast, seed, report)
        written = staging.publish()
    typer.echo(text)
    for path in written:
        typer.echo(f"Wrote {printable(str(path))}")


def _attention(staging: Staging, fast: bool, seed: int, report: Report) -> str:
    """The attention ladder: JSON and figure into the directory; its tables are what is returned."""
    from rgprobe.models.bench.ladder import measure_ladder
    from rgprobe.models.bench.options import LadderOptions
    from rgprobe.models.bench.table import tables

    options = LadderOptions.quick(seed) if fast else LadderOptions(seed=seed)
    figures = [f"attention-ladder.{suffix}" for suffix in ("svg", "pdf", "png")]
    record, *drawings = [staging.path(name) for name in ("attention-ladder.json", *figures)]
    result = measure_ladder(options, on_progress=report)
    record.write_text(result.to_json(), "utf-8")

    from rgprobe.plots.attention_ladder import save_ladder

    save_ladder(result, drawings)
    return "\n\n".join(table.as_text() for table in tables(result)) + "\n"


def _tree(staging: Staging, fast: bool, seed: int, report: Report) -> str:
    """Speed of condensation trees: JSON into the directory; its table is what is returned."""
    from rgprobe.benchmarks.tree_speed import TreeOptions, measure_trees, tree_table

    options = TreeOptions.quick(seed) if fast else TreeOptions(seed=seed)
    record = staging.path("tree-speed.json")
    result = measure_trees(options, on_progress=report)
    record.write_text(result.to_json(), "utf-8")
    return tree_table(result).as_text() + "\n"


# Everything that can be measured: writes its files into the directory and returns what to print.
TARGETS: dict[str, Callable[[Staging, bool, int, Report], str]] = {"attention": _attention, "tree": _tree}
