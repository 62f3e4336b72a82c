"""`rgprobe figures`: the figures of a saved result as files for a paper, each with its caption."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rgprobe.cli.failures import printable
from rgprobe.cli.options import Debug, Quiet
from rgprobe.cli.output_directory import staged_output
from rgprobe.cli.progress import progress_bar
from rgprobe.wording import counted

if TYPE_CHECKING:
    from rgprobe.plots.paper.exporting import Exported, Result

__all__ = ["figures_command"]


def figures_command(
    result: Annotated[
        Path,
        typer.Argument(
            metavar="RESULT",
            help="Result file (.nc) of rgprobe run or rgprobe compare; or a .json of rgprobe bench or "
            "analyses/faithfulness.py.",
        ),
    ],
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Directory for the figures.")] = Path("figures"),
    formats: Annotated[
        str, typer.Option("--format", metavar="pdf,svg,png", help="One or several; png has 300 dpi.")
    ] = "pdf,svg",
    prompt: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Which prompt the figures of single prompts show. Default: the first that has what they need.",
            show_default=False,
        ),
    ] = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:  # fmt: skip
    """Draw the figures of a saved result for a paper: vector files at column width, with captions beside them.

    Writes OUT/<figure>.pdf and so on, and OUT/<figure>.txt, the caption with numbers of prompts and seeds, interval, belief,
    null and source. A figure whose diagnostic was not measured is skipped, with the command that measures it.
    """
    wanted = [name.strip().lower() for name in formats.split(",") if name.strip()]
    with staged_output(out) as staging, progress_bar(quiet=quiet) as report:
        report(0, 0, "drawing")
        from rgprobe.plots.paper import export

        exported = export(_opened(result), staging.unfinished, formats=wanted, prompt=prompt)
        for file in exported.written:
            staging.path(file.name)  # what stands in its place is found before anything is replaced
        staging.publish()
    typer.echo(_told(exported, out))


def _opened(path: Path) -> Result:
    """What a file holds, by its content.

    Raises:
        BadInput: none of the results that can be drawn.
    """
    from rgprobe.comparison import open_comparison
    from rgprobe.errors import BadInput
    from rgprobe.models.bench.result import SCHEMA, LadderResult
    from rgprobe.rg_flow import open_flow

    if path.suffix.lower() != ".json":
        try:
            return open_flow(path)
        except BadInput as not_a_flow:
            try:
                return open_comparison(path)
            except BadInput:
                raise not_a_flow from None
    try:
        text = path.read_text("utf-8")
        record = json.loads(text)
    except (OSError, ValueError) as error:
        raise BadInput(printable(str(path)), expected="a JSON file", received=printable(str(error)),
                       remedy="pass what rgprobe bench or analyses/faithfulness.py wrote") from error  # fmt: skip
    if isinstance(record, dict) and record.get("schema") == SCHEMA:
        return LadderResult.from_json(text)
    if isinstance(record, list) and all(isinstance(row, dict) for row in record):
        return record
    raise BadInput(printable(str(path)), expected="a ladder of rgprobe bench or rows of analyses/faithfulness.py",
                   received="another JSON file", remedy="pass one of those, or the .nc file of a run")  # fmt: skip


def _told(exported: Exported, out: Path) -> str:
    """One line per figure: its files, or why it was skipped and what to run to get it."""
    names = list(dict.fromkeys(file.stem for file in exported.written))
    lines = [f"Wrote {counted(len(names), 'figure')} to {printable(str(out))}"]
    for name in names:
        suffixes = ", ".join(file.suffix[1:] for file in exported.written if file.stem == name)
        lines.append(f"  {name}: {suffixes}")
    lines += [f"Skipped {each.name}: {printable(each.reason)}; {each.remedy}" for each in exported.skipped]
    return "\n".join(lines)
