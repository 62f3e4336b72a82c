"""`rgprobe report`: results that were saved, as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rgprobe.cli.failures import printable
from rgprobe.cli.options import Debug, Quiet
from rgprobe.cli.progress import progress_bar

__all__ = ["report_command"]


def report_command(
    flows: Annotated[
        list[Path],
        typer.Argument(
            metavar="FLOW...",
            help="Result files (.nc) of rgprobe run; several share figures. Or the directory of a sweep.",
        ),
    ],
    *,
    out: Annotated[Path, typer.Option(metavar="FILE", help="HTML file to write.")] = Path("report.html"),
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write the report of one or several saved results, or of a sweep: one HTML file that opens offline."""
    from rgprobe.report import write_report, write_sweep_report
    from rgprobe.rg_flow import open_flow
    from rgprobe.sweeping import open_sweep

    with progress_bar(quiet=quiet) as report:
        report(0, 0, "reading results")
        if len(flows) == 1 and flows[0].is_dir():
            write_sweep_report(open_sweep(flows[0]), out)
        else:
            opened = [open_flow(path) for path in flows]
            report(0, 0, "drawing")
            write_report(opened, out)
    typer.echo(f"Wrote {printable(str(out))}")
