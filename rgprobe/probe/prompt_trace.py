"""One prompt through the model, once: everything the collectors reduce, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from rgprobe.gaussian import Gaussian
from rgprobe.probe.attention import AttentionCollector
from rgprobe.probe.lens import reduce_lens
from rgprobe.probe.model import Probe
from rgprobe.probe.moments import RowMoments
from rgprobe.probe.prompts import EncodedPrompt
from rgprobe.probe.states import StateCollector

__all__ = ["COLLECTIONS", "PromptTrace", "trace_prompt"]

COLLECTIONS = ("attention", "states", "beliefs")


@dataclass(frozen=True)
class PromptTrace:
    """What was collected of one prompt; None where it was not asked for.

    Attributes:
        attention: row moments (sink, moment, block, head, token).
        graph: head-averaged attention among recorded tokens (block, position, position).
        geometry: collapse of tokens (sink, quantity, state).
        states: residual states of recorded tokens (state, position, width), float32.
        lens: lens quantities (quantity, state, position).
        log_probabilities: lens beliefs in the reduced basis (state, position, class).
        classes: vocabulary ids of that basis (state, class).
        gaussians: thermal beliefs, one Gaussian of batch shape (position, head) per block.
    """

    attention: np.ndarray | None
    graph: np.ndarray | None
    geometry: np.ndarray | None
    states: np.ndarray | None
    lens: np.ndarray | None
    log_probabilities: np.ndarray | None
    classes: np.ndarray | None
    gaussians: tuple[Gaussian, ...] | None


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
) -> PromptTrace:
    """Stream one prompt and reduce it.

    Args:
        recorded: indices of the tokens whose beliefs and states to keep.
        belief: "lens" or "thermal".
        sink: "exclude" or "include": for attention weights among recorded tokens and thermal beliefs.
        basis: size of the reduced basis of lens beliefs.
        collect: among `COLLECTIONS`.
        answers: token ids to follow at the last token, the first one foremost; by default the next token, everywhere.
    """
    thermal = belief == "thermal" and "beliefs" in collect
    lens = belief == "lens" and "beliefs" in collect
    attention = AttentionCollector(probe, recorded, sink=sink, thermal=thermal)
    states = StateCollector(probe, recorded, geometry="states" in collect)
    hooks = [
        *(attention.hooks() if "attention" in collect or thermal else []),
        *(states.hooks() if "states" in collect or lens else []),
    ]
    probe.stream(prompt.ids, hooks)
    reduction = None
    if lens:
        wanted = _answers(probe, prompt, recorded, answers)
        reduction = reduce_lens(probe, torch.stack(states.recorded), wanted, basis=basis)
    return PromptTrace(
        attention=_stack_moments(attention) if "attention" in collect else None,
        graph=torch.stack(attention.graph).double().cpu().numpy() if "attention" in collect else None,
        geometry=_stack_geometry(states) if "states" in collect else None,
        states=torch.stack(states.recorded).float().cpu().numpy() if "states" in collect else None,
        lens=reduction.quantities.numpy() if reduction is not None else None,
        log_probabilities=reduction.log_probabilities.numpy() if reduction is not None else None,
        classes=reduction.classes.numpy() if reduction is not None else None,
        gaussians=tuple(
            Gaussian.from_covariance(t.mean.transpose(0, 1).double().cpu(), t.covariance.transpose(0, 1).double().cpu())
            for t in attention.thermal
        )
        if thermal
        else None,
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


def _stack_moments(collector: AttentionCollector) -> np.ndarray:
    def stack(rows: list[RowMoments]) -> Tensor:
        return torch.stack([torch.stack(list(row.as_dict().values())) for row in rows], 1)

    return torch.stack([stack(collector.excluded), stack(collector.included)]).cpu().numpy()


def _stack_geometry(collector: StateCollector) -> np.ndarray:
    both = [torch.stack(collector.excluded, -1), torch.stack(collector.included, -1)]
    return torch.stack(both).double().cpu().numpy()
