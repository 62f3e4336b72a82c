"""D5: how far heads look back: mean distance, and the span of an exponential or power-law fall-off."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import xarray as xr

from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity, keys_of_rows, nearest_key
from rgprobe.tracing import BeliefTrace

__all__ = ["DIAGNOSTIC", "attention_distance"]

DECAY_RATES = np.concatenate([[0.0], np.geomspace(1e-4, 6.0, 240)])
EXPONENTS = np.linspace(0.0, 6.0, 241)


def attention_distance(trace: BeliefTrace) -> Measurement:
    """E|i - j| and two one-parameter laws fitted by maximum likelihood, compared by AIC.

    Each row is one draw from a law on the distances r that it can see, p(r) ~ exp(-rate r) or (1 + r)^-exponent: 0..n-1, or
    1..n in a model whose tokens do not see themselves.
    Both are exponential families, so the row's E_alpha[r] and E_alpha[ln(1 + r)] are sufficient: no pattern is kept.
    `power_evidence` is (AIC_exponential - AIC_power) per row, nats.

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
    # a decay length beyond a quarter of what the longest row sees was extrapolated, not observed
    span = (1 / rate.where(rate > 0)).where(rate * keys.max("token") > 4)
    values = {"distance": distance, "decay_rate": rate, "span": span, "exponent": exponent, "power_evidence": evidence}
    return Measurement(xr.Dataset(values))


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
        Quantity("span", "tokens", "its inverse, the decay length, where a quarter of the longest row or less"),
        Quantity("exponent", "1", "exponent of the power law that fits best"),
        Quantity(
            "power_evidence",
            "nats",
            "AIC of the exponential minus AIC of the power law, per row; positive favours the power law",
        ),
    ),
    requires=frozenset({"attention"}),
    measure=attention_distance,
    assumption="rows are draws from one law of distance per head",
    reading="Uniform causal attention looks back half the prefix; a short span is a local head.",
    undefined="no row of the prompt sees at least 8 keys; span above a quarter of the row; laws for bidirectional models",
)
