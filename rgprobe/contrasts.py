"""Statistics of a comparison between two runs on the same prompts.

Which variance an interval carries decides what it speaks about. Prompts alone: these two checkpoints. Prompts and the seeds
of their random initialisations: whether training set these two apart by more than two initialisations would be. Training
seeds: the two families.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64
from scipy import special

from rgprobe.nulls import MINIMUM_PROMPTS, MINIMUM_SEEDS, mean_over, variance_over
from rgprobe.student import t_quantile

__all__ = [
    "MINIMUM_CHECKPOINTS",
    "Contrast",
    "Excess",
    "excess_contrast",
    "group_contrast",
    "paired_contrast",
    "prediction_band",
    "same_seeds",
]

MINIMUM_CHECKPOINTS = 3  # of each family; with two, a t interval is a dozen standard errors wide
Component = tuple[np.ndarray, np.ndarray]  # variance of one source, and its degrees of freedom


@dataclass(frozen=True)
class Contrast:
    """Second run minus first run, elementwise over (...) entries.

    Attributes:
        difference: mean of second - first.
        low, high: 95% interval of the difference.
        p_value: two-sided; NaN where there is no variance to test against: a single prompt, or an exact difference.
        sufficient: whether there are enough prompts, seeds or checkpoints for a verdict.
        exact: whether the difference is the same to the last digit at every prompt, or checkpoint, as that of two
            parameters is: nothing is left to test, and a p-value of 0 would loosen the tests of its family.
        carries: which variance the interval carries.
    """

    difference: Float64[np.ndarray, "..."]
    low: Float64[np.ndarray, "..."]
    high: Float64[np.ndarray, "..."]
    p_value: Float64[np.ndarray, "..."]
    sufficient: Bool[np.ndarray, "..."]
    exact: Bool[np.ndarray, "..."]
    carries: str

    @property
    def equal(self) -> Bool[np.ndarray, "..."]:
        """Where the two runs agree to the last digit."""
        return self.exact & (self.difference == 0)


@dataclass(frozen=True)
class Excess:
    """One run beyond its own null model.

    Attributes:
        by_prompt: value minus the mean of the null draws, (prompts, ...).
        by_seed: prompt means of the null, (seeds, ...), where one draw serves all prompts; else None.
    """

    by_prompt: Float64[np.ndarray, "prompts *entries"]
    by_seed: Float64[np.ndarray, "seeds *entries"] | None = None


def paired_contrast(
    first: Float64[np.ndarray, "prompts *entries"], second: Float64[np.ndarray, "prompts *entries"]
) -> Contrast:
    """Two checkpoints over the same P prompts: a t interval of the paired differences D_p, P - 1 degrees of freedom.

    What makes a prompt hard for both cancels. The interval speaks about other prompts, and about these two checkpoints.

    Example:
        >>> first, second = np.array([[1.0], [2.0], [4.0]]), np.array([[2.0], [4.0], [5.0]])
        >>> contrast = paired_contrast(first, second)
        >>> contrast.difference.round(3).tolist(), contrast.low.round(3).tolist(), contrast.high.round(3).tolist()
        ([1.333], [-0.101], [2.768])
    """
    paired = second - first
    prompts, component = _over_prompts(paired)
    enough = prompts >= MINIMUM_PROMPTS
    return _contrast(mean_over(paired, 0), [component], enough, exact=_constant(paired), carries="prompts")


def excess_contrast(first: Excess, second: Excess) -> Contrast:
    """Excess of the second run over its null, minus excess of the first over its own.

    Where each null is one draw for all prompts (a random initialisation), both checkpoints count as further draws of their
    initialisers, as in `rgprobe.nulls.compare_with_seeds`. With E_p the paired difference of the excesses and m_s the
    prompt means of the null seeds of each run,

        se^2 = Var_p(E_p) / P + sum over runs of Var_s(m_s) (1 + 1/S),    t, Welch-Satterthwaite degrees of freedom.

    So a difference says more than that the checkpoints differ: by more than two random initialisations of these
    architectures would. If both runs share the null (one architecture, the same seeds), its error cancels and
    se^2 = Var_p / P + 2 Var_s. Draws made for each prompt (shuffles, partitions) leave Var_p / P alone.
    """
    paired = second.by_prompt - first.by_prompt
    prompts, component = _over_prompts(paired)
    sufficient, exact = prompts >= MINIMUM_PROMPTS, _constant(paired)
    difference = mean_over(paired, 0)
    if first.by_seed is None or second.by_seed is None:
        return _contrast(difference, [component], sufficient, exact=exact, carries="prompts")
    components, counts = [component], [_count(first.by_seed), _count(second.by_seed)]
    if same_seeds(first.by_seed, second.by_seed):
        # one checkpoint twice is one draw, not two
        exact &= difference == 0
        components.append((np.where(exact, 0.0, 2 * variance_over(first.by_seed)), counts[0] - 1))
    else:
        exact = np.zeros_like(exact)
        components += [
            (variance_over(one.by_seed) * (1 + 1 / np.maximum(count, 1)), count - 1)
            for one, count in zip((first, second), counts, strict=True)
            if one.by_seed is not None
        ]
    enough = sufficient & (np.minimum(*counts) >= MINIMUM_SEEDS)
    carries = "prompts and seeds of the random initialisations"
    return _contrast(difference, components, enough, exact=exact, carries=carries)


def group_contrast(
    first: Float64[np.ndarray, "checkpoints_a *entries"],
    second: Float64[np.ndarray, "checkpoints_b *entries"],
    *,
    nulls: Sequence[Float64[np.ndarray, "seeds *entries"]] = (),
) -> Contrast:
    """Two families by the prompt means of several independently trained checkpoints of each: Welch's t over checkpoints.

    Args:
        first, second: a prompt mean per checkpoint.
        nulls: prompt means of null seeds whose mean was subtracted from all checkpoints of a family; checkpoints share
            the error of that mean, so Var_s / S is added.

    Source: Welch (1947); degrees of freedom by Satterthwaite (1946).
    """
    counts = [_count(first), _count(second)]
    components = [
        (variance_over(values) / np.maximum(count, 1), count - 1)
        for values, count in [(first, counts[0]), (second, counts[1]), *((null, _count(null)) for null in nulls)]
    ]
    sufficient = np.minimum(*counts) >= MINIMUM_CHECKPOINTS
    difference = mean_over(second, 0) - mean_over(first, 0)
    exact = np.stack([variance for variance, _ in components]).sum(0) == 0
    return _contrast(difference, components, sufficient, exact=exact, carries="training seeds")


def prediction_band(by_seed: Float64[np.ndarray, "seeds *entries"]) -> tuple[np.ndarray, np.ndarray]:
    """Where one more draw of a null would fall: mean -+ t sqrt(Var_s (1 + 1/S)), 95%."""
    count = _count(by_seed)
    half = t_quantile(count - 1) * np.sqrt(variance_over(by_seed) * (1 + 1 / np.maximum(count, 1)))
    centre = mean_over(by_seed, 0)
    return centre - half, centre + half


def same_seeds(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two runs were compared with the very same random initialisations."""
    return first.shape == second.shape and bool(np.array_equal(first, second, equal_nan=True))


def _over_prompts(paired: np.ndarray) -> tuple[np.ndarray, Component]:
    prompts = _count(paired)
    variance = np.where(_constant(paired) & (prompts > 1), 0.0, variance_over(paired))
    return prompts, (variance / np.maximum(prompts, 1), prompts - 1)


def _constant(paired: np.ndarray) -> np.ndarray:
    """Whether all prompts have one value; a variance would be a rounding above zero."""
    defined = np.isfinite(paired)
    low, high = np.where(defined, paired, np.inf).min(0), np.where(defined, paired, -np.inf).max(0)
    return np.asarray(defined.any(0) & (low == high))


def _count(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.isfinite(values).sum(0))


def _contrast(
    difference: np.ndarray,
    components: Sequence[Component],
    sufficient: np.ndarray,
    *,
    exact: np.ndarray,
    carries: str,
) -> Contrast:
    """A t interval with the sum of independent variances; one component keeps its own degrees of freedom exactly."""
    variances = np.stack([variance for variance, _ in components])
    freedoms = np.stack([np.maximum(freedom, 1) for _, freedom in components])
    variance = variances.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        # a component without variance has no say in the degrees of freedom
        share = np.where(variance > 0, variances / variance, 0.0)
        freedom = np.where(variance > 0, 1 / (share**2 / freedoms).sum(0), 1.0)
        error = np.sqrt(variance)
        ratio = np.where(error > 0, np.abs(difference) / error, np.nan)
    half = t_quantile(freedom) * error
    p_value = 2 * special.stdtr(freedom, -ratio)
    return Contrast(difference, difference - half, difference + half, p_value, sufficient, exact, carries)
