r"""Trees of what depends on what: average linkage over interactions between tokens, instead of divergences between beliefs.

In a hierarchy two leaves of one constituent inform each other most, whatever their states look like. With interactions I_ij
>= 0,

.. math:: S = (I + I^T) / 2, \quad d_i = \sum_j S_{ij}, \quad D_{ij} = -\ln(S_{ij} / \sqrt{d_i d_j}) + \text{const},

so that tokens that act strongly on everything are not thereby near to everything, and a factor per level of a hierarchy
becomes a length per level. The tree is average linkage (UPGMA), among any clusters or among neighbours only.

Source: Sokal & Michener (1958) for average linkage.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from jaxtyping import Float, Float64
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform

from rgprobe.checks import one_of
from rgprobe.errors import NumericalRefusal

__all__ = ["average_linkage", "interaction_distances"]

FLOOR = 1e-4  # of the largest: interactions below it are not told from none


def interaction_distances(
    interaction: Float[np.ndarray, "n n"], *, normalise: bool = True, floor: float = FLOOR
) -> Float64[np.ndarray, "n n"]:
    """Symmetric distances, zero for the strongest pair and on the diagonal, at most ln(1 / floor).

    Args:
        interaction: I_ij >= 0, any scale; the diagonal is not read.
        normalise: divide by sqrt(d_i d_j).
        floor: share of the largest interaction below which all are alike.

    Raises:
        NumericalRefusal: a negative or undefined entry.

    Example:
        >>> interaction_distances(np.array([[0, 4.0, 1], [4, 0, 1], [1, 1, 0]]), normalise=False).round(2).tolist()
        [[0.0, 0.0, 1.39], [0.0, 0.0, 1.39], [1.39, 1.39, 0.0]]
    """
    strength = (interaction + interaction.T).astype(np.float64) / 2
    np.fill_diagonal(strength, 0.0)
    if not (strength >= 0).all():
        row, column = np.argwhere(~(strength >= 0))[0].tolist()
        raise NumericalRefusal(f"interaction[{row}, {column}]", expected="a number >= 0",
                               received=f"{strength[row, column]}", remedy="measure in more contexts")  # fmt: skip
    if normalise:
        degree = np.maximum(strength.sum(1), np.finfo(float).tiny)
        # one root at a time: the product of two tiny sums underflows
        strength = strength / np.sqrt(degree)[:, None] / np.sqrt(degree)
    largest = strength.max(initial=0.0)
    shares = strength / largest if largest > 0 else np.ones_like(strength)
    distances = np.log(1 / np.maximum(shares, floor))
    np.fill_diagonal(distances, 0.0)
    return distances


def average_linkage(distances: Float[np.ndarray, "n n"], *, adjacency: str = "any") -> Float64[np.ndarray, "merges 4"]:
    """SciPy linkage matrix of the average distance between clusters.

    Among neighbours a merge may be cheaper than the one before it; the height is then that one's, so that heights are monotone.

    Args:
        distances: symmetric.
        adjacency: "any", or "contiguous": only neighbours in sequence order may merge.

    Raises:
        OptionError: another adjacency.

    Example:
        >>> line = np.abs(np.subtract.outer([0.0, 1, 5, 9], [0.0, 1, 5, 9]))
        >>> average_linkage(line, adjacency="contiguous").tolist() == average_linkage(line).tolist()
        True
    """
    one_of("adjacency", adjacency, ("any", "contiguous"))
    if adjacency == "any":
        return linkage(squareform(distances, checks=False), "average")
    n, height = len(distances), 0.0
    clusters = [(i, [i]) for i in range(n)]
    merges = []
    while len(clusters) > 1:
        gaps = [distances[np.ix_(a, b)].mean() for (_, a), (_, b) in pairwise(clusters)]
        k = int(np.argmin(gaps))
        height = max(height, float(gaps[k]))
        (left, a), (right, b) = clusters[k : k + 2]
        merges.append((min(left, right), max(left, right), height, len(a) + len(b)))
        clusters[k : k + 2] = [(n + len(merges) - 1, a + b)]
    return np.array(merges, dtype=np.float64).reshape(-1, 4)
