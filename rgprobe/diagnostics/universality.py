r"""D14: do different wordings of one question flow to the same state? Intraclass correlation of paraphrase families.

A family is a group of prompts that mean the same. With x the state of a prompt's last token, normalised as the network's own
norm does it, the share of the variance between prompts that families explain is

    icc = 1 - D_w / D_b = between / (between + within),

D_w and D_b the mean squared distance of two prompts of one family, and of two families: 0 for labels without content, 1 where
all wordings coincide. Pairs are matched by their last tokens (`rgprobe.diagnostics.family_distances`), which decide where the
last state lies more than anything else does. A second icc is of what is left once the mean over all prompts that end alike
is taken out, with the degrees of freedom that go with it.

Wordings of one question also share words, and any two prompts that end alike have alike last states. Two controls are measured
in the same way: groups that share the words of a family and not its meaning, and groups that share the last word alone.

Families are the independent samples, not prompts. What is reported per prompt are jackknife pseudo-values over families (see
`rgprobe.diagnostics.pooling`), each at the first prompt of its family and NaN at the others, so that a bootstrap over what is
defined is one over families.

Source: Shrout & Fleiss, Psychol. Bull. 86, 420 (1979), ICC(1,1); Wilson & Kogut, Phys. Rep. 12, 75 (1974) for universality.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from jaxtyping import Float64, Int

from rgprobe.data.families import SAME_LAST_WORD, SHARED_WORDS
from rgprobe.diagnostics.family_distances import ROUNDING, Distances, group_distances, icc_over_families, ratio
from rgprobe.diagnostics.pooling import MINIMUM_POOLED, Estimates, undefined
from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity
from rgprobe.tracing import BeliefTrace

__all__ = ["DIAGNOSTIC", "last_states", "universality", "without_kinds"]

QUANTITIES = ("icc", "icc_given_last_word", "icc_shared_words", "icc_last_word", "beyond_words", "within_ratio")
DRAWS = 20


def universality(trace: BeliefTrace) -> Measurement:
    """ICC of families and of both controls by state, and how far families contract; null draws permute the labels."""
    states = trace.states.sizes["state"]
    values = undefined(trace, QUANTITIES, "state", states)
    points = last_states(trace)
    last = _last_tokens(trace)
    groupings = {name: _grouping(trace.groups, points, last, name) for name in ("", SHARED_WORDS, SAME_LAST_WORD)}
    null = xr.Dataset(
        {name: (("draw", "prompt", "state"), np.tile(values[name], (DRAWS, 1, 1))) for name in QUANTITIES}
    )
    if len(groupings[""].slots) < MINIMUM_POOLED:
        return Measurement(values, internal_nulls={"permuted_families": null})
    _fill(values, points, groupings)
    generator = np.random.default_rng(0)
    for draw in range(DRAWS):
        shuffled = {name: each.permuted(generator) for name, each in groupings.items()}
        _fill(null.isel(draw=draw), points, shuffled)
    families = groupings[""]
    between = [families.distances(points[:, state]).matrix() for state in range(states)]
    coords = {"family": list(families.names), "other": list(families.names)}
    details = xr.Dataset({"family_distance": (("state", "family", "other"), np.stack(between))}, coords)
    return Measurement(values, details, internal_nulls={"permuted_families": null})


def last_states(trace: BeliefTrace) -> Float64[np.ndarray, "prompt state width"]:
    """States of each prompt's last token, of unit root mean square; NaN where it was not recorded.

    Networks with LayerNorm do not see the mean over coordinates, so it is taken out of theirs.
    """
    length = trace.token_mask.sum(1)
    count = (trace.positions >= 0).sum(1)
    prompts = np.arange(trace.n_prompts)
    states = trace.states.values[prompts, :, count - 1].astype(np.float64)
    if trace.provenance.get("norm") == "layer":
        states = states - states.mean(-1, keepdims=True)
    size = np.sqrt((states**2).mean(-1, keepdims=True))
    states = states / np.where(size > 0, size, np.nan)
    states[trace.positions[prompts, count - 1] != length - 1] = np.nan
    return states


def without_kinds(
    points: Float64[np.ndarray, "point width"], kinds: Int[np.ndarray, "point"]
) -> Float64[np.ndarray, "point width"]:
    """Points less the mean of their kind; NaN where fewer than 5 are of one kind, which then is all that they have.

    Example:
        >>> without_kinds(np.arange(6.0)[:, None], np.array([0, 0, 0, 0, 0, 7]))[:, 0]
        array([-2., -1.,  0.,  1.,  2., nan])
    """
    _, which, counts = np.unique(kinds, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), points.shape[1]))
    np.add.at(sums, which, points)
    left = points - (sums / counts[:, None])[which]
    left[np.abs(left) < ROUNDING * np.abs(points).max()] = 0  # equal points are equal
    left[counts[which] < MINIMUM_POOLED] = np.nan
    return left


@dataclass(frozen=True, eq=False)
class _Grouping:
    """Prompts of one sort: which, of which group, ending in which token, and where each group reports (its first prompt)."""

    members: Int[np.ndarray, "member"]
    labels: Int[np.ndarray, "member"]
    last: Int[np.ndarray, "member"]
    names: tuple[str, ...]
    slots: Int[np.ndarray, "group"]

    def permuted(self, generator: np.random.Generator) -> _Grouping:
        """Sizes and slots as they are, who belongs to which group at random."""
        return replace(self, labels=generator.permutation(self.labels))

    def distances(self, points: np.ndarray) -> Distances:
        return group_distances(points[self.members], self.labels, self.last)

    def icc(self, points: np.ndarray) -> Estimates:
        return icc_over_families(points[self.members], self.labels, self.last)

    def given_last_word(self, points: np.ndarray) -> Estimates:
        """ICC of what is left without the mean of each last token; NaN unless every group still has two prompts."""
        left = without_kinds(points[self.members], self.last)
        kept = np.isfinite(left).all(1)
        if len(self.names) == 0 or np.bincount(self.labels[kept], minlength=len(self.names)).min() < 2:
            return Estimates(np.asarray(np.nan), np.full(len(self.names), np.nan))
        return icc_over_families(left[kept], self.labels[kept], self.last[kept], centred=True)


def _last_tokens(trace: BeliefTrace) -> Int[np.ndarray, " prompt"]:
    return trace.token_ids[np.arange(trace.n_prompts), trace.token_mask.sum(1) - 1].astype(np.int64)


def _grouping(
    groups: Sequence[str], points: Float64[np.ndarray, "prompt state width"], last: np.ndarray, kind: str
) -> _Grouping:
    """Prompts whose label begins with `kind`; families are those of no other kind. Groups of one are left out."""
    prefixes = (SHARED_WORDS, SAME_LAST_WORD)
    mine = [
        index
        for index, label in enumerate(groups)
        if label and np.isfinite(points[index]).all() and (label.startswith(kind) if kind else not label.startswith(prefixes))
    ]  # fmt: skip
    labels = [groups[index] for index in mine]
    names = tuple(name for name in dict.fromkeys(labels) if labels.count(name) > 1)
    members = np.array([index for index in mine if groups[index] in names], dtype=int)
    which = np.array([names.index(groups[index]) for index in members], dtype=int)
    slots = np.array([mine[labels.index(name)] for name in names], dtype=int)
    # prompts of one last word have nothing else to be matched by
    ends = np.zeros_like(members) if kind == SAME_LAST_WORD else last[members]
    return _Grouping(members, which, np.unique(ends, return_inverse=True)[1].astype(int), names, slots)


def _fill(values: xr.Dataset, points: np.ndarray, groupings: dict[str, _Grouping]) -> None:
    """Pseudo-values of every quantity at the first prompt of each group."""
    families, controls, ends = (groupings[kind] for kind in ("", SHARED_WORDS, SAME_LAST_WORD))
    paired = tuple(SHARED_WORDS + name for name in families.names) == controls.names
    first = families.distances(points[:, 0])
    for state in range(points.shape[1]):
        here = points[:, state]

        def put(name: str, group: _Grouping, found: Estimates, state: int = state) -> None:
            values[name].values[group.slots, state] = found.pseudo_values()

        put("icc", families, families.icc(here))
        put("icc_given_last_word", families, families.given_last_word(here))
        put("within_ratio", families, _contraction(first, families.distances(here)))
        for name, group in (("icc_shared_words", controls), ("icc_last_word", ends)):
            if len(group.names) >= MINIMUM_POOLED:
                put(name, group, group.icc(here))
        if paired:
            mine, theirs = families.given_last_word(here), controls.given_last_word(here)
            put("beyond_words", families,
                Estimates(np.asarray(mine.full - theirs.full), mine.deleted - theirs.deleted))  # fmt: skip


def _contraction(first: Distances, here: Distances) -> Estimates:
    """Root mean square distance within families over that at the input end."""
    full = np.sqrt(ratio(here.means()[0], first.means()[0]))
    return Estimates(np.asarray(full), np.sqrt(ratio(here.without_each()[0], first.without_each()[0])))


DIAGNOSTIC = Diagnostic(
    name="universality",
    catalogue="D14",
    title="Universality: do wordings of one question flow together",
    depth="state",
    quantities=(
        Quantity("icc", "1", "share of the variance between last states that families of paraphrases explain"),
        Quantity("icc_given_last_word", "1", "the same of what is left without the mean of all prompts that end alike"),
        Quantity("icc_shared_words", "1", "icc of groups that share a family's words, not its meaning"),
        Quantity("icc_last_word", "1", "icc of groups that share the last word alone"),
        Quantity("beyond_words", "1", "icc_given_last_word of families less that of the groups that share their words"),
        Quantity("within_ratio", "1", "distance within families over that at the input end"),
    ),
    requires=frozenset({"states"}),
    measure=universality,
    assumption="the state of the last token stands for its prompt; states are normalised as the network's own norm does it; "
    "intervals are over families, taken as a sample of all families one might have written",
    reading="Universality is an icc that rises towards the output end above that of shared words and of equal last words; "
    "a random network sorts prompts by words as well, so compare with random initialisations.",
    undefined="prompts without groups; fewer than 5 families, or groups of a control, with two prompts or more; a last token "
    "that is not recorded; last tokens that never combine alike within a family and between two; icc_given_last_word and "
    "beyond_words unless most last tokens end 5 prompts of a sort; within_ratio where wordings coincide at the input end",
    default=False,
)
