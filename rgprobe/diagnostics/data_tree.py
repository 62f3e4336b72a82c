r"""D34: the tree of the data against the tree of the activations, built in the same way from what depends on what.

Two kinds of leaves have a tree on both sides.

- *Positions* of sentences of equal length. Data: mutual information I_ij between the tokens at i and j, over sentences.
  Activations: the Gaussian mutual information of the states at i and j. Distance -ln I_ij.
- *Types* (of tokens, or of groups of tokens). Data: rows of positive pointwise mutual information with their contexts.
  Activations: the mean state over the occurrences of a type. Distance 1 - cosine between centred rows.

Either way the tree is average linkage (UPGMA), and two trees agree by their cophenetic correlation. Its null permutes the
leaves of one tree, which keeps both shapes (the Mantel test). Functions alone: a trace of a few prompts holds neither a
corpus's co-occurrences nor the occurrences of a type, so nothing is registered; `analyses/data_tree.py` collects both.

Sources: Church & Hanks, Comput. Linguist. 16 (1990) 22; Sokal & Rohlf, Taxon 11 (1962) 33; Mantel, Cancer Res. 27 (1967) 209.
"""

from __future__ import annotations

from collections.abc import Set

import numpy as np
from jaxtyping import Float, Float64, Int64
from scipy.cluster.hierarchy import cophenet, linkage
from scipy.spatial.distance import pdist, squareform

from rgprobe.condensation.agreement import height_correlation, linkage_correlation, linkage_recall
from rgprobe.errors import BadInput, NumericalRefusal

__all__ = [
    "cophenetic_agreement",
    "information_tree",
    "parse_recall",
    "permuted_agreement",
    "pointwise_information",
    "position_information",
    "profile_tree",
    "state_information",
]


def position_information(tokens: Int64[np.ndarray, "samples positions"]) -> Float64[np.ndarray, "positions positions"]:
    """Mutual information between the tokens at two positions, nats, Miller-Madow corrected; may be slightly negative.

        I_ij = H_i + H_j - H_ij,     H = -sum p ln p + (seen symbols - 1) / 2n

    Args:
        tokens: sentences of equal length, ids from 0.

    Raises:
        BadInput: fewer than two sentences, or a negative id.

    Source: Miller (1955) for the correction.

    Example:
        >>> coin = np.random.default_rng(0).integers(2, size=10_000)
        >>> round(float(position_information(np.stack([coin, 1 - coin], 1))[0, 1]), 3)  # ln 2
        0.693
    """
    if len(tokens) < 2 or tokens.min() < 0:
        received = f"{len(tokens)} sentences" if len(tokens) < 2 else f"id {tokens.min()}"
        raise BadInput(
            "tokens", expected="at least 2 sentences of ids >= 0", received=received, remedy="pass more text"
        )
    size = int(tokens.max()) + 1
    single = [_entropy(np.bincount(column)) for column in tokens.T]
    information = np.diag(single)
    for i, j in zip(*np.triu_indices(tokens.shape[1], 1), strict=True):
        joint = _entropy(np.bincount(tokens[:, i] * size + tokens[:, j]))
        information[i, j] = information[j, i] = single[i] + single[j] - joint
    return information


def state_information(
    states: Float[np.ndarray, "samples positions width"], *, rank: int = 8
) -> Float64[np.ndarray, "positions positions"]:
    r"""Gaussian mutual information between the states at two positions, nats, less its bias.

    .. math:: I_{ij} = -\tfrac12 \sum_k \ln(1 - \rho_k^2) - r_i r_j / 2n,

    rho_k the canonical correlations between the leading principal components of the two positions.

    Args:
        states: of the same positions in many sentences.
        rank: components kept per position, at most; those below 1e-6 of the largest variance are dropped.

    Raises:
        NumericalRefusal: fewer than 20 sentences per component.

    Source: Gelfand & Yaglom (1957).

    Example:
        >>> x = np.random.default_rng(0).normal(size=(4000, 3))
        >>> pair = np.stack([x, 0.6 * x + 0.8 * np.random.default_rng(1).normal(size=x.shape)], 1)
        >>> round(float(state_information(pair)[0, 1]), 2), round(-1.5 * float(np.log(1 - 0.36)), 2)
        (0.66, 0.67)
    """
    samples, positions, _ = states.shape
    if samples < 20 * rank:
        raise NumericalRefusal(
            "states", expected=f"at least 20 x rank = {20 * rank} sentences", received=f"{samples}",
            remedy="pass more sentences or a smaller rank",
        )  # fmt: skip
    white = [_whitened(states[:, i].astype(float), rank) for i in range(positions)]
    information = np.full((positions, positions), np.nan)
    for i, j in zip(*np.triu_indices(positions, 1), strict=True):
        correlations = np.linalg.svd(white[i].T @ white[j], compute_uv=False)
        # a copy has correlation 1 and infinite information
        gained = -0.5 * np.log1p(-np.minimum(correlations**2, 1 - 1e-12)).sum()
        information[i, j] = information[j, i] = gained - white[i].shape[1] * white[j].shape[1] / (2 * samples)
    return information


def information_tree(
    information: Float64[np.ndarray, "leaves leaves"], *, floor: float
) -> Float64[np.ndarray, "merges 4"]:
    """SciPy linkage matrix: average linkage over the distances ln(largest / I_ij), pure numbers >= 0.

    Information falls by a factor per level of a hierarchy, so its logarithm is what adds up along the branches.

    Args:
        information: symmetric, nats; the diagonal is not read.
        floor: nats below which information is not told from none, positive; (v - 1)^2 / 2n for v symbols and n samples.

    Raises:
        NumericalRefusal: an entry that is not finite.
        BadInput: a floor that is not positive.

    Example:
        >>> information_tree(np.array([[9, 0.5, 0.1], [0.5, 9, 0.1], [0.1, 0.1, 9]]), floor=1e-3)[:, :2].tolist()
        [[0.0, 1.0], [2.0, 3.0]]
    """
    if not floor > 0:
        raise BadInput("floor", expected="a positive number of nats", received=f"{floor}", remedy="pass (v - 1)^2 / 2n")
    pairs = information[np.triu_indices(len(information), 1)]
    if not np.isfinite(pairs).all():
        raise NumericalRefusal(
            "information", expected="finite numbers", received="NaN or infinity", remedy="drop those leaves"
        )
    kept = np.maximum(pairs, floor)
    return linkage(np.log(kept.max() / kept), "average")


def pointwise_information(counts: Float[np.ndarray, "types contexts"]) -> Float64[np.ndarray, "types contexts"]:
    """Positive pointwise mutual information max(0, ln p(t, c) / p(t) p(c)), nats; 0 where nothing was counted.

    Raises:
        BadInput: negative counts, or a type that never occurs.

    Example:
        >>> pointwise_information(np.array([[3.0, 1.0], [0.0, 4.0]])).round(3)
        array([[0.693, 0. ],
               [0.   , 0.47 ]])
    """
    rows, columns = counts.sum(1, keepdims=True), counts.sum(0, keepdims=True)
    if (counts < 0).any() or (rows == 0).any():
        received = "negative counts" if (counts < 0).any() else f"none for type {int((rows == 0).argmax())}"
        raise BadInput(
            "counts", expected="counts >= 0, some for every type", received=received, remedy="drop such types"
        )
    ratio = np.divide(counts * counts.sum(), rows * columns, out=np.ones(counts.shape), where=counts > 0)
    return np.maximum(np.log(ratio), 0.0)


def profile_tree(rows: Float[np.ndarray, "leaves features"]) -> Float64[np.ndarray, "merges 4"]:
    """SciPy linkage matrix: average linkage over 1 - cosine between rows, less the mean row.

    The mean row is what all types share; left in, it makes all cosines of a trained or untrained network nearly one.

    Raises:
        NumericalRefusal: rows that are not finite, or a row equal to the mean row.

    Example:
        >>> profile_tree(np.array([[1.0, 0.0, 0.0], [0.9, 0.1, 0.0], [0.0, 0.0, 1.0]]))[0, :2].tolist()
        [0.0, 1.0]
    """
    centred = rows.astype(float) - rows.astype(float).mean(0)
    if not np.isfinite(centred).all() or (np.linalg.norm(centred, axis=1) == 0).any():
        raise NumericalRefusal(
            "rows", expected="finite rows that differ from their mean", received="others", remedy="drop those types"
        )
    return linkage(np.clip(pdist(centred, "cosine"), 0.0, None), "average")


def cophenetic_agreement(one: Float64[np.ndarray, "merges 4"], other: Float64[np.ndarray, "other_merges 4"]) -> float:
    """Pearson correlation of the heights at which two leaves join, over all pairs; NaN where a tree has one height.

    Raises:
        BadInput: trees over different numbers of leaves.

    Example:
        >>> tree = profile_tree(np.eye(4) + np.eye(4, k=1))
        >>> round(cophenetic_agreement(tree, tree), 12)
        1.0
    """
    return linkage_correlation(one, other)


def permuted_agreement(
    one: Float64[np.ndarray, "merges 4"], other: Float64[np.ndarray, "merges 4"], *, draws: int = 999, seed: int = 0
) -> Float64[np.ndarray, " draws"]:
    """Cophenetic correlations after the leaves of the second tree were permuted at random: the null of agreement.

    Example:
        >>> tree = profile_tree(np.random.default_rng(0).normal(size=(20, 5)))
        >>> bool((permuted_agreement(tree, tree, draws=50) < cophenetic_agreement(tree, tree)).all())
        True
    """
    generator = np.random.default_rng(seed)
    fixed, moved = cophenet(one), squareform(cophenet(other))
    upper = np.triu_indices(len(moved), 1)
    orders = (generator.permutation(len(moved)) for _ in range(draws))
    return np.array([height_correlation(fixed, moved[np.ix_(order, order)][upper]) for order in orders])


def parse_recall(tree: Float64[np.ndarray, "merges 4"], clades: Set[frozenset[int]]) -> float:
    """Fraction of the known clades that the tree has, NaN where none is inner; a binary parse gives bracket F1.

    Example:
        >>> parse_recall(profile_tree(np.array([[1.0, 0.0], [0.9, 0.0], [0.0, 1.0]])), {frozenset({0, 1})})
        1.0
    """
    return linkage_recall(tree, clades)


def _entropy(counts: np.ndarray) -> float:
    seen = counts[counts > 0]
    shares = seen / seen.sum()
    return float(-(shares * np.log(shares)).sum() + (len(seen) - 1) / (2 * seen.sum()))


def _whitened(rows: np.ndarray, rank: int) -> np.ndarray:
    """Orthonormal columns: the leading principal components over samples."""
    left, singular, _ = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    # variances, not singular values, are compared with the largest
    return left[:, : max(1, min(rank, int((singular**2 > 1e-6 * singular[0] ** 2).sum())))]
