"""AdamW with a warm-up and cosine schedule, batches that depend on (seed, step) alone, and one optimizer step."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Int
from numpy import ndarray
from torch import Tensor, nn

from rgprobe.errors import NumericalRefusal
from rgprobe.models.options import TrainingOptions
from rgprobe.models.tokenizer import BOS_ID

__all__ = ["build_optimizer", "draw_batch", "learning_rate", "optimize_step", "update_weights"]


def learning_rate(step: int, options: TrainingOptions) -> float:
    """Rate at `step` (0-based): linear warm-up to the peak, then a cosine down to 10% of it at the last step.

    Example:
        >>> from pathlib import Path
        >>> options = TrainingOptions(out=Path("x"), steps=101, warmup=10, learning_rate=1.0)
        >>> [round(learning_rate(step, options), 3) for step in (0, 9, 10, 100)]
        [0.1, 1.0, 1.0, 0.1]
    """
    if step < options.warmup:
        return options.learning_rate * (step + 1) / options.warmup
    progress = (step - options.warmup) / max(1, options.steps - 1 - options.warmup)
    return options.learning_rate * (0.55 + 0.45 * math.cos(math.pi * min(1.0, progress)))


def build_optimizer(model: nn.Module, options: TrainingOptions) -> torch.optim.AdamW:
    """AdamW (0.9, 0.95); weight decay on matrices only, and not on embeddings: norms, biases and rows stay free."""
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    decayed = [p for p in model.parameters() if p.ndim >= 2 and id(p) not in embeddings]
    free = [p for p in model.parameters() if p.ndim < 2 or id(p) in embeddings]
    groups = [{"params": decayed, "weight_decay": options.weight_decay}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=options.learning_rate, betas=(0.9, 0.95), eps=1e-8)


def draw_batch(
    stream: Int[ndarray, " T"], step: int, options: TrainingOptions
) -> tuple[Int[Tensor, "B N"], Int[Tensor, "B N"]]:
    """Inputs and targets of one step: random windows, each opened by `<|endoftext|>`.

    The generator is seeded by (seed, step), so a resumed run needs no saved random state.
    """
    generator = np.random.default_rng([options.seed, step])
    starts = generator.integers(0, len(stream) - options.context + 1, size=options.batch)
    targets = torch.from_numpy(stream[starts[:, None] + np.arange(options.context)]).long()
    inputs = torch.cat([torch.full_like(targets[:, :1], BOS_ID), targets[:, :-1]], dim=1)
    return inputs.to(options.device), targets.to(options.device)


def optimize_step(
    model: nn.Module, optimizer: torch.optim.AdamW, stream: Int[ndarray, " T"], step: int, options: TrainingOptions
) -> float:
    """One update on random windows; returns the batch's loss in nats per token, before the update.

    Raises:
        NumericalRefusal: the loss is not finite; the weights stay as they were.
    """
    return update_weights(model, optimizer, *draw_batch(stream, step, options), step, options)


def update_weights(
    model: nn.Module,
    optimizer: torch.optim.AdamW,
    inputs: Int[Tensor, "B N"],
    targets: Int[Tensor, "B N"],
    step: int,
    options: TrainingOptions,
) -> float:
    """One update on one batch; returns its loss in nats per token, before the update.

    Args:
        model: from ids (B, N) to logits (B, N, V).
        optimizer: from `build_optimizer`.
        inputs: token ids.
        targets: what to predict at each position; -100 where nothing is.
        step: 0-based, for the schedule.
        options: of the run.

    Raises:
        NumericalRefusal: the loss is not finite; the weights stay as they were.
    """
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(step, options)
    with torch.autocast(options.device, torch.bfloat16, enabled=options.precision == "bfloat16"):
        logits = model(inputs).flatten(0, 1)
    loss = nn.functional.cross_entropy(logits.float(), targets.flatten())
    if not math.isfinite(float(loss.detach())):
        raise NumericalRefusal(
            f"loss at step {step}",
            expected="a finite number",
            received=str(float(loss.detach())),
            remedy="lower --learning-rate",
        )
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), options.clip)
    optimizer.step()
    return float(loss.detach())
