"""What every script of this folder leaves behind: its numbers as JSON, and as a page what it prints."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["OUT_HELP", "artefacts", "save_figure"]

OUT_HELP = "directory for the numbers (.json) and the page (.md)"


@contextmanager
def artefacts(out: Path | None, name: str) -> Iterator[Callable[[Any], None]]:
    """A function that keeps numbers in OUT/NAME.json; what is printed meanwhile is shown, and kept in OUT/NAME.md.

    Args:
        out: a directory, which is made if need be; or a file that ends in .json, for the numbers, with the page beside it;
            None keeps nothing.
        name: of the script.
    """
    if out is None:
        yield lambda numbers: None
        return
    numbers_at = out if out.suffix == ".json" else out / f"{name}.json"
    numbers_at.parent.mkdir(parents=True, exist_ok=True)
    begun = time.process_time()
    command = " ".join(["python", f"analyses/{name}.py", *sys.argv[1:]])
    with numbers_at.with_suffix(".md").open("w", encoding="utf-8") as page:
        page.write(f"# {name.replace('_', ' ')}\n\n    {command}\n\n```\n")
        with redirect_stdout(_Both(sys.stdout, page)):
            yield lambda numbers: _write(numbers_at, numbers)
        page.write(f"```\n\n{time.process_time() - begun:.0f} s of CPU time.\n")


def save_figure(figure: Figure, path: Path) -> None:
    """Draw into a file by its suffix; equal figures give equal SVG, which would hold the date otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=150)


def _write(path: Path, numbers: Any) -> None:
    path.write_text(json.dumps(numbers, indent=1, default=float) + "\n", encoding="utf-8")


class _Both:
    """Writes to the terminal and to the page."""

    def __init__(self, *streams: TextIO) -> None:
        self.streams = streams

    def write(self, text: str) -> int:
        for stream in self.streams:
            stream.write(text)
        return len(text)

    def flush(self) -> None:
        for stream in self.streams:
            stream.flush()
