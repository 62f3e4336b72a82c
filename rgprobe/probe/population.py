"""Where states of a model lie at all: mean, spread and principal components over a fixed set of texts.

A perturbation is large or small against the spread of states, and a direction is unimportant if states hardly vary along it;
neither can be told from a single prompt, which has fewer tokens than a state has coordinates. The set is the shipped passages
of modern prose, about 2,400 tokens, and random token ids for a model without a tokenizer. It is fixed, so that what is
measured on a prompt does not depend on its company. Token 0 of each text is left out, being a sink.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float64, Int
from torch import Tensor

from rgprobe.data import load_prompts
from rgprobe.probe.model import Probe

__all__ = ["Population", "population", "population_ids"]

RANDOM_ROWS, RANDOM_LENGTH = 24, 100


@dataclass(frozen=True, eq=False)
class Population:
    """One state of all tokens, but the first, of each reference text.

    Attributes:
        texts: (tokens, width) for each.

    Example:
        >>> import torch
        >>> Population((torch.zeros(3, 1).double(), torch.full((2, 1), 4.0).double())).spread
        4.0
    """

    texts: tuple[Float64[Tensor, "_ width"], ...]

    @cached_property
    def points(self) -> Float64[Tensor, "tokens width"]:
        """Tokens of all texts."""
        return torch.cat(self.texts)

    @cached_property
    def spread(self) -> float:
        """Root mean square distance between states of different texts."""
        total = 2 * len(self.points) * (self.points - self.points.mean(0)).square().sum()
        own = torch.stack([2 * len(text) * (text - text.mean(0)).square().sum() for text in self.texts]).sum()
        pairs = len(self.points) ** 2 - sum(len(text) ** 2 for text in self.texts)
        return float(((total - own) / pairs).clamp_min(0).sqrt())


# by probe: the version counters of its weights, which may change under it, and what they made
_KNOWN: WeakKeyDictionary[Probe, tuple[tuple[int, ...], dict[int, Population]]] = WeakKeyDictionary()


def population(probe: Probe, state: int, visited: Sequence[int]) -> Population:
    """The reference population at one of the states that will be visited.

    All of those are collected in one sweep, and kept until the weights change.
    """
    made_by = tuple(parameter._version for parameter in probe.bridge.original_model.parameters())
    if probe not in _KNOWN or _KNOWN[probe][0] != made_by:
        _KNOWN[probe] = made_by, {}
    known = _KNOWN[probe][1]
    if state not in known:
        known |= _collected(probe, [other for other in visited if other not in known])
    return known[state]


def population_ids(probe: Probe) -> list[Int[Tensor, " tokens"]]:
    """The reference texts as token ids, cut to the context."""
    if probe.tokenizer is not None:
        return [prompt.ids for prompt in probe.encode(load_prompts("passages"), truncate=True)]
    generator = torch.Generator().manual_seed(0)
    length = min(RANDOM_LENGTH, probe.context or RANDOM_LENGTH)
    return list(torch.randint(probe.vocabulary, (RANDOM_ROWS, length), generator=generator))


def _collected(probe: Probe, states: Sequence[int]) -> dict[int, Population]:
    found: dict[int, list[Tensor]] = {state: [] for state in states}

    def keep(tensor: Tensor, hook: Any, *, state: int) -> None:
        found[state].append(tensor[0, 1:].double().cpu())

    for ids in population_ids(probe):
        probe.stream(ids, [(probe.state_hook(state), partial(keep, state=state)) for state in states])
    return {state: Population(tuple(texts)) for state, texts in found.items()}
