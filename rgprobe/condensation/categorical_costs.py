r"""Merge costs of categorical beliefs, a list of pairs of clusters at a time.

Each cluster is a slot with a weight w and a distribution over V classes. Both centroids have a cheap form with one
transcendental function per entry, whose absolute error is about 1e-14 (w_a + w_b). Where the cost itself is small next
to the weights, digits would cancel; there the cost is evaluated again as a sum of non-negative terms (`moment_cost`,
`pool_cost`).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import factorial

import numpy as np
from jaxtyping import Float64
from scipy.special import xlogy

from rgprobe.condensation.categorical_bounds import HellingerBounds, moment_bound, pool_bound

__all__ = ["CategoricalMoment", "CategoricalPool", "moment_cost", "pool_cost", "relative_entropy_term"]

# The cheap form errs by up to 2e-14 per weight (measured to V = 49,152): of a cost above this, a fifth of the tie
# tolerance.
ACCURATE_BELOW = 1e-3
# An entry below this goes to a series (the closed forms have lost two digits here); a block whose entries all lie below
# the second value is a series altogether, which saves the exponentials and logarithms.
SERIES_BELOW = 0.02
ALL_SERIES_BELOW = 0.1
# Stands for 0 under a logarithm whose factor is 0.
TINY = 1e-300
# Entries per block: a block and its logarithm stay in a core's cache.
BLOCK_ENTRIES = 2**16


def moment_cost(
    p: Float64[np.ndarray, "*k V"],
    w_p: float | Float64[np.ndarray, "k"],
    q: Float64[np.ndarray, "k V"],
    w_q: Float64[np.ndarray, "k"],
) -> Float64[np.ndarray, "k"]:
    r"""w_p KL(p||m) + w_q KL(q||m), m the mixture, with nearly all digits also for near-equal rows; nats.

    With W = w_p + w_q, x_p = (p - m)/m = (w_q/W)(p - q)/m and x_q = -(w_p/W)(p - q)/m,

    .. math:: \sum_v m_v [w_p\, g(x_p) + w_q\, g(x_q)], \qquad g(x) = (1 + x)\log(1 + x) - x \ge 0,

    the termwise KL p log(p/m) - p + m. The difference p - q is exact for near-equal entries, so nothing cancels.
    """
    a, b = np.broadcast_to(w_p, w_q.shape)[:, None], w_q[:, None]
    share = a / (a + b)
    t = p - q
    m = share * t
    m += q
    ratio = np.divide(t, m, out=t, where=m > 0)
    if (largest := np.abs(ratio).max()) < ALL_SERIES_BELOW:
        orders = _orders(largest)
        coefficients = [(a * (share - 1) ** n + b * share**n) / (n * (n - 1)) for n in orders]
        terms = _series(ratio, coefficients)
    else:
        terms = a * relative_entropy_term((1 - share) * ratio) + b * relative_entropy_term(-share * ratio)
    return np.einsum("kv,kv->k", m, terms)


def pool_cost(
    log_p: Float64[np.ndarray, "*k V"],
    w_p: float | Float64[np.ndarray, "k"],
    log_q: Float64[np.ndarray, "k V"],
    w_q: Float64[np.ndarray, "k"],
) -> Float64[np.ndarray, "k"]:
    r"""w_p KL(m||p) + w_q KL(m||q), m the normalised geometric mean, with nearly all digits for near-equal rows; nats.

    The cost is -W log Z with Z = sum_v p^a q^(1-a), a = w_p/W, and with t = log p - log q

    .. math:: 1 - Z = \sum_v p^a q^{1-a} [a\,(e^{(1-a)t} - 1 - (1-a)t) + (1-a)\,(e^{-at} - 1 + at)],

    whose terms a p + (1-a) q - p^a q^(1-a) are non-negative (means inequality). Entries with a zero add a p + (1-a) q.
    """
    total = w_p + w_q
    a = (w_p / total)[:, None]
    absent = np.isneginf(log_p) | np.isneginf(log_q)
    lost = np.zeros(len(total))
    if absent.any():
        lost = np.where(absent, a * np.exp(log_p) + (1 - a) * np.exp(log_q), 0.0).sum(axis=1)
        log_p, log_q = np.where(absent, 0.0, log_p), np.where(absent, 0.0, log_q)
    t = log_p - log_q
    geometric = np.exp(log_q + a * t)
    geometric[absent] = 0.0
    if (largest := np.abs(t).max()) < ALL_SERIES_BELOW:
        terms = _series(t, [(a * (1 - a) ** n + (1 - a) * (-a) ** n) / factorial(n) for n in _orders(largest)])
    else:
        terms = a * _expm1_excess((1 - a) * t) + (1 - a) * _expm1_excess(-a * t)
    deficit = lost + np.einsum("kv,kv->k", geometric, terms)
    with np.errstate(divide="ignore"):
        return -total * np.log1p(-np.minimum(deficit, 1.0))


def _orders(largest: float) -> range:
    """Orders 2, 3, ... of a power series that leave out less than 1e-15 of its first term."""
    return range(2, 4 + int(np.log(1e-15) / np.log(max(largest, 1e-15))))


def _series(x: np.ndarray, coefficients: Sequence[np.ndarray | float]) -> np.ndarray:
    """Sum of c_n x^n from n = 2, by Horner's rule in place; coefficients may differ from row to row."""
    total = np.zeros_like(x)
    for c in reversed(coefficients):
        total *= x
        total += c
    total *= x
    total *= x
    return total


def relative_entropy_term(x: np.ndarray) -> np.ndarray:
    """(1 + x) log(1 + x) - x for x >= -1; a series where x is small, because there the two terms cancel."""
    near = np.abs(x) < SERIES_BELOW
    y = np.where(near, 1.0, 1.0 + x)
    closed = y * np.log(np.maximum(y, TINY)) - x
    series = _series(np.where(near, x, 0.0), [(-1) ** n / (n * (n - 1)) for n in _orders(SERIES_BELOW)])
    return np.where(near, series, closed)


def _expm1_excess(x: np.ndarray) -> np.ndarray:
    """exp(x) - 1 - x; a series where x is small."""
    near = np.abs(x) < SERIES_BELOW
    series = _series(np.where(near, x, 0.0), [1 / factorial(n) for n in _orders(SERIES_BELOW)])
    return np.where(near, series, np.expm1(x) - x)


class _CategoricalSlots:
    """Slots with weights and rows, and the walk over blocks of pairs that both centroids share.

    Slots of one kind hold the same row to the last bit, as repeated tokens do: merging those costs nothing.
    """

    def __init__(self, rows: Float64[np.ndarray, "N V"], weights: Float64[np.ndarray, "N"]) -> None:
        self.weights = weights.copy()
        self.rows = rows.copy()
        self._hellinger: HellingerBounds | None = None  # made when first asked for: few clusters never ask
        known: dict[bytes, int] = {}
        self._kinds = np.array([known.setdefault(row.tobytes(), len(known)) for row in rows])
        self._step = max(1, BLOCK_ENTRIES // rows.shape[1])
        self._work = np.empty((2, self._step, rows.shape[1]))

    def costs(self, a: int | np.ndarray, b: np.ndarray) -> Float64[np.ndarray, "k"]:
        """Costs of merging slot ``a``, or each of slots ``a``, with each of slots ``b``; nats."""
        costs = np.zeros(len(b))
        unlike = np.flatnonzero(self._kinds[a] != self._kinds[b])
        for start in range(0, unlike.size, self._step):
            pairs = unlike[start : start + self._step]
            costs[pairs] = self._block(a[pairs] if isinstance(a, np.ndarray) else a, b[pairs])
        return costs

    def sharpened(self, a: int | np.ndarray, b: np.ndarray) -> Float64[np.ndarray, "k"]:
        """Lower bounds of the costs of pairs of slots; nats. There is none between Hellinger's and the cost."""
        return np.zeros(len(b))

    def _block(self, a: int | np.ndarray, b: np.ndarray) -> np.ndarray:
        total = self.weights[a] + self.weights[b]
        costs = self._cheap(a, b, total)
        near = np.flatnonzero(costs < ACCURATE_BELOW * total)
        if near.size:
            costs[near] = self._accurate(a[near] if isinstance(a, np.ndarray) else a, b[near])
        return costs

    def _gather(self, rows: np.ndarray, slots: np.ndarray, work: int) -> np.ndarray:
        """Rows of these slots in working memory: fresh pages for every block would cost as much as the arithmetic."""
        return np.take(rows, slots, axis=0, out=self._work[work, : len(slots)], mode="clip")

    def join(self, a: int, b: int) -> None:
        """Merge slot ``b`` into slot ``a``; equal rows stay equal to the last bit."""
        if self._kinds[a] != self._kinds[b]:
            self._merge_rows(a, b, float(self.weights[b] / (self.weights[a] + self.weights[b])))
            self._kinds[a] = self._kinds.max() + 1
            if self._hellinger is not None:
                self._hellinger.replace(a, self._roots(a))
        self.weights[a] += self.weights[b]

    def move(self, source: int, target: int) -> None:
        """Copy slot ``source`` over slot ``target``."""
        for array in (self.weights, self.rows, self._kinds):
            array[target] = array[source]
        if self._hellinger is not None:
            self._hellinger.move(source, target)

    def _squared(self, a: slice, b: slice) -> np.ndarray:
        """Lower bounds of the squared Hellinger distances of slots ``a`` to slots ``b``."""
        if self._hellinger is None:
            self._hellinger = HellingerBounds(self._roots(slice(None)))
        return self._hellinger.squared(a, b)

    def _cheap(self, a: int | np.ndarray, b: np.ndarray, total: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _accurate(self, a: int | np.ndarray, b: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _merge_rows(self, a: int, b: int, share: float) -> None:
        raise NotImplementedError

    def _roots(self, a: int | slice) -> np.ndarray:
        raise NotImplementedError


class CategoricalMoment(_CategoricalSlots):
    r"""Mixture centroids. With masses P = w p and phi(x) = x log x the cost is

    sum_v [phi(P_a) + phi(P_b) - phi(P_a + P_b)] - [phi(w_a) + phi(w_b) - phi(w_a + w_b)]:

    the weighted Jensen-Shannon divergence, w H(m) - w_a H(a) - w_b H(b), with one logarithm per entry.
    """

    def __init__(self, rows: Float64[np.ndarray, "N V"], weights: Float64[np.ndarray, "N"]) -> None:
        super().__init__(rows, weights)
        self.masses = rows * weights[:, None]
        self.potential = xlogy(self.masses, self.masses).sum(axis=1) - xlogy(weights, weights)
        self.has_zeros = bool((rows == 0).any())

    def bounds(self, a: slice, b: slice) -> Float64[np.ndarray, "k m"]:
        """Lower bounds of the costs of slots ``a`` with slots ``b``; nats."""
        return moment_bound(self._squared(a, b), self.weights[a, None], self.weights[None, b])

    def _cheap(self, a: int | np.ndarray, b: np.ndarray, total: np.ndarray) -> np.ndarray:
        both = self._gather(self.masses, b, 0)
        log = self._work[1, : len(b)]
        both += self._gather(self.masses, a, 1) if isinstance(a, np.ndarray) else self.masses[a]
        np.log(np.maximum(both, TINY, out=log) if self.has_zeros else both, out=log)
        return self.potential[b] + self.potential[a] - (np.vecdot(both, log) - xlogy(total, total))

    def _accurate(self, a: int | np.ndarray, b: np.ndarray) -> np.ndarray:
        return moment_cost(self.rows[a], self.weights[a], self.rows[b], self.weights[b])

    def join(self, a: int, b: int) -> None:
        """Replace slot ``a`` by the mixture of ``a`` and ``b``; equal rows stay equal to the last bit."""
        super().join(a, b)
        self.masses[a] = mass = self.weights[a] * self.rows[a]
        self.potential[a] = mass @ np.log(np.maximum(mass, TINY)) - xlogy(self.weights[a], self.weights[a])

    def move(self, source: int, target: int) -> None:
        """Copy slot ``source`` over slot ``target``."""
        super().move(source, target)
        self.masses[target] = self.masses[source]
        self.potential[target] = self.potential[source]

    def _merge_rows(self, a: int, b: int, share: float) -> None:
        self.rows[a] += share * (self.rows[b] - self.rows[a])

    def _roots(self, a: int | slice) -> np.ndarray:
        return np.sqrt(self.rows[a])


class CategoricalPool(_CategoricalSlots):
    """Geometric-mean centroids; ``rows`` hold log-probabilities (-inf allowed: a pool lives on the common support)."""

    def __init__(self, rows: Float64[np.ndarray, "N V"], weights: Float64[np.ndarray, "N"]) -> None:
        with np.errstate(divide="ignore"):
            super().__init__(np.log(rows), weights)

    def bounds(self, a: slice, b: slice) -> Float64[np.ndarray, "k m"]:
        """Lower bounds of the costs of slots ``a`` with slots ``b``; nats."""
        return pool_bound(self._squared(a, b), self.weights[a, None], self.weights[None, b])

    def _cheap(self, a: int | np.ndarray, b: np.ndarray, total: np.ndarray) -> np.ndarray:
        share = (self.weights[a] / total)[:, None]
        mixed = self._gather(self.rows, b, 0)
        mixed *= 1 - share
        other = self._work[1, : len(b)]
        mixed += np.multiply(
            share, self._gather(self.rows, a, 1) if isinstance(a, np.ndarray) else self.rows[a], out=other
        )
        with np.errstate(divide="ignore"):
            return -total * np.log(np.exp(mixed, out=mixed).sum(axis=1))

    def _accurate(self, a: int | np.ndarray, b: np.ndarray) -> np.ndarray:
        return pool_cost(self.rows[a], self.weights[a], self.rows[b], self.weights[b])

    def _merge_rows(self, a: int, b: int, share: float) -> None:
        finite = np.isfinite(self.rows[a]) & np.isfinite(self.rows[b])
        step = np.subtract(self.rows[b], self.rows[a], out=np.full(finite.shape, -np.inf), where=finite)
        pooled = self.rows[a] + share * step
        self.rows[a] = pooled - np.log(np.exp(pooled).sum())

    def _roots(self, a: int | slice) -> np.ndarray:
        return np.exp(self.rows[a] / 2)
