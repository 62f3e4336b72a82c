"""D3: effective temperature of attention heads, from the spread of scores (T1) and from the entropy of weights (T2).

For n independent Gaussian scores of standard deviation beta (the random energy model) a few keys carry the row once beta
exceeds beta_c = sqrt(2 ln n). T1 reads beta off the scores and reports theta = beta_c / beta. T2 asks which beta gives a
random energy model of the same n the entropy that was observed, and reports theta_entropy = beta_c / beta. They agree when
scores are Gaussian; their ratio tells of tails, or of a sink, that the spread alone does not see.

Conventional words (exploration, crossover, condensed) are those of theta_entropy. Spread says how many keys carry a row only if
its scores are Gaussian: 25 of 50 keys at equal weight, the others 20 nats below, have theta = 0.28 and theta_entropy = 2.25, a
tail index of 0.12. Scores by divergence are of this kind, with a long tail of keys that are ruled out.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import xarray as xr
from jaxtyping import Float64
from scipy.interpolate import PchipInterpolator

from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity, keys_of_rows
from rgprobe.testbeds import random_energy
from rgprobe.tracing import BeliefTrace

__all__ = ["CONDENSED", "DIAGNOSTIC", "EXPLORATION", "entropy_matched_beta", "phase", "temperature"]

EXPLORATION, CONDENSED = 1.3, 0.75
BETAS = np.geomspace(0.02, 30.0, 40)
FLATTEST = 1e-3  # below it the entropy is that of a flat row but for rounding


def temperature(trace: BeliefTrace) -> Measurement:
    """theta, theta_entropy, beta_sigma, beta_entropy and the ratio of these two per head.

    beta_sigma^2 is the mean over rows of the unbiased variance of scores. theta averages in the reduced inverse
    temperature, theta^-2 = < Var(s) / (2 ln n) >, so a single flat row cannot send it to infinity. beta_entropy solves
    < S_REM(n_i, beta) > = < S_i > over the rows of a prompt, and theta_entropy^-2 = < beta_entropy^2 / (2 ln n_i) >.
    """
    attention = trace.attention
    beta_sigma = xr.ufuncs.sqrt(attention["score_variance"])
    keys = keys_of_rows(attention).transpose("sink", "prompt", "block", "token")
    beta_entropy = xr.apply_ufunc(
        _match_prompt,
        attention["entropy"].transpose("sink", "prompt", "block", "head"),
        keys,
        input_core_dims=[["head"], ["token"]],
        output_core_dims=[["head"]],
        vectorize=True,
    )
    reduced = attention["reduced_variance"]
    theta = 1 / xr.ufuncs.sqrt(reduced.where(reduced > 0))
    critical = xr.ufuncs.sqrt((1 / (2 * xr.ufuncs.log(keys))).mean("token"))
    theta_entropy = 1 / (beta_entropy * critical)
    values = xr.Dataset(
        {
            "theta": theta,
            "theta_entropy": theta_entropy,
            "beta_sigma": beta_sigma,
            "beta_entropy": beta_entropy,
            "tail_index": beta_entropy / beta_sigma.where(beta_sigma > 0),
        }
    )
    mean = theta_entropy.isel(sink=0).drop_vars("sink").mean("prompt")
    return Measurement(values, xr.Dataset({"phase_by_entropy": xr.apply_ufunc(phase, mean, vectorize=True)}))


def phase(theta: float) -> str:
    """The conventional word for a reduced temperature; a convention, not a phase of matter.

    Example:
        >>> phase(2.0), phase(1.0), phase(0.5)
        ('exploration', 'crossover', 'condensed')
    """
    if not np.isfinite(theta):
        return ""
    return "exploration" if theta > EXPLORATION else "condensed" if theta < CONDENSED else "crossover"


def entropy_matched_beta(
    entropy: Float64[np.ndarray, "..."],
    keys: Float64[np.ndarray, "rows"],
) -> Float64[np.ndarray, "..."]:
    """The beta at which random-energy rows with these numbers of keys have this mean entropy.

    Args:
        entropy: mean entropies over the rows, nats.
        keys: number of keys of each row; NaN rows are left out.

    Returns:
        beta, within 0.05% of the exact curve's (tested between the nodes of the table); NaN outside (0.001, 30).
    """
    sizes = keys[np.isfinite(keys)]
    if sizes.size == 0:
        return np.full_like(entropy, np.nan)
    curve = _mean_entropy(np.sort(sizes).tobytes())
    # entropy falls with beta, and the abscissa must rise
    matched = PchipInterpolator(curve[::-1], BETAS[::-1], extrapolate=False)(entropy)
    # above the table ln n - S is (1 - 1/n) beta^2 / 2 to a relative order of beta^2
    highest = np.log(sizes).mean()
    flat = BETAS[0] * np.sqrt(np.maximum(highest - entropy, 0.0) / (highest - curve[0]))
    return np.where((entropy > curve[0]) & (flat > FLATTEST), flat, matched)


@lru_cache(maxsize=64)
def _mean_entropy(sizes: bytes) -> np.ndarray:
    """Mean entropy of random-energy rows of these sizes at each of `BETAS`; blocks and prompts share it."""
    unique, counts = np.unique(np.frombuffer(sizes), return_counts=True)
    grid, table = _entropy_table()
    # linear interpolation in this table would cost up to 1% of beta, more than the interval of a head that is measured well
    return counts / counts.sum() @ PchipInterpolator(grid, table)(np.log(unique))


@lru_cache(maxsize=1)
def _entropy_table() -> tuple[np.ndarray, np.ndarray]:
    sizes = np.unique(np.geomspace(2, 131_072, 60).round())
    return np.log(sizes), random_energy.log_partition_and_entropy(sizes, BETAS)[1]


def _match_prompt(entropy: np.ndarray, keys: np.ndarray) -> np.ndarray:
    return entropy_matched_beta(entropy, keys)


DIAGNOSTIC = Diagnostic(
    name="temperature",
    catalogue="D3",
    title="Effective temperature of attention heads",
    depth="block",
    quantities=(
        Quantity(
            "theta", "1", "T1: reduced temperature sqrt(2 ln n) / std(s); below 1 a few keys carry a Gaussian row"
        ),
        Quantity(
            "theta_entropy",
            "1",
            "T2: reduced temperature sqrt(2 ln n) / beta_entropy; below 1 a few keys carry the row",
        ),
        Quantity("beta_sigma", "nats", "standard deviation of the scores of a row"),
        Quantity(
            "beta_entropy", "nats", "T2: standard deviation of Gaussian scores that would give the observed entropy"
        ),
        Quantity(
            "tail_index",
            "1",
            "beta_entropy / beta_sigma: 1 for Gaussian scores, above it for a sink, below it for a tail of keys ruled out",
        ),
    ),
    requires=frozenset({"attention"}),
    measure=temperature,
    assumption="scores of a row are exchangeable draws (random energy model); phase words are conventions, of theta_entropy: "
    f"exploration above {EXPLORATION}, condensed below {CONDENSED}",
    reading="With theta_entropy above 1 a head spreads over its keys, below 1 it condenses on a few; a crossover, not a phase "
    "transition. theta says so only where the tail index is near 1.",
    undefined="no row of the prompt sees at least 8 keys, scores are constant, or the entropy lies outside the table",
)
