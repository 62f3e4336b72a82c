"""Rows of trees across layers: planted splits and copies, scaling dimensions of a flow with a planted scale factor, chains."""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np
import torch
from jaxtyping import Float64, Int
from torch import Tensor

from rgprobe.belief_trace import BeliefTrace
from rgprobe.condensation import chance_agreement, condense, effective_tokens
from rgprobe.condensation import components as linking
from rgprobe.condensation import genealogy as events
from rgprobe.diagnostics import components, genealogy, scaling_dimension
from rgprobe.gaussian import Gaussian, frames, pushforward
from rgprobe.gaussian.reference import transported_kl_loop
from rgprobe.planted_trace import planted_trace
from rgprobe.probe import gains, untransported
from rgprobe.testbeds import linear_flow, planted_tree
from rgprobe.validation.record import Check

__all__ = ["CHECKS"]

GAINS = (1.2, 1.0, 0.8)
OPERATORS = ("relevant", "marginal", "irrelevant")
PROMPTS, LAYERS, TOKENS = 5, 4, 32
STEP, LINKS = 0.2, 24  # of a chain
GROUPS = 6


@lru_cache
def _planted_cut(clusters: int) -> Int[np.ndarray, "N"]:
    return condense(planted_tree.sample(depth=4, noise=0.05)).cut(n_clusters=clusters)


def _share(before: int, after: int, kind: str) -> float:
    shares = events.event_shares(_planted_cut(before), _planted_cut(after))
    return float(shares[events.KINDS.index(kind)])


def _copies(distinct: int, seed: int) -> Float64[np.ndarray, "tokens classes"]:
    """So many different beliefs among all tokens."""
    return np.random.default_rng(seed).dirichlet(np.full(11, 0.3), size=distinct)[np.arange(TOKENS) % distinct]


def _tokens_left(distinct: int) -> float:
    return effective_tokens.effective_tokens(condense(_copies(distinct, 0)), loss=1e-12)


@lru_cache
def _halving() -> Float64[np.ndarray, "prompts states"]:
    """ln N_eff where every layer keeps half of the different beliefs."""
    left = [
        [effective_tokens.log_effective_tokens(condense(_copies(TOKENS >> layer, prompt)), loss=1e-12)
         for layer in range(LAYERS + 1)]
        for prompt in range(PROMPTS)
    ]  # fmt: skip
    return np.array(left)


@lru_cache
def _gains() -> Float64[np.ndarray, "prompts operators states"]:
    flow = linear_flow.sample(singular_values=torch.tensor([GAINS]).repeat(LAYERS, 1), frames="aligned", seed=0)
    lengths = torch.stack([gains.log_lengths(flow.states(u[None])) for u in flow.directions.T])
    return np.stack([lengths.numpy()] * PROMPTS)


def _scaling(operator: int) -> float:
    return float(scaling_dimension.scaling_dimensions(_gains(), _halving()).y[:, operator].mean())


def _copied_layer() -> float:
    """Agreement of a layer with its copy."""
    rows = np.log(np.random.default_rng(0).dirichlet(np.full(11, 0.3), size=(PROMPTS, 1, 23)).repeat(2, 1))
    return float(genealogy.genealogy(planted_trace(log_probabilities=list(rows))).values["adjusted_rand"][:, 1].mean())


def _by_chance() -> float:
    rows = np.random.default_rng(0).dirichlet(np.full(11, 0.3), size=(2, 23))
    found = events.genealogy([condense(layer) for layer in rows], n_clusters=6)
    return float(chance_agreement.chance_agreement(found, draws=400)[..., 0].mean())


@lru_cache
def _chain() -> Gaussian:
    """Unit Gaussians on a line, each STEP from the next."""
    means = STEP * torch.arange(LINKS + 1, dtype=torch.float64)[:, None]
    return Gaussian.from_diagonal(means, torch.ones_like(means))


def _longest_link() -> float:
    return float(linking.component_deaths(_chain())[-1])


def _diameter() -> float:
    return float(linking.tree_diameters(condense(_chain()), _chain())[-1])


def _counted(quantity: str) -> float:
    """Groups of near-equal beliefs, counted at the distance of the nearest of unrelated ones."""
    rng = np.random.default_rng(0)
    centres, unrelated = rng.dirichlet(np.full(30, 0.15), size=GROUPS), rng.dirichlet(np.full(30, 0.3), size=24)
    near = centres[np.arange(24) % GROUPS] + 0.01 * rng.dirichlet(np.full(30, 0.5), size=24)
    traces = [_trace(near), _trace(unrelated)]
    measured, null = (components.components(trace) for trace in traces)
    return float(components.calibrate(measured, [null]).values[quantity].item())


def _trace(rows: Float64[np.ndarray, "tokens classes"]) -> BeliefTrace:
    kept = rows + 1e-4
    return planted_trace(log_probabilities=[np.log(kept / kept.sum(1, keepdims=True))[None]])


@lru_cache
def _framed() -> tuple[Gaussian, Tensor]:
    """Seven beliefs in a common frame, and seven frames."""
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(7, 4, generator=generator, dtype=torch.float64)
    root = torch.randn(7, 4, 5, generator=generator, dtype=torch.float64)
    phi = torch.randn(7, 4, 4, generator=generator, dtype=torch.float64)
    beliefs = Gaussian.from_covariance(mean, root @ root.mT + 0.3 * torch.eye(4, dtype=torch.float64))
    return beliefs, frames(phi - phi.mT)


def _transported() -> float:
    beliefs, u = _framed()
    by_hand = transported_kl_loop(pushforward(beliefs, u), u)
    return float((by_hand + by_hand.mT).sum() / 42)


def _in_the_common_frame() -> float:
    beliefs, _ = _framed()
    return float(untransported.local_jeffreys(beliefs.reshape(7, 1)).sum() / 42)


_event = partial(Check, catalogue="D17", diagnostic="condensation.genealogy:event_shares", expected=1.0, tolerance=1e-9)
_PLANTED = "planted tree of 16 leaves, noise 0.05, cut into"
_GROUPED = "6 groups of 4 near-equal beliefs, epsilon from 24 unrelated ones"
_CHAIN = "chain of 25 unit Gaussians, each 0.2 from the next"

CHECKS = (
    *(
        _event(
            system=f"{_PLANTED} {before}, then {after}", quantity=f"share of tokens whose cluster {kind}",
            measure=partial(_share, before, after, kind),
        )
        for before, after, kind in ((4, 8, "splits"), (8, 4, "merges"), (8, 8, "persists"))
    ),
    *(
        Check(
            catalogue="D17", diagnostic="condensation.effective_tokens:effective_tokens",
            system=f"32 tokens of {distinct} different beliefs", quantity="effective number of tokens, next to nothing lost",
            expected=float(distinct), tolerance=1e-6, measure=partial(_tokens_left, distinct),
        )
        for distinct in (3, 9)
    ),
    Check(
        catalogue="D17", diagnostic="genealogy:genealogy", system="a layer and its copy, 5 prompts of 23 tokens",
        quantity="adjusted Rand index", expected=1.0, tolerance=1e-9, measure=_copied_layer,
    ),
    Check(
        catalogue="D17", diagnostic="condensation.chance_agreement:chance_agreement",
        system="unrelated trees of 23 tokens, 6 clusters each, 400 permutations", quantity="mean adjusted Rand index",
        expected=0.0, tolerance=0.02, measure=_by_chance,
    ),
    *(
        Check(
            catalogue="D10", diagnostic="scaling_dimension:scaling_dimensions",
            system="linear flow diag(1.2, 1, 0.8) of tokens half of whose beliefs merge per layer",
            quantity=f"scaling dimension, {OPERATORS[index]} direction", expected=float(np.log(gain) / np.log(2)),
            tolerance=1e-3, measure=partial(_scaling, index),
        )
        for index, gain in enumerate(GAINS)
    ),
    Check(
        catalogue="D19", diagnostic="condensation.components:component_deaths", system=_CHAIN,
        quantity="epsilon above which all are one component", expected=STEP**2 / 2, tolerance=1e-9, measure=_longest_link,
        units="nats",
    ),
    Check(
        catalogue="D19", diagnostic="condensation.components:tree_diameters", system=_CHAIN,
        quantity="epsilon above which the tree is one cluster", expected=(LINKS * STEP) ** 2 / 2, tolerance=1e-9,
        measure=_diameter, units="nats",
    ),
    *(
        Check(
            catalogue="D19", diagnostic="components:calibrate", system=_GROUPED, quantity=words, expected=float(GROUPS),
            tolerance=1e-9, measure=partial(_counted, name),
        )
        for name, words in (("components", "components"), ("tree_clusters", "clusters of the tree"))
    ),
    Check(
        catalogue="D19", diagnostic="probe.untransported:local_jeffreys",
        system="7 beliefs in 7 random frames, each transported to each", quantity="mean Jeffreys divergence",
        expected=_transported, tolerance=1e-9, measure=_in_the_common_frame, units="nats",
    ),
)  # fmt: skip
