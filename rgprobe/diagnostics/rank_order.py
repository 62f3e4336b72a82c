r"""D30: effective rank of representations as an order parameter of depth, after Haggi-Mani & Rish.

For a matrix X of representations, one row per token, with singular values s_i and p_i = s_i / sum_j s_j,

    effective rank = exp(-sum_i p_i ln p_i),

between 1 and the rank of X. Rows may be all positions of all sequences ("position"), the mean over positions of each
sequence ("pooled"), or the positions of one sequence at a time, averaged over sequences ("sequence"): they answer
different questions, and only the first is free of the correlations of the input. The rank ratio of a layer is its
effective rank divided by that of the input end; the kernel drift of a step is 1 - CKA between the layers around it.

Haggi-Mani & Rish train a stack of residual MLPs to fill in masked tokens of Markov chains and report that the effective
rank falls with depth for chains of correlation length about 1 and stays for chains of about 7, measured by position. The
lengths are those of the chains, not of representations; `rgprobe.diagnostics.correlation_length` measures them.

Representations here come from models that no trace holds, so this diagnostic is called by hand, on arrays.

Source: Haggi-Mani & Rish, arXiv:2606.10324 and arXiv:2607.15449 (read from their abstracts and summaries, which do not fix
every detail); effective rank: Roy & Vetterli, EUSIPCO 2007; CKA: Kornblith et al., ICML 2019.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import numpy as np
from jaxtyping import Float, Float64

from rgprobe.errors import NumericalRefusal

__all__ = ["effective_rank", "kernel_drift", "rank_profile"]

Level = Literal["position", "pooled", "sequence"]


def effective_rank(matrix: Float[np.ndarray, "rows width"], *, centre: bool = False) -> float:
    """exp of the entropy of the normalised singular values.

    Args:
        matrix: one representation per row.
        centre: take the mean row out first; without it a common offset counts as a direction.

    Raises:
        NumericalRefusal: no singular value above zero, or a value that is not finite.

    Example:
        >>> round(effective_rank(np.diag([1.0, 1.0, 1.0, 0.0])), 6), round(effective_rank(np.diag([3.0, 1.0])), 4)
        (3.0, 1.7548)
    """
    rows = matrix.astype(np.float64)
    if not np.isfinite(rows).all():
        raise NumericalRefusal("representations", expected="finite numbers", received="NaN or infinity",
                               remedy="leave those rows out")  # fmt: skip
    rows = rows - rows.mean(0) if centre else rows
    values = np.linalg.svd(_compressed(rows), compute_uv=False)
    if not values[0] > 0:
        raise NumericalRefusal("representations", expected="rows that are not all equal" if centre else "rows not all zero",
                               received="no variance", remedy="leave this layer out")  # fmt: skip
    p = values / values.sum()
    p = p[p > 0]
    return float(np.exp(-(p * np.log(p)).sum()))


def rank_profile(
    states: Float[np.ndarray, "layers sequences positions width"], *, level: Level = "position", centre: bool = False
) -> Float64[np.ndarray, " layers"]:
    """Effective rank of every layer, from the input end to the output end.

    Args:
        states: representations.
        level: "position" pools positions of all sequences, "pooled" averages each sequence first, "sequence" takes the rank
            of each sequence by itself and averages the ranks.
        centre: take the mean row out first.

    Example:
        >>> hot = np.eye(4)[np.random.default_rng(0).integers(4, size=(1, 500, 9))]
        >>> rank_profile(hot).round(2), rank_profile(hot, level="sequence").round(1)
        (array([4.]), array([3.6]))
    """
    if level == "sequence":
        return np.array([np.mean([effective_rank(one, centre=centre) for one in layer]) for layer in states])
    rows = states.mean(2) if level == "pooled" else states.reshape(len(states), -1, states.shape[-1])
    return np.array([effective_rank(layer, centre=centre) for layer in rows])


def kernel_drift(states: Float[np.ndarray, "layers rows width"]) -> Float64[np.ndarray, " steps"]:
    """1 - CKA between successive layers: 0 where the kernel of the rows keeps its shape.

    CKA(X, Y) = ||X^T Y||_F^2 / (||X^T X||_F ||Y^T Y||_F), columns centred.

    Raises:
        NumericalRefusal: a layer whose rows are all equal.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(30, 4))
        >>> kernel_drift(np.stack([x, 2 * x, x[:, ::-1]])).round(12) + 0.0
        array([0., 0.])
    """
    rows = states.astype(np.float64)
    rows = rows - rows.mean(1, keepdims=True)
    own = np.sqrt(np.array([((x.T @ x) ** 2).sum() for x in rows]))
    if not (own > 0).all():
        raise NumericalRefusal(f"layer {int((~(own > 0)).argmax())}", expected="rows that are not all equal",
                               received="no variance", remedy="leave this layer out")  # fmt: skip
    cross = np.array([((x.T @ y) ** 2).sum() for x, y in pairwise(rows)])
    return 1 - cross / (own[:-1] * own[1:])


def _compressed(rows: np.ndarray) -> np.ndarray:
    """A square matrix of the same singular values, where there are more rows than columns."""
    return np.asarray(np.linalg.qr(rows).R) if len(rows) > rows.shape[1] else rows
