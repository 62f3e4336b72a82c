"""D17: condensation trees across depth: how much of one layer's tree is in the next, and how many tokens are left.

Trees of the same tokens at adjacent depths are cut at the same share of their loss and compared; what they lose is read as an
effective number of tokens N_eff, whose ratio from layer to layer is the scale factor of a renormalization step. Adjacent
layers of a residual stream agree whatever was learnt, and neighbouring tokens join at every layer: hence the nulls.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from jaxtyping import Float64

from rgprobe.condensation import CondensationTree
from rgprobe.condensation.chance_agreement import AGREEMENTS, agreements, chance_agreement, compared_with
from rgprobe.condensation.effective_tokens import log_effective_tokens
from rgprobe.condensation.genealogy import KINDS, Genealogy, event_shares
from rgprobe.condensation.genealogy import genealogy as genealogy_of
from rgprobe.diagnostics.condensation import tree_of
from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity
from rgprobe.tracing import BeliefTrace

__all__ = ["BUDGET", "DIAGNOSTIC", "SHARE", "genealogy", "log_tokens"]

BUDGET = 0.5  # nats per token: the same resolution at every layer
SHARE = 0.25  # of each tree's loss at its root
DRAWS = 5
SMALLEST = 4  # tokens of a tree
NULLS = ("permuted_tokens", "shifted_tokens", "position_matched")


def genealogy(trace: BeliefTrace) -> Measurement:
    """Agreement of each depth with the one before, ln N_eff at two budgets, and ln b = ln N_eff before - ln N_eff here."""
    trees = [[tree_of(trace, p, d) for d in range(trace.n_depths)] for p in range(trace.n_prompts)]
    found = [genealogy_of(row, fraction=SHARE) for row in trees]
    dims = ("prompt", trace.depth_dim)
    agreed = np.stack([_at_later_depth(agreements(one), one) for one in found])
    left = np.array([[log_tokens(tree) for tree in row] for row in trees])
    steps = np.full_like(left, np.nan)
    steps[:, 1:] = left[:, :-1] - left[:, 1:]
    names = (*AGREEMENTS, "log_tokens_absolute", "log_tokens_relative", "log_b_absolute", "log_b_relative")
    arrays = np.concatenate([agreed, left, steps], axis=-1)
    values = xr.Dataset({name: (dims, arrays[..., i]) for i, name in enumerate(names)})
    return Measurement(values, _details(found, dims), _nulls(found, dims))


def log_tokens(tree: CondensationTree) -> tuple[float, float]:
    """ln N_eff at `BUDGET` nats per token, and at `SHARE` of the loss at the root; NaN below `SMALLEST` tokens.

    The share is NaN, too, where there is nothing to lose.
    """
    if tree.n_leaves < SMALLEST:
        return np.nan, np.nan
    relative = log_effective_tokens(tree, fraction=SHARE) if tree.loss(1) > 0 else np.nan
    return log_effective_tokens(tree, loss=BUDGET), relative


def _at_later_depth(passages: Float64[np.ndarray, "passages k"], found: Genealogy) -> Float64[np.ndarray, "depths k"]:
    """A passage stands at the depth that it leads to; small trees, which agree by their size alone, are left out."""
    out = np.full((len(passages) + 1, passages.shape[-1]), np.nan)
    if found.partitions.shape[1] >= SMALLEST:
        out[1:] = passages
    return out


def _nulls(found: list[Genealogy], dims: tuple[str, str]) -> dict[str, xr.Dataset]:
    """Agreements by chance, (draw, prompt, depth); what no text could be drawn for is left out."""
    shape = (DRAWS, len(found), len(found[0].partitions), len(AGREEMENTS))
    drawn = {name: np.full(shape, np.nan) for name in NULLS}
    for prompt, one in enumerate(found):
        for draw, order in enumerate(_others(found, prompt)):
            drawn["position_matched"][draw, prompt] = _at_later_depth(compared_with(one, found[order]), one)
        for null in ("permuted", "shifted"):
            for draw, moved in enumerate(chance_agreement(one, null=null, draws=DRAWS, seed=prompt)):
                drawn[f"{null}_tokens"][draw, prompt] = _at_later_depth(moved, one)
    return {
        name: xr.Dataset({agreement: (("draw", *dims), array[..., i]) for i, agreement in enumerate(AGREEMENTS)})
        for name, array in drawn.items()
        if np.isfinite(array).any()
    }


def _others(found: list[Genealogy], prompt: int) -> list[int]:
    """Up to `DRAWS` other prompts with as many recorded tokens."""
    size = found[prompt].partitions.shape
    equal = [other for other, one in enumerate(found) if one.partitions.shape == size and other != prompt]
    return np.random.default_rng([prompt, len(found)]).permutation(np.array(equal, dtype=int))[:DRAWS].tolist()


def _details(found: list[Genealogy], dims: tuple[str, str]) -> xr.Dataset:
    """Number of clusters of each cut, and the share of tokens in each kind of event on the way to it."""
    clusters = np.array([one.partitions.max(1) + 1 for one in found])
    shares = np.full((*clusters.shape, len(KINDS)), np.nan)
    for prompt, one in enumerate(found):
        for depth in range(1, len(one.partitions)):
            shares[prompt, depth] = event_shares(one.partitions[depth - 1], one.partitions[depth])
    return xr.Dataset(
        {"clusters": (dims, clusters), "event_share": ((*dims, "event"), shares)}, coords={"event": list(KINDS)}
    )


DIAGNOSTIC = Diagnostic(
    name="genealogy",
    catalogue="D17",
    title="Genealogy of condensation trees across depth",
    depth="state",
    quantities=(
        Quantity(
            "adjusted_rand", "1", f"agreement of the clusters at {SHARE:g} of the loss with those one depth before"
        ),
        Quantity("cophenetic", "1", "correlation of the losses at which two tokens join, with one depth before"),
        Quantity(
            "persisting", "1", "share of the clusters of two or more tokens one depth before that are still clusters"
        ),
        Quantity("log_tokens_absolute", "nats", f"ln N_eff: tokens left when {BUDGET:g} nats per token are lost"),
        Quantity("log_tokens_relative", "nats", f"ln N_eff when {SHARE:g} of what there is to lose is lost"),
        Quantity(
            "log_b_absolute", "nats", f"ln b, N_eff one depth before over N_eff here, at {BUDGET:g} nats per token"
        ),
        Quantity("log_b_relative", "nats", f"ln b at {SHARE:g} of what there is to lose"),
    ),
    requires=frozenset({"beliefs"}),
    measure=genealogy,
    assumption="greedy trees of the recorded tokens, as in `condensation`; a passage stands at the depth it leads to; "
    "N_eff counts recorded tokens, so it cannot exceed their number",
    reading="Agreement above shuffled and shifted tokens, above other texts and above random initialisations is a hierarchy "
    "that training carries from layer to layer; below random initialisations, training regroups tokens. ln b above 0 is "
    "coarse-graining.",
    undefined="the first depth, for what compares two; fewer than four recorded tokens; partitions into one cluster or into "
    "single tokens; no other prompt with as many recorded tokens (position-matched null)",
    default=False,
)
