"""Null models and the statistics of a comparison with them.

A trend is reported as value, null, difference and interval. Two sources of variation enter the interval: prompts, and the
seeds of the null. Leaving the seeds out gives 86% false positives where their spread is twice that of the prompts.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float64
from scipy import special
from torch import Tensor

from rgprobe.probe.prompts import EncodedPrompt

__all__ = [
    "Comparison",
    "benjamini_hochberg",
    "bootstrap_interval",
    "compare_with_draws",
    "compare_with_seeds",
    "mean_over",
    "shuffle_tokens",
    "variance_over",
]

CONFIDENCE = 0.95
MINIMUM_SEEDS = 5
MINIMUM_PROMPTS = 20
# relative, of sums over layers and tokens in float64
ROUNDING = 1e-12
# a bootstrap of fewer prompts covers too little: 72% of 95% at three, 87% at four
FEWEST_TO_RESAMPLE = 8


@dataclass(frozen=True)
class Comparison:
    """A value against a null, elementwise over (...) entries.

    Attributes:
        null: mean of the null over the prompts where the value is defined too.
        null_low, null_high: 95% band: where one more random initialisation would fall; for nulls that are drawn for each
            prompt on its own, the interval of the null's mean over prompts.
        difference: mean over those prompts of value - null.
        low, high: 95% interval of the difference.
        p_value: two-sided. NaN where seeds do not differ at all: then nothing says how far one more would fall.
        sufficient: whether there are enough seeds and prompts for a verdict, where the quantity is defined.
        carries: which variance the interval carries: "prompts and seeds", "prompts", "seeds" or "nothing".
    """

    null: Float64[np.ndarray, "..."]
    null_low: Float64[np.ndarray, "..."]
    null_high: Float64[np.ndarray, "..."]
    difference: Float64[np.ndarray, "..."]
    low: Float64[np.ndarray, "..."]
    high: Float64[np.ndarray, "..."]
    p_value: Float64[np.ndarray, "..."]
    sufficient: Bool[np.ndarray, "..."]
    carries: str


def compare_with_seeds(
    value: Float64[np.ndarray, "prompts *entries"], null: Float64[np.ndarray, "seeds prompts *entries"]
) -> Comparison:
    """One checkpoint against S random initialisations, over the same P prompts.

    Under the null hypothesis the checkpoint is one more draw of the initialiser. So with D_p the paired differences and
    m_s the prompt means of the seeds,

        se^2 = Var_s(m_s) (1 + 1/S) + Var_p(D_p) / P,     t with S - 1 degrees of freedom:

    the 1 is the spread of the checkpoint itself, which no number of prompts or seeds averages away. S and P are counted
    entry by entry, over what is defined; a prompt counts where both the checkpoint and the null are.

    Source: Welch-type prediction interval for a crossed design with random seeds and prompts; conservative, because the
    seed-prompt interaction enters both terms.
    """
    several = null.shape[0] > 1
    paired = value - mean_over(null, 0)
    defined = np.isfinite(paired)
    prompts = defined.sum(0)
    means = mean_over(np.where(defined, null, np.nan), 1)
    seeds = np.isfinite(means).sum(0)
    seed_variance = variance_over(means) * (1 + 1 / np.maximum(seeds, 1))
    prompt_variance = variance_over(paired) / np.maximum(prompts, 1)
    if several:
        carries = "prompts and seeds" if value.shape[0] > 1 else "seeds"
        variance, freedom = seed_variance + np.nan_to_num(prompt_variance), seeds - 1
        constant, p_constant = seed_variance == 0, np.full(seeds.shape, np.nan)
    else:
        carries = "prompts" if value.shape[0] > 1 else "nothing"
        variance, freedom = prompt_variance, prompts - 1
        constant, p_constant = prompt_variance == 0, _sign_test(prompts)
    return _comparison(
        null=mean_over(means, 0),
        spread=np.sqrt(seed_variance),
        band_freedom=seeds - 1,
        difference=mean_over(paired, 0),
        variance=variance,
        freedom=freedom,
        constant=constant,
        p_constant=p_constant,
        sufficient=(seeds >= MINIMUM_SEEDS) & (prompts >= MINIMUM_PROMPTS),
        carries=carries,
    )


def compare_with_draws(
    value: Float64[np.ndarray, "prompts *entries"], null: Float64[np.ndarray, "draws prompts *entries"]
) -> Comparison:
    """Prompts against null draws made independently for each prompt: shuffled tokens, random partitions.

    No seed is shared between prompts, so the paired differences D_p = value_p - mean_k null_kp are independent and a
    t interval over prompts, P - 1 degrees of freedom, carries all the variance there is. P counts, entry by entry, the
    prompts where both are defined.
    """
    null_by_prompt = mean_over(null, 0)
    paired = value - null_by_prompt
    null_by_prompt = np.where(np.isfinite(paired), null_by_prompt, np.nan)
    prompts = np.isfinite(paired).sum(0)
    counted = np.maximum(prompts, 1)
    variance = variance_over(paired) / counted
    return _comparison(
        null=mean_over(null_by_prompt, 0),
        spread=np.sqrt(variance_over(null_by_prompt) / counted),
        band_freedom=prompts - 1,
        difference=mean_over(paired, 0),
        variance=variance,
        freedom=prompts - 1,
        constant=variance == 0,
        p_constant=_sign_test(prompts),
        sufficient=prompts >= MINIMUM_PROMPTS,
        carries="prompts" if value.shape[0] > 1 else "nothing",
    )


def benjamini_hochberg(p_values: Float64[np.ndarray, "*tests"], *, rate: float = 0.05) -> Bool[np.ndarray, "*tests"]:
    """Which tests stay significant at a false-discovery rate; NaN is never significant.

    Source: Benjamini and Hochberg (1995).

    Example:
        >>> benjamini_hochberg(np.array([0.001, 0.02, 0.5, np.nan])).tolist()
        [True, True, False, False]
    """
    flat = p_values.ravel()
    tested = np.isfinite(flat)
    significant = np.zeros(flat.shape, dtype=bool)
    if tested.any():
        from scipy.stats import false_discovery_control  # half a second to import

        significant[tested] = false_discovery_control(flat[tested]) <= rate
    return significant.reshape(p_values.shape)


def bootstrap_interval(
    value: Float64[np.ndarray, "prompts *entries"], *, seed: int, resamples: int = 1000
) -> tuple[Float64[np.ndarray, "*entries"], Float64[np.ndarray, "*entries"]]:
    """95% BCa interval of the mean over prompts, for all entries at once; NaN with fewer than three defined prompts.

    Prompts are resampled whole, never tokens, among those where the entry is defined; entries with as many of them share
    their resamples. A bootstrap takes the n - 1 degrees of freedom of n prompts for n and the Gaussian for Student's t; its
    levels are moved out until an interval for Gaussian data is Student's: z becomes t_(n-1) sqrt(n / (n - 1)). With fewer
    than eight prompts the interval is Student's.

    Source: Efron (1987), bias-corrected and accelerated, the acceleration from the jackknife; Hesterberg (2015) for the levels.
    """
    flat = value.reshape(value.shape[0], -1)
    missing = ~np.isfinite(flat)
    count = (~missing).sum(0)
    # defined prompts first, in their order
    sorted_values = np.take_along_axis(flat, np.argsort(missing, axis=0, kind="stable"), axis=0)
    low, high = np.full((2, flat.shape[1]), np.nan)
    for n in np.unique(count[count >= 3]):
        entries = count == n
        interval = _student if n < FEWEST_TO_RESAMPLE else partial(_accelerated, seed=seed, resamples=resamples)
        low[entries], high[entries] = interval(sorted_values[:n, entries])
    return low.reshape(value.shape[1:]), high.reshape(value.shape[1:])


def _student(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends of Student's interval of the mean, (prompts, entries), all defined."""
    n = len(values)
    half = special.stdtrit(n - 1, (1 + CONFIDENCE) / 2) * values.std(0, ddof=1) / np.sqrt(n)
    return values.mean(0) - half, values.mean(0) + half


def _accelerated(values: np.ndarray, *, seed: int, resamples: int) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the bootstrap interval of the mean, (prompts, entries), all defined."""
    n = len(values)
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    means = np.sort(weights @ values / n, axis=0)
    mean = values.mean(0)
    below = (means < mean).sum(0) + 0.5 * (means == mean).sum(0)
    bias = special.ndtri(np.clip(below / resamples, 1 / resamples, 1 - 1 / resamples))
    deviations = mean - values  # proportional to the leave-one-out deviations of a mean
    with np.errstate(invalid="ignore", divide="ignore"):
        skew = (deviations**3).sum(0) / (6 * (deviations**2).sum(0) ** 1.5)
    acceleration = np.nan_to_num(-skew)
    outward = special.stdtrit(n - 1, (1 + CONFIDENCE) / 2) * np.sqrt(n / (n - 1))
    low, high = (
        _quantile_of_sorted(means, special.ndtr(bias + z / (1 - acceleration * z)))
        for z in (bias - outward, bias + outward)
    )
    return low, high


def shuffle_tokens(prompt: EncodedPrompt, *, seed: int, special: frozenset[int] = frozenset()) -> Tensor:
    """The prompt's ids in random order; special tokens (BOS, CLS, SEP) stay where they are.

    The first token is held in place too, so that the sink keeps its content and only the order of the rest changes.
    """
    generator = torch.Generator().manual_seed(seed)
    ids = prompt.ids.clone()
    movable = torch.tensor([i > 0 and int(token) not in special for i, token in enumerate(ids)])
    places = movable.nonzero()[:, 0]
    ids[places] = ids[places[torch.randperm(len(places), generator=generator)]]
    return ids


def _comparison(
    *,
    null: np.ndarray,
    spread: np.ndarray,
    band_freedom: np.ndarray,
    difference: np.ndarray,
    variance: np.ndarray,
    freedom: np.ndarray,
    constant: np.ndarray,
    p_constant: np.ndarray,
    sufficient: np.ndarray,
    carries: str,
) -> Comparison:
    """`constant`: where what a difference is measured by does not vary at all; the p-value of an unequal one there."""
    error = np.sqrt(variance)
    freedom = np.maximum(freedom, 1)
    half = special.stdtrit(freedom, (1 + CONFIDENCE) / 2) * error
    band = special.stdtrit(np.maximum(band_freedom, 1), (1 + CONFIDENCE) / 2) * spread
    # what differs by rounding is equal, however little it varies
    equal = np.abs(difference) <= ROUNDING * np.maximum(np.abs(null), np.abs(null + difference))
    with np.errstate(divide="ignore", invalid="ignore"):
        p_spread = 2 * special.stdtr(freedom, -np.abs(difference) / error)
    p_value = np.where(equal, 1.0, np.where(constant, p_constant, p_spread))
    p_value = np.where(np.isfinite(error) & np.isfinite(difference), p_value, np.nan)
    return Comparison(
        null=null,
        null_low=null - band,
        null_high=null + band,
        difference=difference,
        low=difference - half,
        high=difference + half,
        p_value=p_value,
        sufficient=sufficient,
        carries=carries,
    )


def _sign_test(count: np.ndarray) -> np.ndarray:
    """Of so many equal differences: the chance that all have one sign, two-sided."""
    return np.minimum(2.0 ** (1 - count), 1.0)


def mean_over(values: np.ndarray, axis: int) -> np.ndarray:
    """Mean along an axis over what is defined; NaN where nothing is."""
    with _all_nan_is_fine():
        return np.nanmean(values, axis=axis)


def variance_over(values: np.ndarray) -> np.ndarray:
    """Unbiased variance along the first axis; NaN where fewer than two values are finite."""
    if values.shape[0] < 2:
        return np.full(values.shape[1:], np.nan)
    with _all_nan_is_fine():
        return np.nanvar(values, axis=0, ddof=1)


@contextlib.contextmanager
def _all_nan_is_fine() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Mean of empty slice|Degrees of freedom <= 0", category=RuntimeWarning
        )
        yield


def _quantile_of_sorted(ordered: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Quantile per column at a level per column."""
    position = np.clip(np.nan_to_num(level, nan=0.5), 0, 1) * (len(ordered) - 1)
    lower = np.floor(position).astype(int)
    upper = np.minimum(lower + 1, len(ordered) - 1)
    columns = np.arange(ordered.shape[1])
    part = position - lower
    return ordered[lower, columns] * (1 - part) + ordered[upper, columns] * part
