"""`rgprobe compare`: two saved results on the same prompts; what differs, where, and by how much more than their nulls."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rgprobe.cli.failures import printable
from rgprobe.cli.options import Debug, Quiet
from rgprobe.cli.output_directory import staged_output
from rgprobe.cli.progress import progress_bar

if TYPE_CHECKING:
    from rgprobe.rg_flow import RGFlow

__all__ = ["RESULT", "compare_command"]

RESULT, REPORT = "comparison.nc", "comparison.html"
More = typer.Option(metavar="FLOW", help="Another training seed of that side; may be repeated.", show_default=False)


def compare_command(
    flow_a: Annotated[Path, typer.Argument(metavar="FLOW_A", help="Result file (.nc) of rgprobe run.")],
    flow_b: Annotated[Path, typer.Argument(metavar="FLOW_B", help="Another one, on the same prompts.")],
    *,
    more_a: Annotated[list[Path] | None, More] = None,
    more_b: Annotated[list[Path] | None, More] = None,
    names: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="What to call the two sides. Default: as the models.", show_default=False),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Directory for the comparison.")] = Path("rgprobe-out"),
    json_summary: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Compare two saved results on the same prompts: B minus A, diagnostic by diagnostic.

    Writes OUT/comparison.nc (the numbers) and OUT/comparison.html. With one result on each side the intervals are paired over
    prompts and speak about these two checkpoints; with --more-a and --more-b, training seeds of each side, they speak about
    the two families.
    """
    with staged_output(out) as staging, progress_bar(quiet=quiet) as report:
        report(0, 0, "reading results")
        result, page = staging.path(RESULT), staging.path(REPORT)
        from rgprobe.cli.compare_summary import comparison_json, comparison_text
        from rgprobe.comparison import compare
        from rgprobe.report import write_report
        from rgprobe.rg_flow import open_flow

        sides = [
            [open_flow(path) for path in (first, *(more or ()))] for first, more in ((flow_a, more_a), (flow_b, more_b))
        ]
        labels = _labels(names, sides)
        report(0, 0, "comparing")
        comparison = compare(dict(zip(labels, sides, strict=True)))
        comparison.save(result)
        report(0, 0, "writing the report")
        write_report(_each(labels, sides), page, comparison=comparison)
        staging.publish()
    files = (out / RESULT, out / REPORT)
    typer.echo(comparison_json(comparison, files) if json_summary else comparison_text(comparison, files))


def _labels(names: str | None, sides: list[list[RGFlow]]) -> tuple[str, str]:
    """Names of the two sides; equal ones are told apart.

    Raises:
        OptionError: not two different names.
    """
    from rgprobe.errors import OptionError
    from rgprobe.plots.arrays import named_flows

    if names is None:
        first, second = named_flows([side[0] for side in sides])
        return first, second
    given = [name.strip() for name in names.split(",")]
    if len(given) != 2 or not all(given) or given[0] == given[1]:
        raise OptionError("--names", expected="two different names, such as before,after", received=repr(printable(names)),
                          remedy="leave it out to use the models' own")  # fmt: skip
    return given[0], given[1]


def _each(labels: tuple[str, str], sides: list[list[RGFlow]]) -> dict[str, RGFlow]:
    """Every run by a name of its own: those of the sides where each has one run, else numbered from 1."""
    if all(len(side) == 1 for side in sides):
        return {label: side[0] for label, side in zip(labels, sides, strict=True)}
    return {
        f"{label}, seed {index}": flow
        for label, side in zip(labels, sides, strict=True)
        for index, flow in enumerate(side, start=1)
    }
