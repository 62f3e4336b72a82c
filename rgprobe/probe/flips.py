"""How much noise the prediction of a prompt's last token bears: in states, and in attention patterns."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor

from rgprobe.probe.model import Probe
from rgprobe.probe.perturbing import changed_predictions, evenly_spaced
from rgprobe.probe.population import population
from rgprobe.probe.prompts import EncodedPrompt, prompt_seed

__all__ = [
    "ATTENTION_RADII",
    "DRAWS",
    "STATE_RADII",
    "flips",
    "flips_cost",
    "noisy_pattern",
    "noisy_states",
    "visited_states",
]

STATE_RADII = (0.1, 0.25, 0.5)  # of the spread of states
ATTENTION_RADII = (0.5, 1.0, 2.0)  # nats
DRAWS = 4
MOST = 5  # states, and blocks, that are perturbed


def flips(probe: Probe, prompt: EncodedPrompt, recorded: Int[Tensor, " positions"], sink: str) -> xr.Dataset:
    """Share of noise draws that change the most probable next token of the last position.

    - residual (radius, state): all tokens of one state (but the sink, by policy) are moved in independent random directions,
      by `STATE_RADII` times the spread of states there, the root mean square distance between states of different texts;
    - attention (radius, state): the pattern of the block that ends in this state is multiplied by exp(r e), e standard normal
      for each pair of tokens and each head, and normalised again: noise of `ATTENTION_RADII` nats in the scores.

    NaN for states that are not visited, for models that do not predict the next token, and for prompts of one token.
    """
    shape = (len(STATE_RADII), probe.n_blocks + 1)
    found = {"residual": np.full(shape, np.nan), "attention": np.full(shape, np.nan)}
    if probe.causal and len(prompt) > 1:
        generator = torch.Generator().manual_seed(prompt_seed(prompt.ids))
        last = torch.tensor([len(prompt) - 1])
        kept = int(changed_predictions(probe, prompt.ids, last).argmax())
        first = 1 if sink == "exclude" else 0

        def rates(point: str, change: Callable[[Tensor], Tensor]) -> Float[np.ndarray, " radius"]:
            copies = len(STATE_RADII) * DRAWS
            noisy = changed_predictions(probe, prompt.ids, last, point=point, change=change, copies=copies)
            return np.asarray((noisy.argmax(-1) != kept).double().view(-1, DRAWS).mean(1))

        for state in (visited := visited_states(probe)):
            radii = population(probe, state, visited).spread * torch.tensor(STATE_RADII).repeat_interleave(DRAWS)
            move = partial(noisy_states, radii=radii, generator=generator, first=first)
            found["residual"][:, state] = rates(probe.state_hook(state), move)
        strengths = torch.tensor(ATTENTION_RADII).repeat_interleave(DRAWS)
        for block in evenly_spaced(probe.n_blocks, MOST):
            blur = partial(noisy_pattern, strengths=strengths, generator=generator)
            found["attention"][:, block + 1] = rates(f"blocks.{block}.attn.hook_pattern", blur)
    dims = ("radius", "state")
    return xr.Dataset({name: (dims, rates) for name, rates in found.items()})


def flips_cost(probe: Probe) -> float:
    """Forward passes for one prompt."""
    rows = len(STATE_RADII) * DRAWS
    return float(1 + rows * (len(visited_states(probe)) + len(evenly_spaced(probe.n_blocks, MOST))))


def visited_states(probe: Probe) -> tuple[int, ...]:
    """States that are perturbed, the input and the output end among them."""
    return evenly_spaced(probe.n_blocks + 1, MOST)


def noisy_states(
    states: Float[Tensor, "copies tokens width"],
    radii: Float[Tensor, " copies"],
    generator: torch.Generator,
    *,
    first: int,
) -> Float[Tensor, "copies tokens width"]:
    """Every token from `first` on moved by exactly its copy's radius, in a random direction of its own."""
    noise = torch.randn(states.shape, generator=generator, dtype=torch.float64)
    noise = noise / noise.norm(dim=-1, keepdim=True) * radii[:, None, None]
    noise[:, :first] = 0
    return states + noise.to(states)


def noisy_pattern(
    pattern: Float[Tensor, "copies heads tokens keys"], strengths: Float[Tensor, " copies"], generator: torch.Generator
) -> Float[Tensor, "copies heads tokens keys"]:
    """Rows with normal noise in their scores; what a row does not see it still does not."""
    noise = torch.randn(pattern.shape, generator=generator, dtype=torch.float64) * strengths[:, None, None, None]
    weights = pattern.double() * noise.exp().to(pattern.device)
    return (weights / weights.sum(-1, keepdim=True)).to(pattern.dtype)
