"""Null models and the statistics of a comparison with them.

A trend is reported as value, null, difference and interval. Two sources of variation enter the interval: prompts, and the
seeds of the null. Leaving the seeds out gives 86% false positives where their spread is twice that of the prompts.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int
from scipy import special
from torch import Tensor

from rgprobe.probe.prompts import EncodedPrompt
from rgprobe.student import t_quantile

__all__ = [
    "Comparison",
    "benjamini_hochberg",
    "compare_with_draws",
    "compare_with_seeds",
    "mean_over",
    "shuffle_tokens",
    "variance_over",
]

MINIMUM_SEEDS = 5
MINIMUM_PROMPTS = 20
# relative, of sums over layers and tokens in float64
ROUNDING = 1e-12


@dataclass(frozen=True)
class _Sampling:
    """By how much a mean difference would vary from sample to sample, elementwise over (...) entries.

    Attributes:
        variance: squared standard error of the difference.
        freedom: degrees of freedom of that estimate.
        constant: where what the variance is estimated from does not vary at all, and Student's t has nothing to say.
        p_constant: two-sided p-value there, of a difference that is not zero; NaN where nothing can be said of it.
    """

    variance: Float64[np.ndarray, "..."]
    freedom: Int[np.ndarray, "..."]
    constant: Bool[np.ndarray, "..."]
    p_constant: Float64[np.ndarray, "..."]


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
        total, undecided = seed_variance + np.nan_to_num(prompt_variance), np.full(seeds.shape, np.nan)
        sampling = _Sampling(total, seeds - 1, constant=seed_variance == 0, p_constant=undecided)
    else:
        carries = "prompts" if value.shape[0] > 1 else "nothing"
        sampling = _over_prompts(prompt_variance, prompts)
    return _student_comparison(
        null=mean_over(means, 0),
        spread=np.sqrt(seed_variance),
        band_freedom=seeds - 1,
        difference=mean_over(paired, 0),
        sampling=sampling,
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
    return _student_comparison(
        null=mean_over(null_by_prompt, 0),
        spread=np.sqrt(variance_over(null_by_prompt) / counted),
        band_freedom=prompts - 1,
        difference=mean_over(paired, 0),
        sampling=_over_prompts(variance_over(paired) / counted, prompts),
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


def shuffle_tokens(prompt: EncodedPrompt, *, seed: int, fixed: frozenset[int] = frozenset()) -> Tensor:
    """The prompt's ids in random order; tokens of the `fixed` ids (BOS, CLS, SEP) stay where they are.

    The first token is held in place too, so that the sink keeps its content and only the order of the rest changes.
    """
    generator = torch.Generator().manual_seed(seed)
    ids = prompt.ids.clone()
    movable = torch.tensor([i > 0 and int(token) not in fixed for i, token in enumerate(ids)])
    places = movable.nonzero()[:, 0]
    ids[places] = ids[places[torch.randperm(len(places), generator=generator)]]
    return ids


def _over_prompts(variance: np.ndarray, prompts: np.ndarray) -> _Sampling:
    """Sampling of a mean over independent prompts: where all differ by one number, only its sign tests anything."""
    return _Sampling(variance, prompts - 1, constant=variance == 0, p_constant=_sign_test(prompts))


def _student_comparison(
    *,
    null: np.ndarray,
    spread: np.ndarray,
    band_freedom: np.ndarray,
    difference: np.ndarray,
    sampling: _Sampling,
    sufficient: np.ndarray,
    carries: str,
) -> Comparison:
    """Student's interval and test of a mean difference.

    Args:
        null, difference, sufficient, carries: as `Comparison` has them.
        spread: standard error of the null, from which its band is made.
        band_freedom: degrees of freedom of `spread`.
        sampling: how the difference varies.
    """
    error = np.sqrt(sampling.variance)
    freedom = np.maximum(sampling.freedom, 1)
    half = t_quantile(freedom) * error
    band = t_quantile(band_freedom) * spread
    # what differs by rounding is equal, however little it varies
    equal = np.abs(difference) <= ROUNDING * np.maximum(np.abs(null), np.abs(null + difference))
    with np.errstate(divide="ignore", invalid="ignore"):
        p_spread = 2 * special.stdtr(freedom, -np.abs(difference) / error)
    p_value = np.where(equal, 1.0, np.where(sampling.constant, sampling.p_constant, p_spread))
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
    """Two-sided sign test: the chance that so many differences all have one sign."""
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
