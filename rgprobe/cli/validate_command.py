"""`rgprobe validate`: every diagnostic on systems whose answer is known."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from rgprobe.cli.failures import printable
from rgprobe.cli.options import Debug, Quiet
from rgprobe.cli.progress import progress_bar

__all__ = ["validate_command"]


def validate_command(
    *,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write the table here, too.", show_default=False)
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            "--only", metavar="NAMES", help="Rows of these diagnostics, by name or catalogue id.", show_default=False
        ),
    ] = None,
    as_json_list: Annotated[bool, typer.Option("--json", help="Print the rows as JSON.")] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Run every diagnostic on systems whose answer is known, and compare.

    Prints a row per check: diagnostic, system, expected, measured, tolerance, verdict. Takes two minutes at most. Exit status 4
    when a row fails: numbers of that diagnostic cannot be trusted here.
    """
    from rgprobe.files import write_text
    from rgprobe.validation import named, validate
    from rgprobe.validation.table import as_csv, as_json, as_text

    rows = named(only)
    with progress_bar(quiet=quiet) as report:
        outcomes = validate(rows, on_progress=report)
    if csv is not None:
        write_text(csv, as_csv(outcomes))
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    typer.echo(as_json(outcomes) if as_json_list else as_text(outcomes, width=width))
    if csv is not None and not as_json_list:
        typer.echo(f"Wrote {printable(str(csv))}")
    _refuse_failures([outcome.check.diagnostic for outcome in outcomes if not outcome.passed])


def _refuse_failures(failed: list[str]) -> None:
    from rgprobe.errors import NumericalRefusal

    if failed:
        raise NumericalRefusal(
            "rgprobe validate", expected="every row within its tolerance",
            received=f"{len(failed)} outside, of {', '.join(sorted(set(failed)))}",
            remedy="do not trust these diagnostics on this machine, and report the table",
        )  # fmt: skip
