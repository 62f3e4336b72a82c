"""Training on integer sequences whose process is known: fresh ones at every step, so that nothing can be memorised.

The testbeds count their tokens from 0. A model reserves ids for `<|endoftext|>`, which opens every sequence, and for
padding, whose embedding row never learns; `sequence_ids` shifts tokens past them. Batches depend on (seed, step) alone.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from rgprobe.models.families import get_family
from rgprobe.models.optimization import build_optimizer, update_weights
from rgprobe.models.options import TrainingOptions
from rgprobe.models.tokenizer import BOS_ID, PAD_ID

__all__ = ["FIRST_ID", "batch_seed", "fit", "sequence_ids", "train_on_sequences", "untrained"]

FIRST_ID = max(BOS_ID, PAD_ID) + 1

Batch = tuple[Int[Tensor, "B N"], Int[Tensor, "B N"]]


def sequence_ids(tokens: Int[np.ndarray, "rows length"]) -> Int[Tensor, "rows ids"]:
    """Token ids of sequences that count from 0: shifted past the reserved ids, each opened by `<|endoftext|>`.

    Example:
        >>> sequence_ids(np.array([[0, 2]])).tolist()
        [[0, 2, 4]]
    """
    return nn.functional.pad(torch.from_numpy(tokens).long() + FIRST_ID, (1, 0), value=BOS_ID)


def batch_seed(seed: int, step: int) -> int:
    """Seed of the batch of one step: a hash of (seed, step), below 2^32.

    Example:
        >>> batch_seed(0, 1) == batch_seed(0, 1), batch_seed(0, 1) == batch_seed(1, 0)
        (True, False)
    """
    return int(np.random.SeedSequence([seed, step]).generate_state(1)[0])


def train_on_sequences(
    draw: Callable[[int, int], Int[np.ndarray, "rows length"]],
    *,
    vocabulary: int,
    length: int,
    family: str = "standard",
    on_progress: Callable[[int, float], None] | None = None,
    **sizes: Any,
) -> nn.Module:
    """A model of either family, trained to predict each token of a process from those before it.

    Args:
        draw: rows and a seed to that many sequences of `length` tokens 0 ... V - 1.
        vocabulary: V, tokens of the process.
        length: tokens per sequence.
        family: "standard" or "gauge".
        on_progress: called with steps done and the loss of the last batch, nats per token.
        **sizes: other fields of `TrainingOptions`: steps, batch, layers, width, heads, learning_rate, warmup, seed, settings.

    Raises:
        OptionError: an unknown family or a size outside its domain.
        NumericalRefusal: the loss is not finite.

    Example:
        >>> def constant(rows: int, seed: int) -> np.ndarray:
        ...     return np.full((rows, 5), seed % 3)
        >>> losses = []
        >>> tiny = {"layers": 1, "width": 8, "heads": 2, "steps": 30, "batch": 8, "warmup": 2, "learning_rate": 0.02}
        >>> model = train_on_sequences(constant, vocabulary=3, length=5, on_progress=lambda _, x: losses.append(x), **tiny)
        >>> losses[-1] < losses[0]
        True
    """
    options = _options(length, family, sizes)

    def batch(step: int) -> Batch:
        ids = sequence_ids(draw(options.batch, batch_seed(options.seed, step)))
        return ids[:, :-1], ids[:, 1:]

    return fit(_build(options, vocabulary), batch, options, on_progress=on_progress)


def untrained(*, vocabulary: int, length: int, family: str = "standard", **sizes: Any) -> nn.Module:
    """The model that `train_on_sequences` starts from, given the same sizes and seed.

    Example:
        >>> sum(p.numel() for p in untrained(vocabulary=3, length=5, layers=1, width=8, heads=2).parameters())
        1088
    """
    return _build(_options(length, family, sizes), vocabulary).eval()


def fit(
    model: nn.Module,
    batch: Callable[[int], Batch],
    options: TrainingOptions,
    *,
    on_progress: Callable[[int, float], None] | None = None,
) -> nn.Module:
    """Train `model` in place for `options.steps` steps on `batch(step)`, and return it in evaluation mode.

    Args:
        model: from ids (B, N) to logits (B, N, V).
        batch: step to inputs and targets, -100 where nothing is to be predicted.
        options: steps, schedule and optimizer.
        on_progress: called with steps done and the loss of the last batch, nats per predicted token.

    Raises:
        NumericalRefusal: the loss is not finite.
    """
    optimizer = build_optimizer(model.train(), options)
    for step in range(options.steps):
        loss = update_weights(model, optimizer, *batch(step), step, options)
        if on_progress is not None:
            on_progress(step + 1, loss)
    return model.eval()


def _options(length: int, family: str, sizes: dict[str, Any]) -> TrainingOptions:
    # nothing is written: `out` only fills its place
    return TrainingOptions(out=Path(), family=family, context=length + 1, **sizes)


def _build(options: TrainingOptions, vocabulary: int) -> nn.Module:
    size = {"layers": options.layers, "width": options.width, "heads": options.heads, "context": options.context}
    family = get_family(options.family)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        return family.build(vocabulary=vocabulary + FIRST_ID, **size, **options.switches())
