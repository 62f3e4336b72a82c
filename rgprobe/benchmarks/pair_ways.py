"""What is timed on either shipped model: a training step, a plain forward pass, and a run of the default diagnostics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from rgprobe.benchmarks.run_inputs import token_ids
from rgprobe.benchmarks.run_ways import prepared
from rgprobe.models.families import get_family
from rgprobe.models.optimization import build_optimizer, optimize_step
from rgprobe.models.options import TrainingOptions
from rgprobe.models.shipped import shipped_path
from rgprobe.probe.loading import load

__all__ = ["WAYS", "Work", "pair_calls"]

STEPS = {"step float32": "float32", "step bfloat16": "bfloat16"}  # way: precision of a training step
MEASURING = ("forward", "run")  # as in `run_ways`
WAYS = (*STEPS, *MEASURING)


@dataclass(frozen=True)
class Work:
    """How much one call does, and where.

    Args:
        batch, tokens: sequences, and tokens of each.
        device: "cpu" or "cuda".
        seed: of the tokens.
    """

    batch: int
    tokens: int
    device: str
    seed: int


def pair_calls(source: str, work: Work) -> dict[str, Callable[[], object]]:
    """Every way on one model, ready to be called.

    A step is that of `rgprobe train`: forward, backward, clipping and AdamW, on a model of the checkpoint's sizes, because
    what a step costs does not depend on weights. A forward pass and a run take one sequence after the other.

    Args:
        source: a shipped name.
        work: what each call does.
    """
    probe = load(source, device="cpu")
    stream = token_ids(20 * work.batch * work.tokens, probe.vocabulary, work.seed).numpy().astype(np.int64)
    calls: dict[str, Callable[[], object]] = {}
    for way, precision in STEPS.items():
        options = TrainingOptions(
            out=Path("unused"), family=probe.family, precision=precision, batch=work.batch, context=work.tokens,
            vocabulary=probe.vocabulary, device=work.device, seed=work.seed,
        )  # fmt: skip
        calls[way] = _step(options, stream)
    known = prepared(shipped_path(source), MEASURING, device=work.device)
    lengths = [work.tokens] * work.batch
    for way in MEASURING:
        calls[way] = partial(known[way], lengths, work.seed)
    return calls


def _step(options: TrainingOptions, stream: np.ndarray) -> Callable[[], object]:
    sizes = {name: getattr(options, name) for name in ("vocabulary", "context", "layers", "width", "heads")}
    model = get_family(options.family).build(**sizes).to(options.device)
    optimizer = build_optimizer(model, options)
    return partial(optimize_step, model, optimizer, stream, 0, options)
