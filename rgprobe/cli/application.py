"""The commands, and `main`, which turns whatever happens into an exit status and at most one line on standard error."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Annotated, Any

import typer

from rgprobe.cli.bench_command import bench_command
from rgprobe.cli.compare_command import compare_command
from rgprobe.cli.failures import EXIT_INTERRUPTED, exit_code, failure_line
from rgprobe.cli.figures_command import figures_command
from rgprobe.cli.info_command import info_command
from rgprobe.cli.plan_command import plan_command
from rgprobe.cli.report_command import report_command
from rgprobe.cli.run_command import run_command
from rgprobe.cli.sweep_command import sweep_command
from rgprobe.cli.tree_command import tree_command
from rgprobe.cli.validate_command import validate_command
from rgprobe.models.train_command import train_command

__all__ = ["main"]

EXITS = "Exit status: 0 done; 2 bad input; 3 disk, permissions, device or memory; 4 a number that cannot be trusted."

# in the list of commands; a first sentence would be cut off there
SHORT = {
    "run": "Measure a checkpoint against null models, and report.",
    "sweep": "Run many checkpoints, wherever there are workers.",
    "tree": "Condense the tokens of one text; print the tree.",
    "compare": "Compare two saved results on the same prompts.",
    "plan": "Predict what a run will take.",
    "report": "Write the report of saved results, one HTML file.",
    "figures": "Draw the figures of a saved result for a paper.",
    "info": "Say what a checkpoint or a saved result is.",
    "train": "Train a small model, standard or gauge.",
    "bench": "Measure what runs and their parts cost.",
    "validate": "Check every diagnostic against known answers.",
}


def _application() -> typer.Typer:
    app = typer.Typer(name="rgprobe", add_completion=True, rich_markup_mode=None, epilog=EXITS)
    app.callback()(_describe)
    for name, command in (
        ("run", run_command),
        ("sweep", sweep_command),
        ("tree", tree_command),
        ("compare", compare_command),
        ("plan", plan_command),
        ("report", report_command),
        ("figures", figures_command),
        ("info", info_command),
        ("train", train_command),
        ("bench", bench_command),
        ("validate", validate_command),
    ):
        app.command(name, short_help=SHORT.get(name))(command)
    return app


def _show_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"rgprobe {version('rgprobe')}")
        raise typer.Exit
    return wanted


def _describe(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Measure renormalization-group flow in transformers, against null models.

    `rgprobe run` with nothing else analyses and compares what is shipped, and writes rgprobe-out/report.html.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Args:
        arguments: as typed after `rgprobe`; default: those of this process.

    Returns:
        0 done; 2 bad input; 3 environment; 4 numerical refusal; 130 interrupted or terminated; 1 a bug of rgprobe.

    Example:
        >>> main(["--version"])
        rgprobe 0...
        0
    """
    words = (sys.argv[1:] if arguments is None else list(arguments)) or ["--help"]
    _write_what_can_be_encoded()
    # before torch is imported: threads that wait by spinning keep the core from the one that they wait for, and make a run
    # on a busy machine eight times as long
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        with _terminated_like_interrupted():
            command: Any = typer.main.get_command(_application())
            status = command.main(words, prog_name="rgprobe", standalone_mode=False)
            sys.stdout.flush()
    except BrokenPipeError:
        return _reader_has_gone()
    except SystemExit as error:  # typer's own way out where the reader has gone
        return int(error.code or 0)
    except (Exception, KeyboardInterrupt) as error:
        if "--debug" in words:
            traceback.print_exc()
        return _report(error)
    if status == EXIT_INTERRUPTED:  # what typer makes of Ctrl-C
        return _report(KeyboardInterrupt())
    return status if isinstance(status, int) else 0


def _report(error: BaseException) -> int:
    line = failure_line(error)
    if line:
        sys.stderr.write(f"rgprobe: {line}\n")
    return exit_code(error)


def _write_what_can_be_encoded() -> None:
    """A terminal that cannot show a character gets its escape instead of a crash."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _reader_has_gone() -> int:
    """`rgprobe tree ... | head`: nothing more can be printed, and Python must not try when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM unwinds the stack as Ctrl-C does, so that temporary files are removed."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield
        return
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt
