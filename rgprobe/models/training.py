"""The training loop that every family shares.

A model is a torch module from token ids (B, N) to logits (B, N, V). Given equal options, library versions and thread
count, two runs write equal weights, also when one of them was killed and resumed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from tokenizers import Tokenizer

from rgprobe.errors import BadInput, DeviceError, OptionError
from rgprobe.locking import exclusive
from rgprobe.models.corpus import Document, load_corpus
from rgprobe.models.evaluation import Loss, total_loss
from rgprobe.models.families import get_family
from rgprobe.models.optimization import build_optimizer, learning_rate, optimize_step
from rgprobe.models.options import TrainingOptions
from rgprobe.models.recording import write_record
from rgprobe.models.resuming import STATE_FILE, CurvePoint, Progress, load_state, save_state
from rgprobe.models.run import Run, prepare
from rgprobe.models.tokenizer import BOS_ID, encode

__all__ = ["TrainingProgress", "TrainingResult", "checkpoint_steps", "train"]

_VALIDATION_CHARACTERS = 24_000  # per document and point of the curve; the whole text is scored at the end


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
        rgprobe.errors.OptionError: --family: expected gauge | standard, received 'mamba'; pass a family that exists
    """
    family = get_family(options.family)
    _require_device(options.device)
    corpus = load_corpus(options.corpus)
    with exclusive(options.out) as out:
        _require_free(out, resume=options.resume)
        run = prepare(options, family, corpus)
        stream = _token_stream(run.tokenizer, corpus.train, context=options.context)
        curve = _optimize(run, stream, on_progress)
        return _finish(run, curve)


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
    return [0, *sorted({round(step) for step in np.geomspace(steps, 1, count - 1)})]


def _optimize(
    run: Run, stream: Int[ndarray, " T"], on_progress: Callable[[TrainingProgress], None] | None
) -> list[CurvePoint]:
    options, model = run.options, run.model
    optimizer = build_optimizer(model, options)
    progress = load_state(options.out, model, optimizer, identity=run.identity) if options.resume else Progress()
    kept = checkpoint_steps(options.checkpoints, options.steps)
    if progress.step == 0 and 0 in kept:
        run.save(_checkpoint_directory(options, 0))
    while progress.step < options.steps:
        loss = optimize_step(model, optimizer, stream, progress.step, options)
        progress.step += 1
        progress.recent_losses.append(loss)
        last = progress.step == options.steps
        if progress.step % options.validate_every == 0 or last:
            progress.curve.append(_curve_point(run, progress))
            progress.recent_losses = []
        if progress.step in kept:
            run.save(_checkpoint_directory(options, progress.step))
        if progress.step % options.save_every == 0 and not last:
            save_state(options.out, model, optimizer, progress, identity=run.identity)
        if on_progress is not None:
            validation = progress.curve[-1].validation_nats_per_token if progress.curve else None
            on_progress(TrainingProgress(progress.step, options.steps, loss, validation))
    return progress.curve


def _curve_point(run: Run, progress: Progress) -> CurvePoint:
    openings = [Document(document.name, document.text[:_VALIDATION_CHARACTERS]) for document in run.corpus.validation]
    loss = total_loss(run.losses(openings))
    return CurvePoint(
        step=progress.step,
        learning_rate=learning_rate(progress.step - 1, run.options),
        train_nats_per_token=float(np.mean(progress.recent_losses)),
        validation_nats_per_token=loss.nats_per_token,
        validation_nats_per_character=loss.nats_per_character,
    )


def _finish(run: Run, curve: Sequence[CurvePoint]) -> TrainingResult:
    out = run.options.out
    test = run.losses(run.corpus.test)
    run.save(out)
    write_record(run, curve, test)
    (out / STATE_FILE).unlink(missing_ok=True)
    return TrainingResult(
        directory=out,
        n_parameters=sum(parameter.numel() for parameter in run.model.parameters()),
        steps=np.array([point.step for point in curve], dtype=np.int64),
        validation=np.array([point.validation_nats_per_token for point in curve]),
        test=test,
    )


def _checkpoint_directory(options: TrainingOptions, step: int) -> Path:
    return options.out / "checkpoints" / f"step-{step:06d}"


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


def _require_free(out: Path, *, resume: bool) -> None:
    finished = [name for name in ("training.json",) if (out / name).exists()]
    begun = [name for name in (STATE_FILE, "model.safetensors") if (out / name).exists()]
    if finished or (begun and not resume):
        remedy = "pass another --out" if finished else "pass --resume to continue that run, or another --out"
        raise OptionError(
            "--out",
            expected="a directory without a " + ("finished run" if finished else "training run"),
            received=f"{out}, which holds {(*finished, *begun)[0]}",
            remedy=remedy,
        )


def _require_device(device: str) -> None:
    available = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    if device not in available:
        raise DeviceError("--device", expected=" or ".join(available), received=device, remedy="pass --device cpu")
