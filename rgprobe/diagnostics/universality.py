r"""D14: do different wordings of one question flow to the same state? Intraclass correlation of paraphrase families.

A family is a group of prompts that mean the same. With x the state of a prompt's last token, normalised as the network's own
norm does it, and D_w, D_b the mean squared distance of two prompts of one family, and of two families,

    icc = 1 - D_w / D_b = between / (between + within):

the share of the variance between prompts that families explain; 0 for labels without content, 1 where all wordings coincide.
For families of equal size that is the one-way analysis of variance with mean squares summed over coordinates (traces); where
sizes differ, families count alike.

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
from jaxtyping import Float, Float64, Int

from rgprobe.data.families import SAME_LAST_WORD, SHARED_WORDS
from rgprobe.diagnostics.pooling import MINIMUM_POOLED, Estimates, undefined
from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity
from rgprobe.tracing import BeliefTrace

__all__ = [
    "DIAGNOSTIC",
    "Distances",
    "group_distances",
    "icc_over_families",
    "intraclass_correlation",
    "last_states",
    "universality",
]

QUANTITIES = ("icc", "icc_shared_words", "icc_last_word", "beyond_words", "within_ratio")
DRAWS = 20


@dataclass(frozen=True, eq=False)
class Distances:
    """Mean squared distances within and between groups of points.

    Attributes:
        within: of two points of one group, (group,).
        between: of a point of one group and a point of another, (group, group); the diagonal is 0.
    """

    within: Float64[np.ndarray, "group"]
    between: Float64[np.ndarray, "group group"]

    def without_each(self) -> tuple[Float64[np.ndarray, "group"], Float64[np.ndarray, "group"]]:
        """Mean distances within and between groups if group 0, 1, ... is left out."""
        groups = len(self.within)
        within = (self.within.sum() - self.within) / (groups - 1)
        between = (self.between.sum() - 2 * self.between.sum(1)) / ((groups - 1) * (groups - 2))
        return within, between

    def means(self) -> tuple[float, float]:
        """Mean distances within and between groups."""
        groups = len(self.within)
        return float(self.within.mean()), float(self.between.sum() / (groups * (groups - 1)))


def universality(trace: BeliefTrace) -> Measurement:
    """ICC of families and of both controls by state, and how far families contract; null draws permute the labels."""
    states = trace.states.sizes["state"]
    values = undefined(trace, QUANTITIES, "state", states)
    points = last_states(trace)
    groupings = {name: _grouping(trace.groups, points, name) for name in ("", SHARED_WORDS, SAME_LAST_WORD)}
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
    between = [group_distances(points[families.members, state], families.labels).between for state in range(states)]
    coords = {"family": list(families.names), "other": list(families.names)}
    details = xr.Dataset({"family_distance": (("state", "family", "other"), np.stack(between))}, coords)
    return Measurement(values, details, internal_nulls={"permuted_families": null})


def intraclass_correlation(points: Float[np.ndarray, "point width"], labels: Int[np.ndarray, "point"]) -> float:
    """1 - D_w / D_b, between -1 / (k - 1) for groups of k and 1.

    Args:
        points: states.
        labels: 0 ... groups - 1; every group needs at least two points.

    Example:
        >>> points = np.array([[0.0], [2.0], [5.0], [7.0]])
        >>> round(intraclass_correlation(points, np.array([0, 0, 1, 1])), 6)  # D_w = 4, D_b = (25 + 49 + 9 + 25) / 4
        0.851852
    """
    within, between = group_distances(points, labels).means()
    return 1 - within / between if between > 0 else float("nan")


def icc_over_families(points: Float[np.ndarray, "point width"], labels: Int[np.ndarray, "point"]) -> Estimates:
    """The intraclass correlation, and without each family; `pseudo_values()` and `standard_error` are its jackknife."""
    return _icc(group_distances(points, labels))


def group_distances(points: Float[np.ndarray, "point width"], labels: Int[np.ndarray, "point"]) -> Distances:
    """Mean squared distances from group means m and sums of squares W about them, k points to a group.

    Within, 2 W / (k - 1); between g and h, |m_g - m_h|^2 + W_g / k_g + W_h / k_h. Means are taken out first, so that nothing
    cancels where groups are tight.
    """
    sizes = np.bincount(labels).astype(np.float64)
    centred = points.astype(np.float64) - points.mean(0, dtype=np.float64)
    sums = np.zeros((len(sizes), points.shape[1]))
    np.add.at(sums, labels, centred)
    means = sums / sizes[:, None]
    squares = np.bincount(labels, ((centred - means[labels]) ** 2).sum(1))
    gap = means[:, None] - means[None]
    own = squares / sizes
    between = np.einsum("ghd,ghd->gh", gap, gap) + own[:, None] + own[None]
    np.fill_diagonal(between, 0)
    return Distances(2 * squares / (sizes - 1), between)


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


@dataclass(frozen=True, eq=False)
class _Grouping:
    """Prompts of one kind: which, of which group, and at which prompt each group reports (its first)."""

    members: Int[np.ndarray, "member"]
    labels: Int[np.ndarray, "member"]
    names: tuple[str, ...]
    slots: Int[np.ndarray, "group"]

    def permuted(self, generator: np.random.Generator) -> _Grouping:
        """Sizes and slots as they are, who belongs to which group at random."""
        return replace(self, labels=generator.permutation(self.labels))


def _grouping(groups: Sequence[str], points: Float64[np.ndarray, "prompt state width"], kind: str) -> _Grouping:
    """Prompts whose label begins with `kind`; families are those of no other kind. Groups of one are left out."""
    prefixes = (SHARED_WORDS, SAME_LAST_WORD)
    mine = [
        index
        for index, label in enumerate(groups)
        if label and np.isfinite(points[index]).all() and (label.startswith(kind) if kind else not label.startswith(prefixes))
    ]  # fmt: skip
    counts: dict[str, int] = {}
    for index in mine:
        counts[groups[index]] = counts.get(groups[index], 0) + 1
    names = tuple(name for name, count in counts.items() if count > 1)
    members = [index for index in mine if groups[index] in names]
    labels = [names.index(groups[index]) for index in members]
    slots = [groups.index(name) for name in names]
    return _Grouping(*(np.array(each, dtype=int) for each in (members, labels)), names, np.array(slots, dtype=int))


def _fill(values: xr.Dataset, points: np.ndarray, groupings: dict[str, _Grouping]) -> None:
    """Pseudo-values of every quantity at the first prompt of each group."""
    families, controls = groupings[""], groupings[SHARED_WORDS]
    paired = tuple(SHARED_WORDS + name for name in families.names) == controls.names
    first = group_distances(points[families.members, 0], families.labels)
    for state in range(points.shape[1]):
        found = {
            kind: group_distances(points[each.members, state], each.labels)
            for kind, each in groupings.items()
            if len(each.slots) >= MINIMUM_POOLED
        }
        for name, kind in (("icc", ""), ("icc_shared_words", SHARED_WORDS), ("icc_last_word", SAME_LAST_WORD)):
            if kind in found:
                values[name].values[groupings[kind].slots, state] = _icc(found[kind]).pseudo_values()
        if paired and SHARED_WORDS in found:
            mine, theirs = _icc(found[""]), _icc(found[SHARED_WORDS])
            excess = Estimates(np.asarray(mine.full - theirs.full), mine.deleted - theirs.deleted)
            values["beyond_words"].values[families.slots, state] = excess.pseudo_values()
        values["within_ratio"].values[families.slots, state] = _contraction(first, found[""]).pseudo_values()


def _icc(distances: Distances) -> Estimates:
    within, between = distances.means()
    deleted_within, deleted_between = distances.without_each()
    return Estimates(np.asarray(1 - _ratio(within, between)), 1 - _ratio(deleted_within, deleted_between))


def _contraction(first: Distances, here: Distances) -> Estimates:
    """Root mean square distance within families over that at the input end."""
    full = np.sqrt(_ratio(here.means()[0], first.means()[0]))
    return Estimates(np.asarray(full), np.sqrt(_ratio(here.without_each()[0], first.without_each()[0])))


def _ratio(a: np.ndarray | float, b: np.ndarray | float) -> np.ndarray:
    """a / b; NaN where b is 0."""
    return np.divide(a, b, out=np.full(np.shape(b), np.nan), where=np.asarray(b) > 0)


DIAGNOSTIC = Diagnostic(
    name="universality",
    catalogue="D14",
    title="Universality: do wordings of one question flow together",
    depth="state",
    quantities=(
        Quantity("icc", "1", "share of the variance between last states that families of paraphrases explain"),
        Quantity("icc_shared_words", "1", "the same of groups that share a family's words, not its meaning"),
        Quantity("icc_last_word", "1", "the same of groups that share the last word alone"),
        Quantity("beyond_words", "1", "icc of families less that of the groups that share their words"),
        Quantity("within_ratio", "1", "distance within families over that at the input end"),
    ),
    requires=frozenset({"states"}),
    measure=universality,
    assumption="the state of the last token stands for its prompt; states are normalised as the network's own norm does it; "
    "intervals are over families, taken as a sample of all families one might have written",
    reading="Universality is an icc that rises towards the output end above that of shared words and of equal last words; "
    "a random network sorts prompts by words as well, so compare with random initialisations.",
    undefined="prompts without groups; fewer than 5 families, or groups of a control, with two prompts or more; a last token "
    "that is not recorded; within_ratio where wordings coincide at the input end",
    default=False,
)
