"""`rgprobe sweep`: many checkpoints in, a result file each, wherever there are workers."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rgprobe.cli.failures import StoppedError, printable
from rgprobe.cli.options import (
    AllowPickle,
    Belief,
    BeliefOption,
    Bos,
    BosOption,
    Debug,
    Device,
    Dtype,
    DtypeOption,
    Positions,
    Quiet,
    ScaledNulls,
    Sink,
    SinkOption,
    Truncate,
    parse_positions,
)
from rgprobe.cli.progress import Report, progress_bar
from rgprobe.cli.prompt_file import read_labelled_prompts
from rgprobe.errors import BadInput, EnvironmentFault, NumericalRefusal, OptionError, RGProbeError
from rgprobe.sweeping.items import PromptSet

if TYPE_CHECKING:
    from rgprobe.sweeping import Sweep

__all__ = ["sweep_command"]

EVERY = 60.0  # seconds between two lines of progress where standard error is no terminal, as in a batch queue
LISTED = 10  # failures that are printed; all are in the folder
KEPT = "interrupted; finished results are kept, and the same command goes on from there"
ERRORS = {2: BadInput, 3: EnvironmentFault, 4: NumericalRefusal}


def sweep_command(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Shipped names, directories, folders of checkpoints (of rgprobe train --checkpoints), hub ids or "
            "ID@REVISION.",
        ),
    ],
    *,
    prompts: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE|SET",
            help="As for rgprobe run; may be repeated: every source meets every set.",
            show_default=False,
        ),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option("--text", metavar="TEXT", help="A prompt; all of them are one more set.", show_default=False),
    ] = None,
    belief: BeliefOption = Belief.lens,
    nulls: Annotated[int, typer.Option(min=0, metavar="N", help="Random initialisations to compare with.")] = 3,
    scaled_nulls: ScaledNulls = False,
    diagnostics: Annotated[str, typer.Option(metavar="default|all|NAMES", help="As for rgprobe run.")] = "default",
    positions: Positions = "32",
    sink: SinkOption = Sink.exclude,
    bos: BosOption = Bos.model,
    truncate: Truncate = False,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of null models and intervals.")] = 0,
    workers: Annotated[
        int, typer.Option(min=0, metavar="N", help="Processes on this machine; 0: one item after the other, here.")
    ] = 0,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Of a Dask scheduler, such as tcp://host:8786.", show_default=False),
    ] = None,
    resource: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=AMOUNT", help="What an item takes of a Dask worker, such as GPU=1.", show_default=False
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Only every N-th item from the I-th on; I from 1.", show_default=False),
    ] = None,
    retries: Annotated[
        int, typer.Option(min=0, metavar="N", help="Further attempts where a worker died or a failure may pass.")
    ] = 2,
    threads: Annotated[int, typer.Option(min=1, metavar="N", help="Of torch, per item.")] = 1,
    device: Device = "auto",
    dtype: DtypeOption = Dtype.float32,
    allow_pickle: AllowPickle = False,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Directory for the results.")] = Path("rgprobe-sweep"),
    report: Annotated[
        bool, typer.Option("--report/--no-report", help="Write DIR/sweep.html at the end; never for a shard.")
    ] = True,
    json_summary: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Run many checkpoints, each to a result file of its own; the same command goes on where an earlier one was stopped.

    A result is used again only if weights, configuration, tokenizer, prompts, options, dtype and versions are the same. An item
    that fails is recorded in DIR/NAME.json and the rest is finished; the exit status is then that of the gravest failure.
    Several sweeps, shards or queues may write into one directory.
    """
    options: dict[str, Any] = {
        "nulls": nulls, "scaled_nulls": scaled_nulls, "seed": seed, "diagnostics": diagnostics, "belief": belief.value,
        "positions": parse_positions(positions), "sink": sink.value, "bos": bos.value, "truncate": truncate,
    }  # fmt: skip
    where: dict[str, Any] = {"workers": workers, "client": scheduler, "resources": _resources(resource), "shard": shard}
    loading: dict[str, Any] = {"device": device, "dtype": dtype.value, "allow_pickle": allow_pickle}
    sets = _prompt_sets(prompts or [], text or [])
    with progress_bar(quiet=quiet) as bar:
        bar(0, 0, "starting")
        from rgprobe.sweeping import sweep

        try:
            found = sweep(
                sources, sets or None, out=out, retries=retries, threads=threads,
                on_progress=bar if quiet or sys.stderr.isatty() else _lines(bar), **where, **loading, **options,
            )  # fmt: skip
        except KeyboardInterrupt:
            raise StoppedError(KEPT) from None
        page = _write_report(found, out, bar) if report and shard is None and found.results else None
    typer.echo(_summary_json(found) if json_summary else _summary(found, out, page))
    _refuse_failures(found)


def _prompt_sets(names: list[str], texts: list[str]) -> list[PromptSet]:
    sets = [PromptSet.labelled(Path(name).stem, read_labelled_prompts(name)) for name in names]
    return [*sets, *([PromptSet("text", tuple(texts))] if texts else [])]


def _resources(given: list[str] | None) -> dict[str, float] | None:
    amounts = {}
    for each in given or []:
        name, _, amount = each.partition("=")
        try:
            amounts[name] = float(amount)
        except ValueError as error:
            raise OptionError(
                "--resource", expected="NAME=AMOUNT", received=each, remedy="write, say, GPU=1"
            ) from error
    return amounts or None


def _lines(bar: Report) -> Callable[[int, int, str], None]:
    """The bar, and a line a minute with the time left."""
    start = last = time.monotonic()

    def report(done: int, total: int, running: str) -> None:
        nonlocal last
        bar(done, total, running)
        now = time.monotonic()
        if now - last >= EVERY:
            last = now
            left = f"; about {(now - start) / done * (total - done) / 60:.0f} min left" if done else ""
            typer.echo(f"rgprobe: {done} of {total} items{left}; {printable(running)}", err=True)

    return report


def _write_report(found: Sweep, out: Path, bar: Report) -> Path | None:
    from rgprobe.report import write_sweep_report

    bar(0, 0, "writing the report")
    return write_sweep_report(found, out / "sweep.html")


def _summary(found: Sweep, out: Path, page: Path | None) -> str:
    lines = [f"{len(found.results)} of {len(found.entries)} items have a result in {printable(str(out))}"]
    failed = [(entry, entry.failure) for entry in found.failures if entry.failure is not None]
    for entry, failure in failed[:LISTED]:
        lines.append(f"  {printable(entry.label)} ({printable(entry.prompts)}): {printable(failure.message)}")
    if len(found.failures) > LISTED:
        lines.append(f"  and {len(found.failures) - LISTED} more, see {printable(str(out))}/*.json")
    if page is not None:
        lines.append(f"Wrote {printable(str(page))}")
    return "\n".join(lines)


def _summary_json(found: Sweep) -> str:
    return json.dumps(
        {"directory": str(found.directory), "items": [_facts(entry) for entry in found.entries]}, indent=1
    )


def _facts(entry: Any) -> dict[str, Any]:
    return {name: value for name, value in asdict(entry).items() if name != "settings"}


def _refuse_failures(found: Sweep) -> None:
    failures = [entry.failure for entry in found.failures if entry.failure is not None]
    if failures:
        gravest = max(failures, key=lambda failure: failure.exit_code)
        raise ERRORS.get(gravest.exit_code, RGProbeError)(
            "rgprobe sweep", expected="a result of every item",
            received=f"{len(failures)} without one; {gravest.message}",
            remedy="see the .json files of the sweep; the same command tries these again",
        )  # fmt: skip
