"""Numbers that exist for a set of prompts only, not for one: their jackknife over prompts.

A correlation with the position mean taken out, a decay length or a spectrum is fitted to all prompts together. Prompts
are the independent samples, so each such number t has P delete-one copies t_(-p), and

    v_p = t - (P - 1) (t_(-p) - mean_p t_(-p))

are the jackknife's pseudo-values about the estimate: their mean is t, and their variance over P is the jackknife variance of
t. They are what these diagnostics report per prompt, so that intervals and tests over prompts hold for them too.

Source: Tukey (1958); Efron and Stein, Annals of Statistics 9, 586 (1981).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float, Float64, Int

from rgprobe.tracing import BeliefTrace

__all__ = [
    "MINIMUM_POOLED",
    "Estimates",
    "Window",
    "common_window",
    "recorded_points",
    "spread_over_prompts",
    "sums_by_prompt",
    "undefined",
]

MINIMUM_POOLED = 5  # prompts below which nothing is pooled


@dataclass(frozen=True, eq=False)
class Estimates:
    """A number, or an array of them, from all prompts and from all but one.

    Attributes:
        full: from all prompts.
        deleted: without prompt 0, 1, ...
    """

    full: Float64[np.ndarray, "*shape"]
    deleted: Float64[np.ndarray, "prompts *shape"]

    def pseudo_values(self, *, unbiased: bool = False) -> Float64[np.ndarray, "prompts *shape"]:
        """v_p, whose mean is the estimate.

        Args:
            unbiased: take out the bias of order 1/P as well: P t - (P - 1) t_(-p), whose mean is the jackknife estimate.
                For what is biased at few prompts, such as information; it costs variance.

        Example:
            >>> x = np.array([1.0, 2.0, 6.0])
            >>> mean = Estimates(np.asarray(x.mean()), (x.sum() - x) / 2)
            >>> mean.pseudo_values(), mean.pseudo_values(unbiased=True)
            (array([1., 2., 6.]), array([1., 2., 6.]))
        """
        centre = self.full if unbiased else self.deleted.mean(0)
        return self.full - (len(self.deleted) - 1) * (self.deleted - centre)

    @property
    def standard_error(self) -> Float64[np.ndarray, "*shape"]:
        """Jackknife standard error: sqrt((P - 1) / P sum_p (t_(-p) - mean)^2)."""
        return np.asarray(np.sqrt((len(self.deleted) - 1) * self.deleted.var(0)))


@dataclass(frozen=True, eq=False)
class Window:
    """Sketches of the prompts that are long enough, cut to one length, so that positions line up.

    Attributes:
        prompts: which ones.
        states: (prompt, state, site, coordinate).
    """

    prompts: Int[np.ndarray, "kept"]
    states: Float[np.ndarray, "kept state site coordinate"]


def common_window(trace: BeliefTrace) -> Window | None:
    """The length T that keeps the most tokens, T times the number of prompts with T or more; None if too few prompts have one.

    At least `MINIMUM_POOLED` prompts are kept; shorter ones are left out.
    """
    sketches = trace.sketches.values
    lengths = np.isfinite(sketches[:, 0, :, 0]).sum(1)
    candidates = np.sort(lengths)[::-1][MINIMUM_POOLED - 1 :]
    if candidates.size == 0 or candidates[0] == 0:
        return None
    length = candidates[np.argmax(candidates * (np.arange(candidates.size) + MINIMUM_POOLED))]
    kept = np.flatnonzero(lengths >= length)
    return Window(kept, sketches[kept][:, :, :length])


def spread_over_prompts(
    values: Float64[np.ndarray, "kept *shape"], kept: Int[np.ndarray, "kept"], prompts: int
) -> Float64[np.ndarray, "prompts *shape"]:
    """Pseudo-values of the prompts that took part; NaN for the others."""
    out = np.full((prompts, *values.shape[1:]), np.nan)
    out[kept] = values
    return out


def undefined(trace: BeliefTrace, names: tuple[str, ...], depth: str, depths: int) -> xr.Dataset:
    """All quantities NaN: too few prompts to pool."""
    nothing = np.full((trace.n_prompts, depths), np.nan)
    return xr.Dataset({name: (("prompt", depth), nothing.copy()) for name in names})


def recorded_points(
    trace: BeliefTrace, state: int
) -> tuple[Float64[np.ndarray, "point width"], Int[np.ndarray, "point"]]:
    """States of the recorded tokens of all prompts, normalised to length 1, and the prompt that each belongs to."""
    states = trace.states.values[:, state].astype(np.float64)
    present = trace.positions >= 0
    points = states[present]
    return points / np.linalg.norm(points, axis=-1, keepdims=True), np.nonzero(present)[0]


def sums_by_prompt(
    values: Float64[np.ndarray, "point *shape"], owner: Int[np.ndarray, "point"], prompts: int
) -> Float64[np.ndarray, "prompts *shape"]:
    """Sum over the points of each prompt.

    Example:
        >>> sums_by_prompt(np.array([1.0, 2.0, 4.0]), np.array([0, 2, 2]), 3)
        array([1., 0., 6.])
    """
    out = np.zeros((prompts, *values.shape[1:]))
    np.add.at(out, owner, values)
    return out
