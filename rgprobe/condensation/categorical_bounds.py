r"""Lower bounds of the merge costs of categorical beliefs, from matrix products.

With the squared Hellinger distance H^2 = (1/2) sum_v (sqrt p_v - sqrt q_v)^2, total weight W = w_p + w_q and s the lesser of
the two shares of W,

.. math:: \text{moment: } cost \ge 2 W (1 - s) \log\tfrac{1}{1 - s}\, H^2, \qquad
          \text{pool: } cost \ge -2 s W \log(1 - H^2).

*Moment.* Per unit of W the cost is the f-divergence of f(t) = s t log t - (s t + 1 - s) log(s t + 1 - s) between the row of
share s and the other, and H^2 that of h(t) = (sqrt t - 1)^2 / 2. f and h and their first derivatives vanish at t = 1, and
f''/h'' = 4 s (1 - s) sqrt(t) / (s t + 1 - s) has one maximum and no minimum inside (0, oo). By l'Hospital's rule for
monotone ratios f/h then has its infimum at t = 0, 1 or oo, where it is 2 (1 - s) log 1/(1 - s), 4 s (1 - s) and
2 s log 1/s; for s <= 1/2 the first is the least. At equal weights the bound is between ln 2 and 1 of the cost.

*Pool.* -log sum_v p^a q^(1-a) is concave in a, not negative at a = 0 and 1, and -log(1 - H^2) at a = 1/2. At equal weights
bound and cost are equal.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

__all__ = ["HellingerBounds", "moment_bound", "pool_bound"]

# Rounding of the bounds themselves and of rows that sum to 1 only to the last digits.
SAFE = 1 - 1e-9
ROUNDING = 1e-12


def moment_bound(
    squared: Float64[np.ndarray, "*k"], w_p: Float64[np.ndarray, "*#k"], w_q: Float64[np.ndarray, "*#k"]
) -> Float64[np.ndarray, "*k"]:
    """Lower bound of a moment merge from the squared Hellinger distance, see the module; nats.

    Example:
        >>> round(float(moment_bound(np.array([1.0]), np.array([0.5]), np.array([0.5]))[0]), 6)  # nothing in common: ln 2
        0.693147
    """
    greater = np.maximum(w_p, w_q)
    return (-2 * SAFE * greater * np.log(greater / (w_p + w_q))) * squared


def pool_bound(
    squared: Float64[np.ndarray, "*k"], w_p: Float64[np.ndarray, "*#k"], w_q: Float64[np.ndarray, "*#k"]
) -> Float64[np.ndarray, "*k"]:
    """Lower bound of a pool merge from the squared Hellinger distance, see the module; nats.

    Example:
        >>> round(float(pool_bound(np.array([0.5]), np.array([0.5]), np.array([0.5]))[0]), 6)  # ln 2
        0.693147
    """
    with np.errstate(divide="ignore"):
        return -2 * SAFE * np.minimum(w_p, w_q) * np.log1p(-np.minimum(squared, 1.0))


class HellingerBounds:
    """Square roots of the rows of the slots, centred, in single precision; 4 N V bytes.

    Distances err by at most the rounding of a product over V terms in any order, which is taken off. That is relative to
    the distances from the mean root, because centring comes first.
    """

    def __init__(self, roots: Float64[np.ndarray, "N V"]) -> None:
        self._centre = roots.mean(axis=0)
        self._roots = (roots - self._centre).astype(np.float32)
        # rounding of V products and sums, and of the two factors, in units of the squared norms
        self._half = 0.5 - (roots.shape[1] + 8) * 2.0**-25 * (1 + 2.0**-10)
        self._norms = self._half * np.einsum("nv,nv->n", self._roots, self._roots, dtype=np.float64)

    def squared(self, a: slice, b: slice) -> Float64[np.ndarray, "k m"]:
        """Lower bounds of H^2 between slots ``a`` and ``b``."""
        distances = self._norms[a, None] + self._norms[b]
        distances -= self._roots[a] @ self._roots[b].T
        distances -= ROUNDING
        return np.maximum(distances, 0.0, out=distances)

    def replace(self, a: int, root: Float64[np.ndarray, "V"]) -> None:
        """Give slot ``a`` another row, by its square root."""
        self._roots[a] = root - self._centre
        wide = self._roots[a].astype(np.float64)
        self._norms[a] = self._half * (wide @ wide)

    def move(self, source: int, target: int) -> None:
        """Copy slot ``source`` over slot ``target``."""
        self._roots[target] = self._roots[source]
        self._norms[target] = self._norms[source]
