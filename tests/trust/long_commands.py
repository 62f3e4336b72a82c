"""The commands that take long, on models so small that they do not; each says what of its results must be equal."""

from __future__ import annotations

import os
from pathlib import Path

import rgprobe.cli.output_directory
import rgprobe.report
from rgprobe.cli import main
from rgprobe.files import write_text
from rgprobe.models.options import TrainingOptions
from rgprobe.models.training import train

TEXT = "Now is the winter of our discontent"
QUIET = ("--device", "cpu", "--quiet", "--nulls", "1", "--diagnostics", "plateau,condensation")


def without_drawing():
    """Drawing takes most of the time of a run and has tests of its own; a page is written in its place, as pages are."""
    rgprobe.report.write_report = lambda flows, path, **_: write_text(Path(path), "a page" * 20_000)
    rgprobe.cli.output_directory.ROOM = 0  # the file systems here are small on purpose


class Command:
    """One way to use a folder; `volatile` files may differ between equal runs."""

    volatile: tuple[str, ...] = ()

    def __init__(self, sources, scratch):
        self.sources, self.scratch = sources, scratch

    def __call__(self, out):
        return lambda: self.run(out)

    resumed = __call__


class Run(Command):
    def run(self, out):
        source = str(self.sources["gauge"])
        return main(["run", source, "--text", TEXT, "--text", "a second one", "--out", str(out), *QUIET])


class Sweep(Command):
    def run(self, out):
        places = [str(self.sources[family]) for family in ("standard", "gauge")]
        return main(["sweep", *places, "--text", TEXT, "--out", str(out), *QUIET])


class Train(Command):
    volatile = ("training.json",)

    def run(self, out, *, resume=False):
        corpus = self.scratch / "corpus.txt"
        if not corpus.exists():
            corpus.write_text("".join(f"{TEXT}, line {number} of a made-up text.\n" for number in range(200)))
        done = (out / "training.json").exists()
        if resume and done:
            return 0  # nothing to resume: the run was complete
        sizes = {"layers": 1, "width": 8, "heads": 1, "context": 16, "batch": 2}
        train(TrainingOptions(out=Path(out), corpus=corpus, level="character", steps=24, save_every=4, validate_every=8,
                              checkpoints=3, resume=resume, family="gauge", **sizes))  # fmt: skip
        return 0

    def resumed(self, out):
        return lambda: self.run(out, resume=True)


COMMANDS = {"run": Run, "sweep": Sweep, "train": Train}


def comparable(command, found):
    return {name: content for name, content in found.items() if os.path.basename(name) not in command.volatile}
