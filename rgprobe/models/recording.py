"""What a finished run leaves on disk beside its weights: training.json and curve.csv."""

from __future__ import annotations

import csv
import io
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, fields
from importlib.metadata import version

import torch

from rgprobe.files import write_text
from rgprobe.models.corpus import Document
from rgprobe.models.evaluation import Loss, total_loss
from rgprobe.models.resuming import CurvePoint
from rgprobe.models.run import Run

__all__ = ["write_record"]

_SLICE_CHARACTERS = 4_000  # of the first test document: a number that anyone can check in a second


def write_record(run: Run, curve: Sequence[CurvePoint], test: dict[str, Loss]) -> None:
    """Write curve.csv and, last, training.json: its presence says that the run is complete.

    No time and no path of this machine is recorded, so that equal runs write equal files.
    """
    out = run.options.out
    write_text(out / "curve.csv", _csv(curve))
    write_text(out / "training.json", json.dumps(_record(run, test), indent=2) + "\n")


def _record(run: Run, test: dict[str, Loss]) -> dict[str, object]:
    corpus = run.corpus
    splits = {
        split: [document.name for document in getattr(corpus, split)] for split in ("train", "validation", "test")
    }
    opening = Document(corpus.test[0].name, corpus.test[0].text[:_SLICE_CHARACTERS])
    return {
        "command": run.options.command(),
        "options": json.loads(run.options.identity()),
        "n_parameters": sum(parameter.numel() for parameter in run.model.parameters()),
        "corpus": {"name": corpus.name, "sha256": corpus.sha256, **splits},
        "evaluation": "non-overlapping windows of the context length, each opened by <|endoftext|>",
        "validation": total_loss(run.losses(corpus.validation)).as_dict(),
        "test": {name: loss.as_dict() for name, loss in test.items()},
        "test_all": total_loss(test).as_dict(),
        "test_slice": {"opening_of": opening.name, **total_loss(run.losses([opening])).as_dict()},
        "device": run.options.device,
        "threads": torch.get_num_threads(),
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in ("torch", "transformers", "tokenizers", "numpy")},
        },
    }


def _csv(curve: Sequence[CurvePoint]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, fieldnames=[field.name for field in fields(CurvePoint)], lineterminator="\n")
    writer.writeheader()
    for point in curve:
        writer.writerow({name: f"{value:.7g}" for name, value in asdict(point).items()})
    return file.getvalue()
