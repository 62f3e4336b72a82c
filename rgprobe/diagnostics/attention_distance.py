"""D5: how far heads look back: mean distance, and the span of an exponential or power-law fall-off."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import xarray as xr
from jaxtyping import Float64

from rgprobe.diagnostics.pooling import Estimates, spread_over_prompts
from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity, keys_of_rows, nearest_key
from rgprobe.tracing import BeliefTrace

__all__ = ["DIAGNOSTIC", "attention_distance", "pooled_span"]

DECAY_RATES = np.concatenate([[0.0], np.geomspace(1e-4, 6.0, 240)])
EXPONENTS = np.linspace(0.0, 6.0, 241)
ROWS_OVER_SPAN = 4.0  # a decay length beyond a quarter of what the longest row sees was extrapolated, not observed


def attention_distance(trace: BeliefTrace) -> Measurement:
    """E|i - j| and two one-parameter laws fitted by maximum likelihood, compared by AIC.

    Each row is one draw from a law on the distances r that it can see, p(r) ~ exp(-rate r) or (1 + r)^-exponent: 0..n-1, or
    1..n in a model whose tokens do not see themselves.
    Both are exponential families, so the row's E_alpha[r] and E_alpha[ln(1 + r)] are sufficient: no pattern is kept.
    `power_evidence` is (AIC_exponential - AIC_power) per row, nats. The span is one of all prompts: see `pooled_span`.

    Bidirectional models see both sides: only the mean distance is reported for them.
    """
    attention = trace.attention
    distance, log_distance = attention["distance"], attention["log_distance"]
    # heads share a mask, blocks need not: a sliding window may be local to some
    keys = keys_of_rows(attention).transpose("sink", "prompt", "block", "token")
    core = ["head"]
    rate, exponent, evidence = xr.apply_ufunc(
        _fit if trace.causal else _refuse,
        distance.transpose("sink", "prompt", "block", *core),
        log_distance.transpose("sink", "prompt", "block", *core),
        keys,
        nearest_key(attention),
        input_core_dims=[core, core, ["token"], []],
        output_core_dims=[core, core, core],
        vectorize=True,
    )
    over_prompts = [["prompt"], ["prompt"]]
    longest = keys.max("token")
    span = xr.apply_ufunc(
        pooled_span, rate, longest, input_core_dims=over_prompts, output_core_dims=[["prompt"]], vectorize=True
    ).transpose(*rate.dims)
    values = {"distance": distance, "decay_rate": rate, "span": span, "exponent": exponent, "power_evidence": evidence}
    return Measurement(xr.Dataset(values))


def pooled_span(
    rate: Float64[np.ndarray, " prompts"], longest: Float64[np.ndarray, " prompts"]
) -> Float64[np.ndarray, " prompts"]:
    """The inverse of the mean decay rate, as jackknife pseudo-values over prompts: their mean is the span.

    Whether a span is within what rows can show is asked of the mean. Asked of each prompt, it would keep those whose span came
    out short: a head of span 30 on rows of 100, whose prompts differ by a quarter, would be reported as 22, from 23% of them.

    Args:
        rate: of each prompt, 1/tokens; 0 where attention does not decay, NaN for prompts that have no rate and take no part.
        longest: keys that the longest row of each prompt sees.

    Returns:
        Tokens; NaN throughout where the span exceeds a quarter of the longest row, on average over prompts, or all of the decay
        is in one prompt.

    Example:
        >>> spans = pooled_span(np.array([0.1, 0.2, np.nan, 0.3]), np.full(4, 64.0))
        >>> spans.round(2), round(float(np.nanmean(spans)), 6)
        (array([7.44, 5.44,  nan, 2.11]), 5.0)
    """
    kept = np.flatnonzero(np.isfinite(rate))
    rates, refused = rate[kept], np.full(rate.shape, np.nan)
    if kept.size == 0 or rates.mean() * longest[kept].mean() <= ROWS_OVER_SPAN:
        return refused
    if kept.size == 1:
        return np.where(np.isfinite(rate), 1 / rates.mean(), np.nan)
    others = (rates.sum() - rates) / (kept.size - 1)
    if (others <= 0).any():
        return refused
    return spread_over_prompts(Estimates(np.asarray(1 / rates.mean()), 1 / others).pseudo_values(), kept, rate.size)


def _fit(
    distance: np.ndarray, log_distance: np.ndarray, keys: np.ndarray, nearest: np.integer
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    sizes = keys[np.isfinite(keys)].astype(int)
    if sizes.size == 0:
        return _refuse(distance, log_distance, keys, nearest)
    counts = np.bincount(sizes)[1:]
    rate, log_like_exponential = _maximum_likelihood("exponential", counts, int(nearest), distance)
    exponent, log_like_power = _maximum_likelihood("power", counts, int(nearest), log_distance)
    return rate, exponent, 2 * (log_like_power - log_like_exponential)


def _maximum_likelihood(
    law: str, counts: np.ndarray, nearest: int, observed: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Parameter whose expected sufficient statistic, averaged over rows of all sizes, is the observed one.

    Args:
        law: "exponential" or "power".
        counts: number of rows that see 1, 2, ... keys.
        nearest: distance of the nearest key.
        observed: mean sufficient statistic.

    Returns:
        the parameter, and the mean log-likelihood per row there. Growth instead of decay gives the boundary, 0.
    """
    grid, expected, log_partition = _curves(law, counts.astype(np.int64).tobytes(), nearest)
    parameter = np.interp(observed, expected[::-1], grid[::-1])
    parameter = np.where(np.isfinite(observed), parameter, np.nan)
    return parameter, -parameter * observed - np.interp(parameter, grid, log_partition)


@lru_cache(maxsize=64)
def _curves(law: str, counts: bytes, nearest: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parameters, and the expected statistic and log-partition function of a law at each, averaged over rows."""
    rows = np.frombuffer(counts, dtype=np.int64)
    share = rows / rows.sum()
    r = nearest + np.arange(len(rows), dtype=float)
    grid, statistic = (DECAY_RATES, r) if law == "exponential" else (EXPONENTS, np.log1p(r))
    weights = np.exp(-np.outer(grid, statistic))
    partition = np.cumsum(weights, 1)
    return grid, (np.cumsum(weights * statistic, 1) / partition) @ share, np.log(partition) @ share


def _refuse(
    distance: np.ndarray, log_distance: np.ndarray, keys: np.ndarray, nearest: np.integer
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    nothing = np.full_like(distance, np.nan)
    return nothing, nothing.copy(), nothing.copy()


DIAGNOSTIC = Diagnostic(
    name="attention_distance",
    catalogue="D5",
    title="Attention distance and span",
    depth="block",
    quantities=(
        Quantity("distance", "tokens", "E|i - j| under the attention weights"),
        Quantity(
            "decay_rate",
            "1/tokens",
            "decay rate of the exponential law that fits best; 0 where attention does not decay",
        ),
        Quantity(
            "span",
            "tokens",
            "decay length, inverse of the mean decay rate over prompts, where a quarter of the longest row or less",
        ),
        Quantity("exponent", "1", "exponent of the power law that fits best"),
        Quantity(
            "power_evidence",
            "nats",
            "AIC of the exponential minus AIC of the power law, per row; positive favours the power law",
        ),
    ),
    requires=frozenset({"attention"}),
    measure=attention_distance,
    assumption="rows are draws from one law of distance per head; what is reported of the span per prompt is a jackknife "
    "pseudo-value",
    reading="Uniform causal attention looks back half the prefix; a short span is a local head.",
    undefined="no row of the prompt sees at least 8 keys; the span where it exceeds a quarter of the longest row, on average "
    "over prompts; laws for bidirectional models",
)
