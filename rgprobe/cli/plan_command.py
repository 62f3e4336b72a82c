"""`rgprobe plan`: what a run will take, before there is a machine for it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from rgprobe.cli.failures import printable
from rgprobe.cli.options import Debug, Dtype, DtypeOption, Quiet, known_sources
from rgprobe.cli.progress import progress_bar
from rgprobe.errors import OptionError

if TYPE_CHECKING:
    from rgprobe.planning import Plan

__all__ = ["plan_command"]

WEIGHT_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
UNITS = ("bytes", "kB", "MB", "GB", "TB")


def plan_command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Shipped name, directory with config.json, that file, or hub id. Weights are not read.",
            autocompletion=known_sources,
        ),
    ],
    *,
    tokens: Annotated[int, typer.Option(min=1, metavar="N", help="Per prompt.")] = 512,
    prompts: Annotated[int, typer.Option(min=1, metavar="P", help="How many.")] = 24,
    diagnostics: Annotated[str, typer.Option(metavar="default|all|NAMES", help="As for rgprobe run.")] = "default",
    nulls: Annotated[int, typer.Option(min=0, metavar="N", help="Random initialisations to compare with.")] = 3,
    dtype: DtypeOption = Dtype.float32,
    flops: Annotated[
        float | None,
        typer.Option(metavar="F", help="FLOPs per second that another machine sustains.", show_default=False),
    ] = None,
    bandwidth: Annotated[
        float | None, typer.Option(metavar="B", help="Bytes per second of its memory.", show_default=False)
    ] = None,
    parts: Annotated[int, typer.Option(min=1, metavar="N", help="Devices that its layers are spread over.")] = 1,
    busy: Annotated[
        bool,
        typer.Option(
            "--busy", help="Take processor time for time: where other work runs here, and torch has one thread."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Predict time, memory and disk of a run from the configuration and a rehearsal on small random relatives.

    Seconds are those of this machine with nothing else running; with --flops and --bandwidth, passes are those of another.
    """
    if (flops is None) != (bandwidth is None):
        raise OptionError(
            "--flops", expected="--flops and --bandwidth together", received="one of them", remedy="give both"
        )
    with progress_bar(quiet=quiet) as report:
        report(0, 0, "starting")
        from rgprobe.planning import Rates, plan

        rates = Rates(flops, bandwidth, parts) if flops is not None and bandwidth is not None else None
        found = plan(
            source, tokens=tokens, prompts=prompts, diagnostics=diagnostics, nulls=nulls,
            weight_bytes=WEIGHT_BYTES[dtype.value], rates=rates, on_progress=report,
            clock=time.process_time if busy else time.perf_counter,
        )  # fmt: skip
    typer.echo(found.to_json() if as_json else "\n".join(_lines(found)))


def _lines(found: Plan) -> list[str]:
    from rgprobe.estimating import duration

    lines = [
        f"{printable(found.name)}: {found.family}, {found.parameters:,} parameters in {found.blocks} blocks; "
        f"{found.forward_flops:.2g} FLOPs for a plain pass over {found.tokens:,} tokens",
        f"{found.prompts:,} prompts x {found.models:,} models",
        f"time    {duration(found.total_seconds)}",
        *(f"  {name:<24}{duration(part)}" for name, part in found.seconds.items() if part > 0),
        f"memory  {_size(found.peak_bytes)}",
        *(f"  {name:<24}{_size(part)}" for name, part in found.memory.items() if part > 0),
        f"disk    {_size(found.disk)}",
    ]
    if found.extrapolated > 1:
        lines.append(f"A pass is {found.extrapolated:,.0f} times the work of the largest one rehearsed.")
    return lines


def _size(amount: float) -> str:
    """Two digits, in powers of ten.

    Example:
        >>> _size(0.0), _size(950.0), _size(1_234_567.0), _size(7.4e13)
        ('0 bytes', '950 bytes', '1.2 MB', '74 TB')
    """
    power = 0
    while amount >= 999.5 and power < len(UNITS) - 1:
        amount, power = amount / 1000, power + 1
    return f"{amount:.2g} {UNITS[power]}" if amount < 99.5 else f"{amount:.0f} {UNITS[power]}"
