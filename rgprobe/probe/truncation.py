"""What the output loses when directions of feature space are integrated out halfway: passes with projected states.

Directions are fitted to a fixed reference population (`rgprobe.probe.population`), never to the prompt: a prompt has fewer
tokens than a state has coordinates, so its own principal directions hold it whatever their number, and cutting them says
nothing. In the default prompts of models of modern text the population is the prompts themselves, all of them together.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
import torch
import xarray as xr
from jaxtyping import Int
from torch import Tensor

from rgprobe import categorical
from rgprobe.probe.feature_cuts import (
    FeatureCut,
    field_moments,
    paired_cut,
    paired_units,
    principal_cut,
    principal_directions,
    random_cut,
)
from rgprobe.probe.model import Probe
from rgprobe.probe.perturbing import changed_predictions, evenly_spaced
from rgprobe.probe.population import Population, population
from rgprobe.probe.prompts import EncodedPrompt, prompt_seed

__all__ = ["CUTOFFS", "FACTORS", "FITTED", "SCHEMES", "truncation", "truncation_cost", "visited_states"]

FACTORS = (2, 4, 8, 16)
FITTED = ("principal", "paired")  # to a population
SCHEMES = (*FITTED, "random")
CUTOFFS = (1, *FACTORS)  # 1 is the whole field
MOST = 7  # states that are cut

_CUTS: WeakKeyDictionary[Population, dict[str, list[FeatureCut]]] = WeakKeyDictionary()


def truncation(probe: Probe, prompt: EncodedPrompt, recorded: Int[Tensor, " positions"], sink: str) -> xr.Dataset:
    """Divergence of the predictions from those of a pass whose states are projected, and moments of what is left.

    Returns:
        kl (scheme, factor, state), nats: mean over the recorded tokens of KL(p_full || p_cut), all tokens of that state (but
        the sink, by policy) being projected on 1 / factor of the dimensions; variance_kept in the same dims; second and fourth
        moments (fitted_scheme, cutoff, state) of the field that is left, cutoff 1 being the whole. NaN for states not
        visited, and for widths below 2 x the largest factor.
    """
    visited = visited_states(probe)
    shape = (len(SCHEMES), len(FACTORS), probe.n_blocks + 1)
    kl, kept = np.full(shape, np.nan), np.full(shape, np.nan)
    moments = np.full((2, len(FITTED), len(CUTOFFS), shape[-1]), np.nan)
    first = 1 if sink == "exclude" and len(prompt) > 1 else 0
    if probe.width >= 2 * FACTORS[-1]:
        generator = torch.Generator().manual_seed(prompt_seed(prompt.ids))
        whole = changed_predictions(probe, prompt.ids, recorded)
        for state in visited:
            everywhere = population(probe, state, visited)
            fitted = _fitted(everywhere)
            cuts = [each for scheme in FITTED for each in fitted[scheme][1:]]
            cuts += [random_cut(everywhere.points, factor, generator) for factor in FACTORS]
            own = _Projected(cuts, first)
            cut = changed_predictions(
                probe, prompt.ids, recorded, point=probe.state_hook(state), change=own, copies=len(cuts)
            )
            kl[..., state] = categorical.kl(whole, cut).mean(-1).view(len(SCHEMES), -1).cpu().numpy()
            kept[..., state] = own.variance_kept.view(len(SCHEMES), -1).cpu().numpy()
            for index, scheme in enumerate(FITTED):
                moments[:, index, :, state] = np.transpose([field_moments(own.states, each) for each in fitted[scheme]])
    return xr.Dataset(
        {
            "kl": (("scheme", "factor", "state"), kl),
            "variance_kept": (("scheme", "factor", "state"), kept),
            "second_moment": (("fitted_scheme", "cutoff", "state"), moments[0]),
            "fourth_moment": (("fitted_scheme", "cutoff", "state"), moments[1]),
        },
        coords={
            "scheme": list(SCHEMES),
            "factor": list(FACTORS),
            "fitted_scheme": list(FITTED),
            "cutoff": list(CUTOFFS),
        },
    )


def truncation_cost(probe: Probe) -> float:
    """Forward passes for one prompt, those over the population apart, which are made once."""
    return float(1 + len(visited_states(probe)) * len(SCHEMES) * len(FACTORS))


def visited_states(probe: Probe) -> tuple[int, ...]:
    """States that are cut, the input and the output end among them."""
    return evenly_spaced(probe.n_blocks + 1, MOST)


class _Projected:
    """Projects what passes a hook point, one cut per copy, and keeps the states and what was kept of their variance."""

    def __init__(self, cuts: list[FeatureCut], first: int) -> None:
        self.cuts, self.first = cuts, first
        self.states = self.variance_kept = torch.empty(0)

    def __call__(self, states: Tensor) -> Tensor:
        self.states = states[0, self.first :].double().cpu()
        field = torch.stack([cut.field(self.states) for cut in self.cuts])
        centred = self.states - self.cuts[0].mean
        self.variance_kept = 1 - (centred - field).square().sum((1, 2)) / centred.square().sum()
        changed = states.clone()
        changed[:, self.first :] = (self.cuts[0].mean + field).to(states)
        return changed


def _fitted(everywhere: Population) -> dict[str, list[FeatureCut]]:
    """By scheme the whole, which is the same by either, then its cuts by factor; fitted once to a population."""
    if everywhere not in _CUTS:
        points = everywhere.points
        directions = principal_directions(points)
        levels = paired_units(points, len(FACTORS))
        whole = principal_cut(points, directions, 1)
        _CUTS[everywhere] = {
            "principal": [whole, *(principal_cut(points, directions, factor) for factor in FACTORS)],
            "paired": [whole, *(paired_cut(points, clusters) for clusters in levels)],
        }
    return _CUTS[everywhere]
