"""Between two checkpoints, did the scores of attention follow the gradient or the natural gradient?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool, Float64, Int
from torch import Tensor

from rgprobe.diagnostics.update_alignment import expected_between, update_alignment
from rgprobe.errors import PromptError
from rgprobe.probe.descent import gradient_step
from rgprobe.probe.loading import load
from rgprobe.probe.model import Probe
from rgprobe.probe.patterns import attention_patterns, attention_slopes
from rgprobe.probe.sampled_rows import MINIMUM_KEYS
from rgprobe.sweeping.motion import one_run

__all__ = ["alignment_with_gradients"]


class _Rows(NamedTuple):
    """Attention of a checkpoint on every prompt, its slopes, and it after a step of descent on that prompt's loss."""

    weights: Float64[np.ndarray, "prompt block head row key"]
    slopes: Float64[np.ndarray, "prompt block head row key"]
    descended: Float64[np.ndarray, "prompt block head row key"]


def alignment_with_gradients(
    sources: str | Path | Sequence[str | Path], prompts: Sequence[str], *, tokens: int = 64, device: str = "auto"
) -> xr.Dataset:
    """Cosines of each change of attention scores with the gradient and the natural gradient at the earlier checkpoint.

    Gradients are those of each prompt's own loss, the change is what training on other text did to the same rows. Beside it
    stands what the most favourable update does, a step of gradient descent in the weights on that very loss: how far scores
    can follow a gradient at all, when all rows and heads share their weights. All prompts are cut to equal length, so that
    the null can pair rows of one prompt with gradients of another.

    Args:
        sources: the folder of one training run, or its checkpoints.
        prompts: two texts or more, which the run did not train on.
        tokens: length that prompts are cut to, at most 256; shorter ones are refused.
        device: see `rgprobe.load`.

    Returns:
        Dimensions step (the earlier checkpoint; `later` is a coordinate), block, head; means over rows that see at least 8
        keys and move a prediction, and over prompts, of `plain`, `natural`, `between`, `excess` (see
        `rgprobe.diagnostics.update_alignment`) and `expected_between`; of `plain_other`, `natural_other`: the same with the
        update of another prompt; and of `plain_step`, `natural_step`, `excess_step`: with the step of gradient descent on the
        prompt. `spread` is the standard deviation of the scores of a row, nats; `random_deviation` that of the mean of as
        many random cosines.

    Raises:
        PromptError: a prompt of fewer tokens, or a single one.
        BadInput, CheckpointError: checkpoints of several runs, or one that cannot be read.
    """
    places = one_run(sources)
    found: list[xr.Dataset] = []
    before: _Rows | None = None
    for place in places:
        probe = load(place.location, device=device)
        ids = _equal_length(probe, prompts, tokens)
        if before is not None:
            after = np.stack([attention_patterns(probe, each).double().numpy() for each in ids])
            found.append(_compared(before, after))
        if place is not places[-1]:
            before = _Rows(*(np.stack(each) for each in zip(*(_rows(probe, each) for each in ids), strict=True)))
    steps = [int(place.step or 0) for place in places]
    return xr.concat(found, "step").assign_coords(step=steps[:-1], later=("step", steps[1:]))


def _rows(probe: Probe, ids: Int[Tensor, " tokens"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    weights, slopes = attention_slopes(probe, ids)
    with gradient_step(probe, ids) as moved:
        descended = attention_patterns(moved, ids)
    return weights.double().numpy(), slopes.double().numpy(), descended.double().numpy()


def _compared(before: _Rows, after: Float64[np.ndarray, "prompt block head row key"]) -> xr.Dataset:
    seen, wide = _visible(after.shape[-1])
    weights, slopes, descended, after = (each[..., wide, :] for each in (*before, after))
    own = update_alignment(weights, slopes, after, seen=seen)
    step = update_alignment(weights, slopes, descended, seen=seen)
    # the change of another prompt's row, put on top of this one's scores
    moved = np.log(np.maximum(np.roll(after, 1, 0), _TINY)) - np.log(np.maximum(np.roll(weights, 1, 0), _TINY))
    other = update_alignment(weights, slopes, _shifted(weights, moved, seen), seen=seen)
    keys = seen.sum(-1)
    with np.errstate(divide="ignore"):
        spread = np.std(np.log(np.maximum(weights, _TINY)), axis=-1, ddof=1, where=seen)
    rows = {
        "plain": own.plain, "natural": own.natural, "between": own.between, "excess": own.excess,
        "expected_between": expected_between(weights, seen=seen),
        "plain_other": other.plain, "natural_other": other.natural, "spread": spread,
        "plain_step": step.plain, "natural_step": step.natural, "excess_step": step.excess,
    }  # fmt: skip
    means = {name: (("block", "head"), np.nanmean(each, axis=(0, -1))) for name, each in rows.items()}
    count = len(keys) * len(weights)
    return xr.Dataset({**means, "random_deviation": float(np.sqrt((1 / (keys - 1)).mean() / count))})


_TINY = float(np.finfo(np.float32).tiny)


def _shifted(
    weights: Float64[np.ndarray, "*rows key"],
    moved: Float64[np.ndarray, "*rows key"],
    seen: Bool[np.ndarray, "row key"],
) -> Float64[np.ndarray, "*rows key"]:
    """Rows whose scores have been changed by `moved`."""
    scores = np.where(seen, np.log(np.maximum(weights, _TINY)) + moved, -np.inf)
    found = np.exp(scores - scores.max(-1, keepdims=True))
    return found / found.sum(-1, keepdims=True)


def _visible(tokens: int) -> tuple[Bool[np.ndarray, "row key"], Bool[np.ndarray, " tokens"]]:
    """What each row that sees enough keys sees, and which rows these are."""
    seen = np.tri(tokens, dtype=bool)
    wide = seen.sum(-1) >= MINIMUM_KEYS
    return seen[wide], wide


def _equal_length(probe: Probe, prompts: Sequence[str], tokens: int) -> list[Int[Tensor, " tokens"]]:
    found = [prompt.ids[:tokens] for prompt in probe.encode(list(prompts))]
    short = [index for index, ids in enumerate(found) if len(ids) < tokens]
    if short or len(found) < 2:
        raise PromptError(f"prompts[{short[0]}]" if short else "prompts", expected=f"two texts of at least {tokens} tokens",
                          received=f"{len(found[short[0]])} tokens" if short else str(len(found)),
                          remedy="pass longer texts, or lower tokens")  # fmt: skip
    return [torch.as_tensor(ids) for ids in found]
