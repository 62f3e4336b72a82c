r"""D24: has a head learnt the eigenvectors of the chain that its training sequences walk on?

A block-diagonal transition matrix has the eigenvectors [v_A; 0] and [0; v_C], one block at a time. A head that has learnt
them shows them in two maps over the states of the chain,

    values    Z_s = mean value vector of the tokens that are state s             (V, d_head)
    pattern   A_st: ln attention of query i to key j = c_i + A_(s_i)(t_j)        (V, V), rows and columns centred,

whose leading k left singular vectors span a subspace of functions of the state. Its overlap with the span of k
eigenvectors is the mean squared cosine of their principal angles,

    overlap = ||Q_1^T Q_2||_F^2 / k,     k / d for a random subspace, d the dimension it lies in.

A map M respects the chain's symmetries g if P_g M P_g^T = M; the commutant share of M is the part of it that does,

    share = ||M_G||^2 / ||M||^2,   M_G = mean over g of P_g M P_g^T,

(orbits of pairs of states) / V^2 for a random matrix; with its rows and columns centred, (orbits of pairs - 2 orbits of
states + 1) / (V - 1)^2. Both are to be compared with random initialisations and with a chain without blocks: neither
number says anything alone.

The chain is not part of a trace, so this diagnostic is called by hand: `head_maps` on what `Probe.stream` hands to hooks.

Source: principal angles: Björck & Golub, Math. Comp. 27, 579 (1973); averaging over a group projects on its commutant
(Serre, Linear Representations of Finite Groups, 2.2). Derived here: the expectations under random maps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int

from rgprobe.errors import NumericalRefusal, OptionError

__all__ = [
    "HeadMaps",
    "centred",
    "commutant_share",
    "expected_commutant_share",
    "head_maps",
    "leading_subspace",
    "subspace_overlap",
]


RANK_TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class HeadMaps:
    """What one head makes of each state of the chain, on average over tokens.

    Attributes:
        values: mean value vector by state, centred over states.
        pattern: log attention by the query's and the key's state, row and column means taken out.
        counts: tokens seen of each state.
    """

    values: Float64[np.ndarray, "states width"]
    pattern: Float64[np.ndarray, "states states"]
    counts: Int[np.ndarray, " states"]


def head_maps(
    tokens: Int[np.ndarray, "walks length"],
    values: Float[np.ndarray, "walks length width"],
    pattern: Float[np.ndarray, "walks length length"],
    *,
    states: int,
) -> HeadMaps:
    """Average values by state; fit log attention by pairs of states, over all keys before the query.

    ln attention of query i to key j is the score less the row's own normalisation, so the pattern is a least-squares fit of
    c_i + A_st with a constant c_i per row: exact where scores depend on the two states alone. Only keys strictly before the
    query enter: at the query itself both states are equal, which would plant a diagonal.

    Args:
        tokens: the state of each token, 0 ... V - 1.
        values: value vectors of one head at those tokens.
        pattern: attention weights of that head, rows to queries.
        states: V.

    Raises:
        OptionError: a token that is no state.
        NumericalRefusal: a state, or a pair of states, that never occurs; a weight of 0.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> tokens = rng.integers(3, size=(50, 9))
        >>> uniform = np.tril(np.ones((9, 9))) / np.arange(1, 10)[:, None]
        >>> maps = head_maps(tokens, np.eye(3)[tokens], np.broadcast_to(uniform, (50, 9, 9)), states=3)
        >>> maps.values.round(3)[0], maps.pattern.shape
        (array([ 0.667, -0.333, -0.333]), (3, 3))
    """
    if tokens.size and not (tokens.min() >= 0 and tokens.max() < states):
        raise OptionError("tokens", expected=f"states from 0 to {states - 1}", received=f"{int(tokens.max())}",
                          remedy="shift ids past the reserved ones")  # fmt: skip
    hot = np.eye(states)[tokens]  # (walks, length, states)
    earlier = np.tril(np.ones(pattern.shape[1:]), -1)
    counts = np.bincount(tokens.ravel(), minlength=states)
    pairs = np.einsum("wis,ij,wjt->st", hot, earlier, hot, optimize=True)
    if (pairs == 0).any():
        query, key = (int(index) for index in np.argwhere(pairs == 0)[0])
        raise NumericalRefusal(f"states {query} and {key}", expected="every pair of states, the key's before the query's",
                               received="none", remedy="feed sequences of uniformly drawn tokens")  # fmt: skip
    weights = np.where(earlier, pattern.astype(np.float64), 1.0)
    if not (weights > 0).all():
        raise NumericalRefusal("pattern", expected="positive weights on every earlier key", received="0 or NaN",
                               remedy="take attention in float32, without a window")  # fmt: skip
    sums = np.einsum("wis,wid->sd", hot, values.astype(np.float64), optimize=True)
    return HeadMaps(centred(sums / counts[:, None], columns=False), centred(_by_states(np.log(weights), hot)), counts)


def _by_states(
    logs: Float64[np.ndarray, "walks length length"], hot: Float64[np.ndarray, "walks length states"]
) -> Float64[np.ndarray, "states states"]:
    """Least-squares A_st in logs_ij = c_i + A_(s_i)(t_j) over keys j < i, the row constants c_i eliminated."""
    states, earlier = hot.shape[2], np.tril(np.ones(logs.shape[1:]), -1)
    keys = np.einsum("ij,wjt->wit", earlier, hot)[:, 1:].reshape(-1, states)  # keys of each state, by query
    sums = np.einsum("wij,wjt->wit", logs * earlier, hot, optimize=True)[:, 1:].reshape(-1, states)
    number, mean = keys.sum(1, keepdims=True), sums.sum(1, keepdims=True) / keys.sum(1, keepdims=True)
    of_query, fitted = hot[:, 1:].reshape(-1, states).astype(bool), []
    for own in of_query.T:
        n = keys[own]
        normal = np.diag(n.sum(0)) - n.T @ (n / number[own])
        # singular along the constant, which centring takes out
        fitted.append(np.linalg.lstsq(normal, (sums - keys * mean)[own].sum(0), rcond=1e-10)[0])
    return np.array(fitted)


def centred(
    matrix: Float[np.ndarray, "states columns"], *, columns: bool = True
) -> Float64[np.ndarray, "states columns"]:
    """The mean of every column taken out, and with `columns` the mean of every row too.

    Example:
        >>> centred(np.array([[1.0, 2.0], [3.0, 8.0]]))
        array([[ 1., -1.],
               [-1.,  1.]])
    """
    out = matrix - matrix.mean(0)
    return np.asarray(out - out.mean(1, keepdims=True) if columns else out)


def leading_subspace(matrix: Float[np.ndarray, "states columns"], dimensions: int) -> Float64[np.ndarray, "states k"]:
    """Orthonormal basis of the k left singular vectors with the largest singular values.

    Raises:
        OptionError: k below 1 or above the rank that the shape allows.
        NumericalRefusal: the k-th singular value is zero, so that the k-th direction is arbitrary.

    Example:
        >>> np.abs(leading_subspace(np.diag([1.0, 3.0, 2.0]), 2)).round(6)
        array([[0., 0.],
               [1., 0.],
               [0., 1.]])
    """
    if not 1 <= dimensions <= min(matrix.shape):
        raise OptionError("dimensions", expected=f"1 to {min(matrix.shape)}", received=f"{dimensions}",
                          remedy="ask for fewer")  # fmt: skip
    left, values, _ = np.linalg.svd(matrix, full_matrices=False)
    if not values[dimensions - 1] > RANK_TOLERANCE * values[0]:
        raise NumericalRefusal(f"singular value {dimensions}", expected="above zero", received=f"{values[dimensions - 1]:.1e}",
                               remedy="ask for a smaller subspace")  # fmt: skip
    return np.asarray(left[:, :dimensions])


def subspace_overlap(found: Float[np.ndarray, "states p"], wanted: Float[np.ndarray, "states k"]) -> float:
    """Mean squared cosine of the principal angles: the share of span(wanted) that lies in span(found).

    1 if span(found) holds span(wanted); p / d on average for a random p-dimensional subspace of a d-dimensional space that
    holds span(wanted).

    Raises:
        NumericalRefusal: columns that are linearly dependent.

    Example:
        >>> subspace_overlap(np.eye(4)[:, :2], np.eye(4)[:, 1:3])
        0.5
    """
    bases = []
    for name, columns in (("found", found), ("wanted", wanted)):
        left, values, _ = np.linalg.svd(columns, full_matrices=False)
        if columns.shape[1] > columns.shape[0] or not values[-1] > RANK_TOLERANCE * values[0]:
            raise NumericalRefusal(name, expected="linearly independent columns", received="dependent ones",
                                   remedy="pass a basis of the subspace")  # fmt: skip
        bases.append(left)
    return float(((bases[0].T @ bases[1]) ** 2).sum() / wanted.shape[1])


def commutant_share(
    matrix: Float[np.ndarray, "states states"], symmetries: Int[np.ndarray, "elements states"]
) -> float:
    """||M_G||^2 / ||M||^2: 1 if M commutes with every symmetry, P_g M = M P_g; 0 if nothing of it does.

    Args:
        matrix: M, a map over the states.
        symmetries: every element of the group, as permutations: g takes entry (s, t) of M to (g s, g t).

    Raises:
        NumericalRefusal: M is zero.

    Example:
        >>> turns = (np.arange(3)[:, None] + np.arange(3)) % 3
        >>> circulant = np.array([[1.0, 2.0, 3.0], [3.0, 1.0, 2.0], [2.0, 3.0, 1.0]])
        >>> round(commutant_share(circulant, turns), 12), round(commutant_share(np.diag([1.0, -1.0, 0.0]), turns), 12)
        (1.0, 0.0)
    """
    power = float((matrix.astype(np.float64) ** 2).sum())
    if not 0 < power < np.inf:
        raise NumericalRefusal("matrix", expected="finite entries, not all zero", received=f"squared norm {power}",
                               remedy="leave this head out")  # fmt: skip
    average = np.mean([matrix[np.ix_(g, g)] for g in symmetries], axis=0)
    return float((average**2).sum() / power)


def expected_commutant_share(symmetries: Int[np.ndarray, "elements states"], *, centred: bool) -> float:
    """The share of a matrix of independent equal Gaussians, centred or not: dimension of the commutant over that of all.

    The number of orbits of pairs is the mean over g of (fixed states)^2, of states that of (fixed states) (Burnside).

    Example:
        >>> turns = (np.arange(3)[:, None] + np.arange(3)) % 3
        >>> expected_commutant_share(turns, centred=False), expected_commutant_share(turns, centred=True)
        (0.3333333333333333, 0.5)
    """
    states = symmetries.shape[1]
    fixed = (symmetries == np.arange(states)).sum(1)
    pairs, single = (fixed.astype(float) ** 2).mean(), fixed.mean()
    return float((pairs - 2 * single + 1) / (states - 1) ** 2 if centred else pairs / states**2)
