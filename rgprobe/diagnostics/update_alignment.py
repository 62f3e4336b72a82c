r"""D23: do updates of attention scores follow the gradient, or the natural gradient?

A row alpha = softmax(s) and what the loss would do if its weights could be moved freely, v = dL/d alpha, give

    gradient          g = dL/ds = F v,   F = diag(alpha) - alpha alpha^T,
    natural gradient  n = F^+ g = v - mean(v):

the natural gradient in the scores is the plain gradient in the weights, because F is also the map from a change of scores to
a change of weights. With d = s' - s (rows centred, since a shift of the scores changes nothing) an update has the cosines

    plain = cos(d, -g),   natural = cos(d, -n),   between = cos(g, n).

**What the claim predicts.** At infinite temperature F is 1/n on what sums to zero, g and n are parallel, and no update can
follow one without the other. As a row condenses they part. For read-outs v that know nothing of the weights

    between ~ tr F / sqrt((n - 1) tr F^2),

a ratio of expectations, which for many keys with Gaussian scores of deviation beta is exp(-beta^2 / 2). An update along -g
that is disturbed in directions of no preference has natural = plain x between; one along -n has plain = natural x between. So

    excess = natural - plain x between

is 0 for gradient descent in the scores however noisy, and above 0 where updates know of the geometry of the row.

Null: a random direction of equal norm has cosines of mean 0 and variance 1 / (n - 1); the update of the same row of another
text keeps what all texts share, such as the position of the row.

Sources: S. Amari, Neural Computation 10, 251 (1998), natural gradient; that F^+ dL/ds is dL/d alpha up to a constant is the
duality of an exponential family's natural and mean parameters; the ratio above is elementary.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from rgprobe.errors import NumericalRefusal

__all__ = ["UpdateAlignment", "expected_between", "random_cosines", "update_alignment"]


@dataclass(frozen=True, eq=False)
class UpdateAlignment:
    """Cosines of each row; NaN where a row sees fewer than 3 keys, or one of the two directions vanishes.

    Attributes:
        plain: of the update with minus the gradient.
        natural: of the update with minus the natural gradient.
        between: of the gradient with the natural gradient.
    """

    plain: Float64[np.ndarray, "*rows"]
    natural: Float64[np.ndarray, "*rows"]
    between: Float64[np.ndarray, "*rows"]

    @property
    def excess(self) -> Float64[np.ndarray, "*rows"]:
        """natural - plain x between: 0 for noisy gradient descent in the scores."""
        return np.asarray(self.natural - self.plain * self.between)


def update_alignment(
    weights: Float64[np.ndarray, "*rows keys"],
    slopes: Float64[np.ndarray, "*rows keys"],
    updated: Float64[np.ndarray, "*rows keys"],
    *,
    seen: Bool[np.ndarray, "*#rows keys"] | None = None,
) -> UpdateAlignment:
    """Cosines of an update of attention rows with the gradient and with the natural gradient of their scores.

    Args:
        weights: rows before the update, which sum to 1.
        slopes: v = dL/d alpha at these weights, nats; an additive constant per row is of no consequence.
        updated: the same rows after the update. Scores are ln alpha; a weight that underflowed counts as the smallest normal
            number of float32.
        seen: which keys a row sees; all by default.

    Raises:
        NumericalRefusal: weights that are negative or not finite, or rows that do not sum to 1 over the keys seen.

    Example:
        >>> weights = np.array([0.7, 0.2, 0.1])
        >>> slopes = np.array([0.0, 1.0, 0.0])
        >>> step = np.log(weights) - 0.1 * (slopes - slopes.mean())  # a natural step
        >>> found = update_alignment(weights, slopes, np.exp(step) / np.exp(step).sum())
        >>> found.natural.round(6), found.plain.round(2), found.between.round(2)
        (np.float64(1.0), np.float64(0.92), np.float64(0.92))
    """
    mask = np.broadcast_to(np.ones(1, bool) if seen is None else seen, weights.shape)
    for name, rows in (("weights", weights), ("updated", updated)):
        _require_rows(name, rows, mask)
    tiny = float(np.finfo(np.float32).tiny)
    moved = np.log(np.maximum(updated, tiny)) - np.log(np.maximum(weights, tiny))
    here = np.where(mask, weights, 0.0)
    gradient = here * (slopes - (here * slopes).sum(-1, keepdims=True))
    return UpdateAlignment(
        _cosine(moved, -gradient, mask), _cosine(moved, -slopes, mask), _cosine(gradient, slopes, mask)
    )


def expected_between(
    weights: Float64[np.ndarray, "*rows keys"], *, seen: Bool[np.ndarray, "*#rows keys"] | None = None
) -> Float64[np.ndarray, "*rows"]:
    """tr F / sqrt((n - 1) tr F^2): the cosine between gradient and natural gradient for read-outs unrelated to the weights.

    Args:
        weights: rows that sum to 1.
        seen: which keys a row sees; all by default.

    Example:
        >>> expected_between(np.array([[0.2] * 5, [0.96, 0.01, 0.01, 0.01, 0.01]])).round(3)
        array([1.   , 0.764])
    """
    mask = np.broadcast_to(np.ones(1, bool) if seen is None else seen, weights.shape)
    here = np.where(mask, weights, 0.0)
    keys = mask.sum(-1)
    # sums of alpha (1 - alpha) and alpha^2 (1 - alpha)^2: a condensed row would lose its digits in 1 - sum alpha^2
    free = here * (1 - here)
    squares = (here**2).sum(-1, keepdims=True)
    overlap = (free**2).sum(-1) + (here**2 * (squares - here**2)).sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(keys >= 3, free.sum(-1) / np.sqrt((keys - 1) * overlap), np.nan)


def random_cosines(keys: int, draws: int, *, seed: int = 0) -> Float64[np.ndarray, " draws"]:
    """Cosines of random directions with any fixed one among those that sum to zero: mean 0, variance 1 / (keys - 1).

    Example:
        >>> drawn = random_cosines(17, 20_000)
        >>> abs(float(drawn.mean())) < 0.01, round(float(drawn.var() * 16), 1)
        (True, 1.0)
    """
    drawn = np.random.default_rng(seed).standard_normal((draws, keys - 1))
    return drawn[:, 0] / np.linalg.norm(drawn, axis=1)


def _cosine(
    a: Float64[np.ndarray, "*rows keys"], b: Float64[np.ndarray, "*rows keys"], seen: Bool[np.ndarray, "*rows keys"]
) -> Float64[np.ndarray, "*rows"]:
    """Cosine of the parts that sum to zero over the keys seen; NaN below 3 keys, where there is but one direction."""
    keys = seen.sum(-1, keepdims=True)
    a, b = (np.where(seen, each, 0.0) for each in (a, b))
    a, b = (np.where(seen, each - each.sum(-1, keepdims=True) / np.maximum(keys, 1), 0.0) for each in (a, b))
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    defined = (keys[..., 0] >= 3) & (lengths > 0)
    return np.where(defined, (a * b).sum(-1) / np.where(defined, lengths, 1.0), np.nan)


def _require_rows(name: str, rows: Float64[np.ndarray, "*rows keys"], seen: Bool[np.ndarray, "*rows keys"]) -> None:
    here = np.where(seen, rows, 0.0)
    if not np.isfinite(here).all() or (here < 0).any() or (np.abs(here.sum(-1) - 1) > 1e-3).any():
        sums = here.sum(-1)
        raise NumericalRefusal(name, expected="rows of weights >= 0 that sum to 1 over the keys seen",
                               received=f"weights from {here.min():.3g}, sums from {sums.min():.3g} to {sums.max():.3g}",
                               remedy="pass attention after the softmax, and the keys that each row sees")  # fmt: skip
