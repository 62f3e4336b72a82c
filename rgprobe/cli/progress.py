"""The progress bar on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rgprobe.cli.failures import printable

__all__ = ["Report", "progress_bar"]

Report = Callable[[int, int, str], None]


@contextmanager
def progress_bar(*, quiet: bool) -> Iterator[Report]:
    """A function to call with (steps done, steps in all, what is running); 0 steps in all means that it is unknown.

    Nothing is drawn when `quiet`, or where standard error is not a terminal; the bar disappears when the block ends.
    """
    console = Console(stderr=True)
    # markup would let the name of a model style the terminal
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("starting", total=None)

        def report(done: int, total: int, running: str) -> None:
            nonlocal task
            if bar.tasks[0].total != (total or None):  # another phase: a total can be changed, but not forgotten
                bar.remove_task(task)
                task = bar.add_task("", total=total or None)
            bar.update(task, completed=done, description=printable(running))

        yield report
