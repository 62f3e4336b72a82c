r"""Intraclass correlation of groups of points, from mean squared distances, pairs compared like with like.

With D_w and D_b the mean squared distance of two points of one group, and of two groups,

    icc = 1 - D_w / D_b = between / (between + within).

For groups of equal size that is the one-way analysis of variance with mean squares summed over coordinates (traces), ICC(1,1)
of Shrout & Fleiss; where sizes differ, groups count alike.

Points may also be of different kinds, such as the last word of a prompt, that move them far more than their group does. If
every group holds each kind once, two points of a group are always of different kinds, and two of different groups sometimes of
one: that alone makes D_w larger than D_b. So D_b is taken over the combinations of kinds that occur within groups, each with
the weight that it has there; labels without content then give 0 whatever the kinds do.

If the mean of each kind has been taken out as well, it took a share 1 / n_k of what is particular to a point with it, n_k the
points of its kind. What is left within groups is too small by that share, and what lies between them by as much: with F points
of each kind the correlation rho would come out as rho / (1 - (1 - rho) / F). Dividing D_w by 1 - 1 / n, n of the two kinds of a
pair, and adding to D_b what D_w gained undoes it. Where every group holds each kind once that is the two-way analysis of
variance, ICC(3,1) of Shrout & Fleiss.

Source: Shrout & Fleiss, Psychol. Bull. 86, 420 (1979); the matching of pairs is derived here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int
from scipy.spatial.distance import pdist

from rgprobe.diagnostics.pooling import Estimates

__all__ = ["ROUNDING", "Distances", "group_distances", "icc_over_families", "intraclass_correlation", "ratio"]

ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Distances:
    """Mean squared distances within and between groups of points.

    Attributes:
        within: of two points of a group, (group,); NaN where none of its pairs has a counterpart between groups.
        shares: which combinations of kinds these pairs have, (group, combination); rows sum to 1, or are NaN.
        between: of a point of one group and a point of another, (group, group, combination); NaN where there is no such pair,
            and on the diagonal.
        kinds: the two kinds of each combination.
    """

    within: Float64[np.ndarray, "group"]
    shares: Float64[np.ndarray, "group combination"]
    between: Float64[np.ndarray, "group group combination"]
    kinds: Int[np.ndarray, "combination 2"]

    def means(self) -> tuple[float, float]:
        """D_w and D_b."""
        there = np.isfinite(self.between)
        total, count = np.nansum(self.between, (0, 1)), there.sum((0, 1))
        return float(_mean(self.within)), float(_weighted(_mean(self.shares), total, count))

    def without_each(self) -> tuple[Float64[np.ndarray, "group"], Float64[np.ndarray, "group"]]:
        """D_w and D_b if group 0, 1, ... is left out."""
        within, shares = (_mean_without_each(each) for each in (self.within, self.shares))
        there = np.isfinite(self.between)
        total = np.nansum(self.between, (0, 1)) - 2 * np.nansum(self.between, 1)
        return within, _weighted(shares, total, there.sum((0, 1)) - 2 * there.sum(1))

    def matrix(self) -> Float64[np.ndarray, "group group"]:
        """Distances between groups, matched; 0 on the diagonal."""
        there = np.isfinite(self.between)
        found = _weighted(_mean(self.shares), np.where(there, self.between, 0.0), there)
        np.fill_diagonal(found, 0)
        return found


def intraclass_correlation(
    points: Float[np.ndarray, "point width"],
    labels: Int[np.ndarray, "point"],
    kinds: Int[np.ndarray, "point"] | None = None,
) -> float:
    """1 - D_w / D_b, between -1 / (k - 1) for groups of k and 1; NaN where all points coincide.

    Args:
        points: states.
        labels: 0 ... groups - 1; every group needs at least two points.
        kinds: what pairs are matched by; None for points of one kind.

    Example:
        >>> points = np.array([[0.0], [2.0], [5.0], [7.0]])
        >>> round(intraclass_correlation(points, np.array([0, 0, 1, 1])), 6)  # D_w = 4, D_b = (25 + 49 + 9 + 25) / 4
        0.851852
    """
    return float(icc_over_families(points, labels, kinds).full)


def icc_over_families(
    points: Float[np.ndarray, "point width"],
    labels: Int[np.ndarray, "point"],
    kinds: Int[np.ndarray, "point"] | None = None,
    *,
    centred: bool = False,
) -> Estimates:
    """The intraclass correlation, and without each group; `pseudo_values()` and `standard_error` are its jackknife.

    Args:
        points: states.
        labels: 0 ... groups - 1; every group needs at least two points.
        kinds: 0, 1, ..., what pairs are matched by; None for points of one kind.
        centred: the mean of each kind has been taken out of the points; the degrees of freedom that went with it are counted.
            Copies without a group are of the same points: taking out means of their own hardly changes an interval.
    """
    distances = group_distances(points, labels, kinds)
    (_, between), (_, rest_between) = distances.means(), distances.without_each()
    kept = np.ones_like(distances.within)
    if centred and kinds is not None:
        kept = distances.shares @ _kept(distances.kinds, kinds)
    restored = ratio(distances.within, kept)
    within, rest_within = _mean(restored), _mean_without_each(restored)
    lost, rest_lost = 1 - _mean(kept), 1 - _mean_without_each(kept)
    return Estimates(
        _share(within, between + within * lost), _share(rest_within, rest_between + rest_within * rest_lost)
    )


def group_distances(
    points: Float[np.ndarray, "point width"],
    labels: Int[np.ndarray, "point"],
    kinds: Int[np.ndarray, "point"] | None = None,
) -> Distances:
    """Mean squared distances of all pairs, from differences, so that nothing cancels where groups are tight.

    Pairs within a group whose combination of kinds never occurs between groups have nothing to be compared with, and are left
    out, and so is the distance within a group that has no others.
    """
    kinds = np.zeros_like(labels) if kinds is None else kinds
    a, b = np.triu_indices(len(labels), 1)  # the order of pdist
    squares = pdist(points.astype(np.float64), "sqeuclidean")
    first, second = np.minimum(kinds[a], kinds[b]), np.maximum(kinds[a], kinds[b])
    combinations, which = np.unique(first * (kinds.max() + 1) + second, return_inverse=True)
    groups, count = int(labels.max()) + 1, len(combinations)
    own = labels[a] == labels[b]
    where = (np.minimum(labels[a], labels[b]) * groups + np.maximum(labels[a], labels[b])) * count + which
    size = groups * groups * count
    sums, pairs = (
        np.bincount(where, weights, size).reshape(groups, groups, count) for weights in (squares, np.ones(len(squares)))
    )
    diagonal = np.arange(groups)
    comparable = np.bincount(which[~own], minlength=count) > 0
    inside, inside_sums = pairs[diagonal, diagonal] * comparable, sums[diagonal, diagonal] * comparable
    total = inside.sum(1, keepdims=True)
    sums[diagonal, diagonal] = pairs[diagonal, diagonal] = 0
    sums, pairs = sums + sums.swapaxes(0, 1), pairs + pairs.swapaxes(0, 1)
    return Distances(
        ratio(inside_sums.sum(1), total[:, 0]),
        ratio(inside, total + 0 * inside),
        ratio(sums, pairs),
        np.stack(np.divmod(combinations, kinds.max() + 1), -1),
    )


def ratio(a: np.ndarray | float, b: np.ndarray | float) -> np.ndarray:
    """a / b; NaN where b is 0.

    Example:
        >>> ratio(np.array([1.0, 0.0]), np.array([2.0, 0.0]))
        array([0.5, nan])
    """
    return np.asarray(np.divide(a, b, out=np.full(np.shape(b), np.nan), where=np.asarray(b) > 0))


def _kept(combinations: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Share of what is particular to points that is in their squared distance once the means of their kinds are taken out."""
    left = 1 - 1 / np.bincount(kinds)[combinations]
    # two points of one kind lose the same mean, so their distance nothing
    return np.where(combinations[:, 0] == combinations[:, 1], 1.0, left.mean(-1))


def _mean(values: np.ndarray) -> np.ndarray:
    """Over the groups where it is defined."""
    there = np.isfinite(values)
    return ratio(np.nansum(values, 0), there.sum(0) * 1.0)


def _mean_without_each(values: np.ndarray) -> np.ndarray:
    there = np.isfinite(values)
    return ratio(np.nansum(values, 0) - np.nan_to_num(values), there.sum(0) - 1.0 * there)


def _share(within: np.ndarray | float, between: np.ndarray | float) -> np.ndarray:
    """1 - D_w / D_b, exactly 0 where they are equal but for rounding, which would pass for a tiny, certain effect."""
    found = 1 - ratio(within, between)
    return np.asarray(np.where(np.abs(found) < ROUNDING, 0.0, found))


def _weighted(shares: np.ndarray, total: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Means total / count of each combination, averaged with the weights of those that are there; the last axis goes."""
    weights = shares * (count > 0)
    return ratio((weights * np.nan_to_num(ratio(total, count * 1.0))).sum(-1), weights.sum(-1))
