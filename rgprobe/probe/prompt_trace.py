"""One prompt through the model, once: everything the collectors reduce, as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Int
from torch import Tensor

from rgprobe.gaussian import Gaussian
from rgprobe.probe.attention import AttentionCollector, way_of
from rgprobe.probe.couplings import CouplingCollector
from rgprobe.probe.estimators import Pass, estimator_of
from rgprobe.probe.lens import reduce_lens
from rgprobe.probe.model import Probe
from rgprobe.probe.passes import PASSES, measured_by
from rgprobe.probe.prompts import EncodedPrompt
from rgprobe.probe.reductions import REDUCTIONS, reductions_of
from rgprobe.probe.sketches import SketchCollector
from rgprobe.probe.states import StateCollector
from rgprobe.probe.units import UnitCollector

__all__ = ["COLLECTIONS", "PASSES", "REDUCTIONS", "PromptTrace", "trace_prompt"]

COLLECTIONS = ("attention", "states", "beliefs", "couplings", "sketches", "units")


@dataclass(frozen=True)
class PromptTrace:
    """What was collected of one prompt; None where it was not asked for.

    Attributes:
        attention: means over attention rows (sink, mean, block, head), see `rgprobe.probe.row_statistics`.
        keys: that each row sees (sink, block, token).
        rows: functions of every row (function, block, head, token), float32.
        graph: head-averaged attention among recorded tokens (block, position, position).
        geometry: collapse of tokens (sink, quantity, state).
        states: residual states of recorded tokens (state, position, width), float32.
        lens: lens quantities (quantity, state, position).
        log_probabilities: lens beliefs in the reduced basis (state, position, class).
        classes: vocabulary ids of that basis (state, class).
        gaussians: Gaussian beliefs, one of batch shape (position, head) per block.
        couplings: of gauge attention (quantity, block, head, token).
        sketches: of all tokens but the sink (state, site, coordinate), float32.
        units: sparsity of feed-forward units (sink, quantity, block).
        reductions: what `rgprobe.probe.reductions` made of attention and `rgprobe.probe.passes` of passes of their own, by
            collection.
        attention_from: "scores" or "queries and keys": how the pass was made, see `rgprobe.probe.attention`.
    """

    attention: np.ndarray | None = None
    keys: np.ndarray | None = None
    rows: np.ndarray | None = None
    graph: np.ndarray | None = None
    geometry: np.ndarray | None = None
    states: np.ndarray | None = None
    lens: np.ndarray | None = None
    log_probabilities: np.ndarray | None = None
    classes: np.ndarray | None = None
    gaussians: tuple[Gaussian, ...] | None = None
    couplings: np.ndarray | None = None
    sketches: np.ndarray | None = None
    units: np.ndarray | None = None
    reductions: dict[str, xr.Dataset] = field(default_factory=dict)
    attention_from: str = "scores"


def trace_prompt(
    probe: Probe,
    prompt: EncodedPrompt,
    recorded: Int[Tensor, "positions"],
    *,
    belief: str,
    sink: str,
    basis: int,
    collect: Sequence[str],
    answers: Sequence[int] = (),
    belief_options: Mapping[str, Any] | None = None,
) -> PromptTrace:
    """Stream one prompt and reduce it.

    Args:
        recorded: indices of the tokens whose beliefs and states to keep.
        belief: name of an estimator, see `rgprobe.probe.estimators`.
        sink: "exclude" or "include": for attention weights among recorded tokens and what is made of them.
        basis: size of the reduced basis of lens beliefs.
        collect: among `COLLECTIONS`, `REDUCTIONS` and `PASSES`.
        answers: token ids to follow at the last token, the first one foremost; by default the next token, everywhere.
        belief_options: of the estimator.
    """
    estimator, wanted = estimator_of(belief), "beliefs" in collect
    reads = {*collect, *(estimator.reads if wanted else ())}
    attends = bool(reads & {"attention", *REDUCTIONS})
    attention = AttentionCollector(probe, recorded, sink=sink, way=way_of(probe, len(prompt)), collects=attends)
    states = StateCollector(probe, recorded, geometry="states" in collect)
    couplings, sketches, units = CouplingCollector(probe), SketchCollector(probe, sink=sink), UnitCollector(probe)
    reductions = reductions_of(probe, attention, prompt.ids, collect)
    beliefs = None
    if wanted and estimator.collector is not None:
        at = Pass(probe, prompt.ids, recorded, attention, sink, estimator.complete(belief_options))
        beliefs = estimator.collector(at)
    hooks = [
        *(beliefs.hooks() if beliefs is not None else []),
        *(hook for reduction in reductions.values() for hook in reduction.hooks()),
        *attention.hooks(),
        *(states.hooks() if "states" in reads else []),
        *(couplings.hooks() if "couplings" in collect else []),
        *(sketches.hooks() if "sketches" in collect else []),
        *(units.hooks() if "units" in collect else []),
    ]
    attention.stream(prompt.ids, hooks)
    reduction = None
    if wanted and not estimator.gaussian:
        follow = _answers(probe, prompt, recorded, answers)
        reduction = reduce_lens(probe, torch.stack(states.recorded), follow, basis=basis)
    coupled = couplings.array(len(prompt)) if "couplings" in collect else None
    return PromptTrace(
        attention=_stacked(attention, "means", 2) if "attention" in collect else None,
        keys=_stacked(attention, "keys", 1) if "attention" in collect else None,
        rows=_stacked(attention, "by_token", 1) if "attention" in collect else None,
        graph=torch.stack(attention.graph).double().cpu().numpy() if "attention" in collect else None,
        geometry=_stack_geometry(states) if "states" in collect else None,
        states=torch.stack(states.recorded).float().cpu().numpy() if "states" in collect else None,
        lens=reduction.quantities.numpy() if reduction is not None else None,
        log_probabilities=reduction.log_probabilities.numpy() if reduction is not None else None,
        classes=reduction.classes.numpy() if reduction is not None else None,
        gaussians=beliefs.gaussians() if beliefs is not None else None,
        couplings=coupled.numpy() if coupled is not None else None,
        sketches=sketches.array() if "sketches" in collect else None,
        units=units.sparsity.numpy() if "units" in collect else None,
        reductions={
            **{name: reduction.dataset() for name, reduction in reductions.items()},
            **measured_by(probe, prompt, recorded, sink=sink, collect=collect),
        },
        attention_from=attention.way,
    )


def _answers(probe: Probe, prompt: EncodedPrompt, recorded: Tensor, given: Sequence[int]) -> Tensor:
    """Token ids to follow, (positions, answers), -1 for none."""
    wanted = torch.full((len(recorded), max(len(given), 1)), -1)
    if given:
        wanted[recorded == len(prompt) - 1] = torch.tensor(list(given))
    elif probe.causal:
        ahead = recorded + 1 < len(prompt)
        wanted[ahead, 0] = prompt.ids[recorded[ahead] + 1]
    return wanted


def _stacked(collector: AttentionCollector, name: str, axis: int) -> np.ndarray:
    """Statistics of all blocks in one array."""
    return torch.stack([getattr(block, name) for block in collector.statistics], axis).cpu().numpy()


def _stack_geometry(collector: StateCollector) -> np.ndarray:
    both = [torch.stack(collector.excluded, -1), torch.stack(collector.included, -1)]
    return torch.stack(both).double().cpu().numpy()
