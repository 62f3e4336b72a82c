"""The training loop that every family shares.

A model is a torch module from token ids (B, N) to logits (B, N, V). Given equal options, library versions and thread
count, two runs write equal weights, also when one of them was killed and resumed.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from tokenizers import Tokenizer
from torch import nn

from rgprobe.errors import BadInput, DeviceError, OptionError
from rgprobe.models.corpus import Corpus, Document, load_corpus
from rgprobe.models.evaluation import Loss, document_loss
from rgprobe.models.families import Family, get_family
from rgprobe.models.optimization import build_optimizer, learning_rate, optimize_step
from rgprobe.models.options import TrainingOptions
from rgprobe.models.resuming import STATE_FILE, Progress, load_state, save_state
from rgprobe.models.storage import exclusive, write_text_atomically
from rgprobe.models.tokenizer import BOS_ID, encode, save_tokenizer, train_tokenizer

__all__ = ["TrainingProgress", "TrainingResult", "checkpoint_steps", "train"]

_VALIDATION_CHARACTERS = 24_000  # per document and point of the curve; the whole text is scored at the end
_SLICE_CHARACTERS = 4_000  # of the first test document: a number that anyone can check in a second


@dataclass(frozen=True)
class TrainingProgress:
    """What `on_progress` receives after each step.

    Args:
        step: steps done.
        steps: steps in all.
        loss: of the last batch, nats per token.
        validation: last point of the validation curve, nats per token, if there is one.
    """

    step: int
    steps: int
    loss: float
    validation: float | None


@dataclass(frozen=True)
class TrainingResult:
    """A finished run.

    Args:
        directory: the checkpoint.
        n_parameters: trainable numbers, tied matrices once.
        steps: steps at the points of the curve.
        validation: nats per token at those steps, on the first 24,000 characters of each validation document.
        test: loss on each test document, in non-overlapping windows.
    """

    directory: Path
    n_parameters: int
    steps: Int[ndarray, " P"]
    validation: Float[ndarray, " P"]
    test: dict[str, Loss]


def train(options: TrainingOptions, *, on_progress: Callable[[TrainingProgress], None] | None = None) -> TrainingResult:
    """Train one model and write its checkpoint, tokenizer, curve and record into `options.out`.

    Writes config.json, model.safetensors, tokenizer.json, tokenizer_config.json, curve.csv and, last of all,
    training.json; with `checkpoints=K` also `checkpoints/step-NNNNNN/`. An interrupted run leaves resume.safetensors.

    Raises:
        OptionError: an unknown family, a size that does not fit, or a directory that already holds a run.
        DeviceError: `--device` is not here.
        BadInput: no corpus, or one too short.
        EnvironmentFault: the directory is locked by another run or cannot be written.

    Example:
        >>> train(TrainingOptions(out=Path("x"), family="mamba"))
        Traceback (most recent call last):
            ...
        rgprobe.errors.OptionError: --family: expected standard, received mamba; pass a family that exists
    """
    family = get_family(options.family)
    _require_device(options.device)
    corpus = load_corpus(options.corpus)
    with exclusive(options.out) as out:
        _require_free(out, resume=options.resume)
        tokenizer = train_tokenizer(
            [document.text for document in corpus.train], level=options.level, vocabulary=options.vocabulary
        )
        stream = _token_stream(tokenizer, corpus.train, context=options.context)
        model = _build(options, family, vocabulary=tokenizer.get_vocab_size())
        curve = _optimize(options, family, model, tokenizer, corpus, stream, on_progress)
        return _finish(options, family, model, tokenizer, corpus, curve)


def checkpoint_steps(count: int, steps: int) -> list[int]:
    """At most `count` steps to keep: 0, then evenly spaced in log(step) from 1 to `steps`, repeats dropped.

    Example:
        >>> checkpoint_steps(5, 1000)
        [0, 1, 10, 100, 1000]
    """
    if count == 0:
        return []
    if count == 1:
        return [steps]
    return [0, *sorted({round(step) for step in np.geomspace(1, steps, count - 1)[::-1]})]


def _build(options: TrainingOptions, family: Family, *, vocabulary: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):  # the caller's random state stays as it was
        torch.manual_seed(options.seed)
        model = family.build(
            vocabulary=vocabulary,
            context=options.context,
            layers=options.layers,
            width=options.width,
            heads=options.heads,
        )
    return model.to(options.device)


def _optimize(
    options: TrainingOptions,
    family: Family,
    model: nn.Module,
    tokenizer: Tokenizer,
    corpus: Corpus,
    stream: Int[ndarray, " T"],
    on_progress: Callable[[TrainingProgress], None] | None,
) -> list[dict[str, float]]:
    optimizer = build_optimizer(model, options)
    identity = _identity(options, corpus, tokenizer)
    progress = load_state(options.out, model, optimizer, identity=identity) if options.resume else Progress()
    kept = set(checkpoint_steps(options.checkpoints, options.steps))
    if progress.step == 0 and 0 in kept:
        _save_checkpoint(options, family, model, tokenizer, 0)
    while progress.step < options.steps:
        loss = optimize_step(model, optimizer, stream, progress.step, options)
        progress.step += 1
        progress.recent_losses.append(loss)
        last = progress.step == options.steps
        if progress.step % options.validate_every == 0 or last:
            _extend_curve(progress, options, model, tokenizer, corpus)
        if progress.step in kept:
            _save_checkpoint(options, family, model, tokenizer, progress.step)
        if progress.step % options.save_every == 0 and not last:
            save_state(options.out, model, optimizer, progress, identity=identity)
        if on_progress is not None:
            validation = progress.curve[-1]["validation_nats_per_token"] if progress.curve else None
            on_progress(TrainingProgress(progress.step, options.steps, loss, validation))
    return progress.curve


def _extend_curve(
    progress: Progress, options: TrainingOptions, model: nn.Module, tokenizer: Tokenizer, corpus: Corpus
) -> None:
    heads = [Document(document.name, document.text[:_VALIDATION_CHARACTERS]) for document in corpus.validation]
    loss = _total_loss(_losses(options, model, tokenizer, heads))
    progress.curve.append(
        {
            "step": progress.step,
            "learning_rate": learning_rate(progress.step - 1, options),
            "train_nats_per_token": float(np.mean(progress.recent_losses)),
            "validation_nats_per_token": loss.nats_per_token,
            "validation_nats_per_character": loss.nats_per_character,
        }
    )
    progress.recent_losses = []


def _finish(
    options: TrainingOptions,
    family: Family,
    model: nn.Module,
    tokenizer: Tokenizer,
    corpus: Corpus,
    curve: list[dict[str, float]],
) -> TrainingResult:
    out = options.out
    test = _losses(options, model, tokenizer, corpus.test)
    opening = Document(corpus.test[0].name, corpus.test[0].text[:_SLICE_CHARACTERS])
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    record = {
        "command": options.command(),
        "options": json.loads(options.identity()),
        "n_parameters": n_parameters,
        "corpus": {
            "name": corpus.name,
            "sha256": corpus.sha256,
            **{split: [d.name for d in getattr(corpus, split)] for split in ("train", "validation", "test")},
        },
        "evaluation": "non-overlapping windows of the context length, each opened by <|endoftext|>",
        "validation": _total_loss(_losses(options, model, tokenizer, corpus.validation)).as_dict(),
        "test": {name: loss.as_dict() for name, loss in test.items()},
        "test_all": _total_loss(test).as_dict(),
        "test_slice": {
            "document": opening.name,
            "characters": f"first {_SLICE_CHARACTERS}",
            **_total_loss(_losses(options, model, tokenizer, [opening])).as_dict(),
        },
        "device": options.device,
        "threads": torch.get_num_threads(),
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in ("torch", "transformers", "tokenizers", "numpy")},
        },
    }
    family.save(model, out)
    save_tokenizer(tokenizer, out, context=options.context)
    write_text_atomically(out / "curve.csv", _csv(curve))
    write_text_atomically(out / "training.json", json.dumps(record, indent=2) + "\n")
    (out / STATE_FILE).unlink(missing_ok=True)
    return TrainingResult(
        directory=out,
        n_parameters=n_parameters,
        steps=np.array([point["step"] for point in curve], dtype=np.int64),
        validation=np.array([point["validation_nats_per_token"] for point in curve]),
        test=test,
    )


def _losses(
    options: TrainingOptions, model: nn.Module, tokenizer: Tokenizer, documents: Sequence[Document]
) -> dict[str, Loss]:
    return {
        document.name: document_loss(model, tokenizer, document, context=options.context, device=options.device)
        for document in documents
    }


def _total_loss(losses: dict[str, Loss]) -> Loss:
    return sum(losses.values(), start=Loss(0.0, 0, 0))


def _token_stream(tokenizer: Tokenizer, documents: Sequence[Document], *, context: int) -> Int[ndarray, " T"]:
    """All training tokens in a row, each document closed by `<|endoftext|>`."""
    ids = [index for document in documents for index in (*encode(tokenizer, document.text), BOS_ID)]
    if len(ids) < context:
        raise BadInput(
            "corpus",
            expected=f"at least --context = {context} training tokens",
            received=f"{len(ids)}",
            remedy="pass a longer text or a smaller --context",
        )
    return np.array(ids, dtype=np.int64)


def _identity(options: TrainingOptions, corpus: Corpus, tokenizer: Tokenizer) -> str:
    tokenizer_sha256 = hashlib.sha256(tokenizer.to_str().encode()).hexdigest()
    return "\n".join([options.identity(), corpus.sha256, tokenizer_sha256])


def _save_checkpoint(
    options: TrainingOptions, family: Family, model: nn.Module, tokenizer: Tokenizer, step: int
) -> None:
    directory = options.out / "checkpoints" / f"step-{step:06d}"
    directory.mkdir(parents=True, exist_ok=True)
    family.save(model, directory)
    save_tokenizer(tokenizer, directory, context=options.context)


def _csv(rows: list[dict[str, float]]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def _require_free(out: Path, *, resume: bool) -> None:
    taken = [name for name in (STATE_FILE, "training.json", "model.safetensors") if (out / name).exists()]
    if taken and not resume:
        raise OptionError(
            "--out",
            expected="a directory without a training run",
            received=f"{out}, which holds {taken[0]}",
            remedy="pass --resume to continue that run, or another --out",
        )


def _require_device(device: str) -> None:
    available = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    if device not in available:
        raise DeviceError("--device", expected=" or ".join(available), received=device, remedy="pass --device cpu")
