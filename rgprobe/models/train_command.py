"""`rgprobe train`: the command line of the training loop. Importing this module imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rgprobe.models.options import TrainingOptions

if TYPE_CHECKING:
    from rgprobe.models.training import TrainingResult

__all__ = ["train_command"]


def train_command(
    *,
    out: Annotated[Path, typer.Option(help="Directory to write the checkpoint to.")],
    family: Annotated[str, typer.Option(help="Family of the model: standard or gauge.")] = TrainingOptions.family,
    corpus: Annotated[
        Path | None, typer.Option(help="A UTF-8 text file instead of Shakespeare's plays; split 90/5/5 by position.")
    ] = None,
    level: Annotated[
        str, typer.Option(help="Tokens: 'token' (byte-level BPE) or 'character'.")
    ] = TrainingOptions.level,
    steps: Annotated[int, typer.Option(help="Optimizer steps.")] = TrainingOptions.steps,
    batch: Annotated[int, typer.Option(help="Windows per step.")] = TrainingOptions.batch,
    context: Annotated[int, typer.Option(help="Window length in tokens; also the model's.")] = TrainingOptions.context,
    layers: Annotated[int, typer.Option(help="Blocks.")] = TrainingOptions.layers,
    width: Annotated[int, typer.Option(help="Width of the residual stream.")] = TrainingOptions.width,
    heads: Annotated[int, typer.Option(help="Attention heads per block.")] = TrainingOptions.heads,
    vocabulary: Annotated[int, typer.Option(help="Size of the BPE vocabulary.")] = TrainingOptions.vocabulary,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = TrainingOptions.learning_rate,
    seed: Annotated[int, typer.Option(help="Seed of initial weights and batches.")] = TrainingOptions.seed,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a run that was killed in --out.")] = False,
    checkpoints: Annotated[
        int, typer.Option(help="Keep this many checkpoints, log-spaced over steps, the first at step 0.")
    ] = TrainingOptions.checkpoints,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = TrainingOptions.device,
    precision: Annotated[
        str, typer.Option(help="float32, or bfloat16: matrix products in bfloat16, everything else in float32.")
    ] = TrainingOptions.precision,
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Less memory for longer steps; the same weights.")
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A switch of a gauge model, such as attention=uniform or log_prior=false; may be repeated.",
            show_default=False,
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of a failure.")] = False,
) -> None:
    """Train a small model on real text and write a checkpoint that rgprobe can load."""
    options = TrainingOptions(
        out=out,
        family=family,
        corpus=corpus,
        level=level,
        steps=steps,
        batch=batch,
        context=context,
        layers=layers,
        width=width,
        heads=heads,
        vocabulary=vocabulary,
        learning_rate=learning_rate,
        seed=seed,
        resume=resume,
        checkpoints=checkpoints,
        device=device,
        precision=precision,
        gradient_checkpointing=gradient_checkpointing,
        settings=tuple(settings or ()),
    )
    result = _train_with_progress_bar(options, quiet=quiet)
    for name, loss in result.test.items():
        typer.echo(
            f"{name}: {loss.nats_per_token:.4f} nats per token, {loss.nats_per_character:.4f} nats per character, "
            f"{loss.bits_per_character:.4f} bits per character"
        )
    typer.echo(f"wrote {result.directory} ({result.n_parameters:,} parameters)")


def _train_with_progress_bar(options: TrainingOptions, *, quiet: bool) -> TrainingResult:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from rgprobe.models.training import TrainingProgress, train

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as bar:
        task = bar.add_task("preparing the corpus", total=options.steps)

        def show(progress: TrainingProgress) -> None:
            validation = "" if progress.validation is None else f", validation {progress.validation:.3f}"
            bar.update(
                task, completed=progress.step, description=f"loss {progress.loss:.3f}{validation} nats per token"
            )

        return train(options, on_progress=show)
