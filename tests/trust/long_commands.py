"""The commands that take long, on models so small that they do not; each says what of its results must be equal."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from synthetic_flow import synthetic_flow

import rgprobe.cli.output_directory
import rgprobe.models.train_command
import rgprobe.plots.paper.exporting
import rgprobe.report
from rgprobe.cli import main
from rgprobe.files import write_text
from rgprobe.models.options import TrainingOptions
from rgprobe.rg_flow import RGFlow

TEXT = "Now is the winter"
QUIET = ("--device", "cpu", "--quiet", "--nulls", "0", "--diagnostics")
SMALLEST = ("--family", "gauge", "--level", "character", "--steps", "24", "--checkpoints", "3", "--layers", "1", "--width", "8",
            "--heads", "1", "--context", "16", "--batch", "2")  # fmt: skip
GROUPS = ("prompts", "plateau")  # of a result: enough for every kind of file


def without_drawing(patch):
    """Drawing takes most of the time and has tests of its own; what is drawn is written as pages and figures are."""
    drawings = ("first", "second", "third")
    for name in ("write_report", "write_sweep_report"):
        patch.setattr(rgprobe.report, name, lambda what, path, **_: write_text(Path(path), "a page" * 20_000))
    patch.setattr(
        rgprobe.plots.paper.exporting, "_figures", lambda *_: ((name, name, f"Of {name}.") for name in drawings)
    )
    patch.setattr(rgprobe.plots.paper.exporting, "rendered", lambda figure, suffix: f"<svg>{figure}".encode() * 5_000)
    patch.setattr(rgprobe.cli.output_directory, "ROOM", 0)  # the file systems here are small on purpose
    # so that few steps hold many of both
    options = partial(TrainingOptions, save_every=4, validate_every=8)
    patch.setattr(rgprobe.models.train_command, "TrainingOptions", options)


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
        return main(["run", source, "--text", TEXT, "--out", str(out), *QUIET, "condensation"])


class Sweep(Command):
    def run(self, out):
        places = [str(self.sources[family]) for family in ("standard", "gauge")]
        return main(["sweep", *places, "--text", TEXT, "--out", str(out), *QUIET, "plateau"])


class Train(Command):
    volatile = ("training.json",)

    def run(self, out, *more):
        corpus = self.scratch / "corpus.txt"
        if not corpus.exists():
            corpus.write_text("".join(f"{TEXT}, line {number} of a made-up text.\n" for number in range(200)))
        return main(["train", "--out", str(out), "--corpus", str(corpus), "--quiet", *SMALLEST, *more])

    def resumed(self, out):
        # nothing to resume where the run was complete
        return lambda: 0 if (out / "training.json").exists() else self.run(out, "--resume")


class OfResults(Command):
    """What is made of two saved results."""

    def __init__(self, sources, scratch):
        super().__init__(sources, scratch)
        for name in ("a", "b"):
            flow = synthetic_flow(name=name, prompts=2, blocks=2, heads=2, nulls=1, positions=4).to_xarray()
            RGFlow(flow.filter(lambda node: node.name in (None, *GROUPS))).save(scratch / f"{name}.nc")

    def result(self, name):
        return str(self.scratch / f"{name}.nc")


class Compare(OfResults):
    def run(self, out):
        return main(["compare", self.result("a"), self.result("b"), "--out", str(out), "--quiet"])


class Report(OfResults):
    def run(self, out):
        out.mkdir(parents=True, exist_ok=True)
        return main(["report", self.result("a"), "--out", str(out / "report.html"), "--quiet"])


class Figures(OfResults):
    def run(self, out):
        return main(["figures", self.result("a"), "--out", str(out), "--format", "svg", "--quiet"])


COMMANDS = {"run": Run, "sweep": Sweep, "train": Train, "compare": Compare, "report": Report, "figures": Figures}


def comparable(command, found):
    return {name: content for name, content in found.items() if os.path.basename(name) not in command.volatile}
