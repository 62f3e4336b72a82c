"""Passes through null models: random initialisations, as they come and with larger logits, and shuffled prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from torch import Tensor

from rgprobe.diagnostics import Measurement
from rgprobe.errors import OptionError
from rgprobe.nulls import shuffle_tokens
from rgprobe.probe.logit_scale import final_gains, logit_deviation, match_logit_scale
from rgprobe.probe.model import Probe
from rgprobe.probe.prompts import EncodedPrompt

__all__ = ["Drawn", "Measure", "Tick", "require_scalable", "run_nulls"]

Measure = Callable[[Probe, Sequence[Tensor]], dict[str, Measurement]]  # of a model on rows of token ids, by diagnostic
Tick = Callable[[str], AbstractContextManager[None]]  # says what is running
Drawn = dict[str, list[dict[str, Measurement]]]  # by the fields of `NullMeasurements`, in the order of draws


def run_nulls(
    probe: Probe,
    encoded: Sequence[EncodedPrompt],
    measure: Measure,
    tick: Tick,
    *,
    seed: int,
    nulls: int,
    shuffles: int,
    scaled: bool,
) -> tuple[Drawn, dict[str, Any]]:
    """Measure every null model of a run.

    Args:
        probe: the model.
        encoded: its prompts.
        measure: what is asked of each null.
        tick: told what is running.
        seed: every null has a seed of its own from it.
        nulls, shuffles: how many random initialisations, and shuffled copies of each prompt.
        scaled: whether each random initialisation is measured again with logits as large as the model's.

    Returns:
        the measurements, and what a result tells of how the nulls were made.
    """
    seeds = [int(s) for s in np.random.SeedSequence(seed).generate_state(nulls + shuffles)]
    drawn, told = _random_initialisations(probe, encoded, measure, tick, seeds=seeds[:nulls], scaled=scaled)
    drawn["shuffled_tokens"] = _shuffled(probe, encoded, measure, tick, seeds=seeds[nulls:])
    return drawn, {"random_init_seeds": seeds[:nulls], "shuffle_seeds": seeds[nulls:], **told}


def require_scalable(probe: Probe, nulls: int) -> None:
    """Refuse what cannot be scaled before anything is measured.

    Raises:
        OptionError: no random initialisation is drawn, or the model ends without a norm that has a gain.
    """
    if nulls == 0:
        raise OptionError("scaled_nulls", expected="nulls of at least 1, which are scaled", received="nulls=0",
                          remedy="pass nulls=5, or leave it out")  # fmt: skip
    final_gains(probe)


def _random_initialisations(
    probe: Probe,
    encoded: Sequence[EncodedPrompt],
    measure: Measure,
    tick: Tick,
    *,
    seeds: Sequence[int],
    scaled: bool,
) -> tuple[Drawn, dict[str, Any]]:
    """Every draw is scaled before the next is made: weights are drawn in place, one model at a time."""
    rows = [prompt.ids for prompt in encoded]
    deviation = logit_deviation(probe, rows) if scaled else float("nan")
    drawn: Drawn = {"random_init": [], "scaled_init": []}
    gains: list[float] = []
    for number, seed in enumerate(seeds, start=1):
        with probe.randomised(seed) as null:
            with tick(f"random init {number} of {len(seeds)}"):
                drawn["random_init"].append(measure(null, rows))
            if scaled:
                with tick(f"scaled init {number} of {len(seeds)}"):
                    gains.append(match_logit_scale(null, rows, deviation))
                    drawn["scaled_init"].append(measure(null, rows))
    return drawn, {"scaled_init_gains": gains, "logit_deviation": deviation} if scaled else {}


def _shuffled(
    probe: Probe, encoded: Sequence[EncodedPrompt], measure: Measure, tick: Tick, *, seeds: Sequence[int]
) -> list[dict[str, Measurement]]:
    special = frozenset(probe.tokenizer.all_special_ids) if probe.tokenizer is not None else frozenset()
    found = []
    for number, seed in enumerate(seeds, start=1):
        rows = [shuffle_tokens(prompt, seed=seed + i, fixed=special) for i, prompt in enumerate(encoded)]
        with tick(f"shuffled tokens {number} of {len(seeds)}"):
            found.append(measure(probe, rows))
    return found
