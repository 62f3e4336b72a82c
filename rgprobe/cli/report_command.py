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
        list[Path], typer.Argument(metavar="FLOW...", help="Result files (.nc) of rgprobe run; several share figures.")
    ],
    *,
    out: Annotated[Path, typer.Option(metavar="FILE", help="HTML file to write.")] = Path("report.html"),
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write the report of one or several saved results: one HTML file that opens offline."""
    from rgprobe.report import write_report
    from rgprobe.rg_flow import open_flow

    with progress_bar(quiet=quiet) as report:
        report(0, 0, "reading results")
        opened = [open_flow(path) for path in flows]
        report(0, 0, "drawing")
        write_report(opened, out)
    typer.echo(f"Wrote {printable(str(out))}")
