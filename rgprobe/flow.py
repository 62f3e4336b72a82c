"""`run`: trace -> diagnostics -> nulls -> `RGFlow`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import xarray as xr
from threadpoolctl import threadpool_limits
from torch import Tensor

from rgprobe.belief_trace import BeliefTrace
from rgprobe.checks import checked_seed, whole_number
from rgprobe.diagnostics import Diagnostic, Measurement, applicable, select
from rgprobe.errors import OptionError, nearest
from rgprobe.estimating import CostEstimate, estimate_cost
from rgprobe.measuring import assemble_flow, measurements
from rgprobe.null_runs import require_scalable, run_nulls
from rgprobe.probe.loading import load
from rgprobe.probe.model import Probe
from rgprobe.probe.prompts import unpadded
from rgprobe.rg_flow import RGFlow
from rgprobe.tracing import trace

__all__ = ["run"]

Progress = Callable[[int, int, str], None]
OWN = ("model", "prompts", "collect", "on_prompt")  # of `trace`, which a run decides itself
KNOWN = tuple(name for name in inspect.signature(trace).parameters if name not in OWN)


# numpy's matrices are small here: more BLAS threads would only wait for each other
@threadpool_limits.wrap(limits=1, user_api="blas")
def run(
    model: Any,
    prompts: Any,
    *,
    nulls: int = 3,
    shuffles: int | None = None,
    scaled_nulls: bool = False,
    seed: int = 0,
    diagnostics: str | Sequence[str] = "default",
    on_progress: Progress | None = None,
    on_estimate: Callable[[CostEstimate], None] | None = None,
    **options: Any,
) -> RGFlow:
    """Measure the flow of token beliefs through a model, and the same on null models.

    Args:
        model: anything `rgprobe.load` takes.
        prompts: see `rgprobe.trace`.
        nulls: number of random initialisations of the same architecture. "beats null" needs at least 5, and 20 prompts;
            with fewer every verdict is "descriptive". 0 runs none.
        shuffles: token-shuffled copies of each prompt. Default: one, where there are nulls and at least two prompts to
            carry an interval.
        scaled_nulls: measure each random initialisation again, with the gain of its final norm set so that its logits spread
            over the vocabulary as widely as the model's (null `scaled_init`). Untrained logits are small, so that whatever a
            model does to predictions is more; this asks whether it is more than logits being large.
        seed: of null initialisations, shuffles and the bootstrap.
        diagnostics: "default" (those that cost little), "all", or names.
        on_progress: called with (passes done, passes in all, what is running).
        on_estimate: called with what the run will cost before it starts; one prompt is rehearsed for it.
        **options: of `rgprobe.trace`: belief, belief_options, positions, sink, bos, truncate, attention_mask, basis,
            answers; and groups, which null models keep.

    Raises:
        OptionError: an unknown option, a number of nulls or a seed that is no whole number >= 0, scaled nulls of none or of a
            model without a gain behind its last block, or nothing to measure on such beliefs of such a model.
        CheckpointError, PromptError: see `rgprobe.load` and `rgprobe.trace`.
    """
    nulls = whole_number("nulls", nulls, least=0, remedy="pass nulls=0 for none")
    seed = checked_seed(seed)
    probe = load(model)
    if scaled_nulls:
        require_scalable(probe, nulls)
    belief = str(options.get("belief", "lens"))
    chosen = applicable(select(diagnostics), belief=belief, family=probe.family)
    _reject_unknown(options)
    encoding = {name: options[name] for name in ("bos", "truncate", "attention_mask") if name in options}
    encoded = probe.encode(prompts, **encoding)
    if shuffles is None:
        shuffles = 1 if nulls and len(encoded) > 1 else 0
    shuffles = whole_number("shuffles", shuffles, least=0, remedy="pass shuffles=0 for none")
    inits = nulls * (1 + scaled_nulls)
    if on_estimate is not None:
        rehearsal = {name: options[name] for name in ("belief", "sink", "basis") if name in options}
        on_estimate(estimate_cost(probe, encoded, chosen, nulls=inits, shuffles=shuffles, **rehearsal))
    tick = _Ticker(on_progress, len(encoded) * (1 + inits + shuffles))
    collect = sorted(set().union(*(d.requires for d in chosen)))
    settings = {**options, "collect": collect, "on_prompt": tick.step}
    mask = settings.pop("attention_mask", None)

    def measure_null(null: Probe, rows: Sequence[Tensor]) -> dict[str, Measurement]:
        return _of_null(chosen, trace(null, unpadded(rows), **settings))

    with tick(f"{probe.name}: measuring"):
        traced = trace(probe, prompts, attention_mask=mask, **settings)
    measured = measurements(chosen, traced)
    traced = traced.bare()  # before the next is made
    drawn, told = run_nulls(
        probe, encoded, measure_null, tick, seed=seed, nulls=nulls, shuffles=shuffles, scaled=scaled_nulls
    )
    return assemble_flow(chosen, measured, drawn, traced, {**traced.provenance, "seed": seed, "nulls": told})


def _of_null(chosen: Sequence[Diagnostic], traced: BeliefTrace) -> dict[str, Measurement]:
    """Measurements of a null model; details, which results hold of the model alone, only where a calibration reads them."""
    found = measurements(chosen, traced)
    calibrated = {d.name for d in chosen if d.calibrate is not None}
    return {name: m if name in calibrated else replace(m, details=xr.Dataset()) for name, m in found.items()}


def _reject_unknown(options: Mapping[str, Any]) -> None:
    for name in options:
        if name not in KNOWN:
            raise OptionError(name, expected=f"an option among {', '.join(KNOWN)}", received="an unknown one",
                              remedy=nearest(name, KNOWN, "correct the name"))  # fmt: skip


class _Ticker:
    """Counts passes over prompts and says what is running."""

    def __init__(self, on_progress: Progress | None, total: int) -> None:
        self.on_progress, self.total, self.done, self.label, self.start = on_progress, total, 0, "", 0

    @contextmanager
    def __call__(self, label: str) -> Iterator[None]:
        self.label, self.start = label, self.done
        yield

    def step(self, prompts_done: int) -> None:
        self.done = self.start + prompts_done
        if self.on_progress is not None:
            self.on_progress(self.done, self.total, self.label)
