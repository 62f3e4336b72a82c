"""D6: connected correlation between the states of tokens r apart, with what every prompt has at that position taken out.

Without the position mean any positional encoding would look like a long-range correlation.
"""

from __future__ import annotations

import numpy as np
import scipy.fft
import xarray as xr
from jaxtyping import Float

from rgprobe.diagnostics.pooling import Estimates, common_window, spread_over_prompts, undefined
from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity
from rgprobe.tracing import BeliefTrace

__all__ = ["DIAGNOSTIC", "DISTANCES", "connected_correlation", "correlation"]

DISTANCES = (1, 4, 16)
NAMES = tuple(f"correlation_{r}" for r in DISTANCES)


def correlation(trace: BeliefTrace) -> Measurement:
    """C(r) / C(0) at a few distances, and the whole curve in the details, with its standard error."""
    window = common_window(trace)
    if window is None:
        return Measurement(undefined(trace, NAMES, "state", trace.sketches.sizes["state"]))
    found = [connected_correlation(window.states[:, state]) for state in range(window.states.shape[1])]
    curves, errors = (
        np.stack(rows) for rows in zip(*((each.full, each.standard_error) for each in found), strict=True)
    )
    pseudo = np.stack([each.pseudo_values() for each in found], 1)  # (prompt, state, distance)
    values = undefined(trace, NAMES, "state", len(found))
    for name, r in zip(NAMES, DISTANCES, strict=True):
        if r < curves.shape[1]:
            values[name] = values[name].copy(data=spread_over_prompts(pseudo[..., r], window.prompts, trace.n_prompts))
    dims = ("state", "distance")
    details = {"correlation": (dims, curves.astype("float32")), "correlation_error": (dims, errors.astype("float32"))}
    return Measurement(values, xr.Dataset(details, {"distance": np.arange(curves.shape[1])}))


def connected_correlation(states: Float[np.ndarray, "prompt site coordinate"]) -> Estimates:
    """C(r) / C(0) for r = 0 ... T/2, C(r) = mean_i tr Cov_p(x_i, x_(i+r)), with its delete-one copies.

    The covariance is over prompts, position by position and unbiased: Cov(a, b) = sum_p (a_p - a) (b_p - b) / (P - 1).
    Beyond half the length fewer pairs are left than a curve can be read from. A delete-one copy follows from what each
    prompt contributes, A_p, without a second pass: C_(-p) = (sum_q A_q - P/(P-1) A_p) / (P - 2).

    Args:
        states: of P >= 3 prompts at T positions.

    Example:
        >>> spins = np.random.default_rng(0).choice([-1.0, 1.0], (400, 64, 1))
        >>> found = connected_correlation(spins)
        >>> found.full.shape, float(found.full[0]), bool((np.abs(found.full[1:]) < 4 * found.standard_error[1:]).all())
        ((33,), 1.0, True)
    """
    prompts, sites, _ = states.shape
    centred = states - states.mean(0, dtype=np.float64)
    contributed = _autocorrelation(centred)[:, : sites // 2 + 1]
    full = contributed.sum(0) / (prompts - 1)
    deleted = (contributed.sum(0) - prompts / (prompts - 1) * contributed) / (prompts - 2)
    return Estimates(_relative(full), _relative(deleted))


def _autocorrelation(x: np.ndarray) -> np.ndarray:
    """mean_i <x_i, x_(i+r)> per prompt, (prompt, distance), by the Wiener-Khinchin theorem."""
    sites = x.shape[1]
    spectrum = scipy.fft.rfft(x, scipy.fft.next_fast_len(2 * sites, real=True), axis=1)
    power = (spectrum.real**2 + spectrum.imag**2).sum(-1)
    return scipy.fft.irfft(power, scipy.fft.next_fast_len(2 * sites, real=True), axis=1)[:, :sites] / np.arange(
        sites, 0, -1
    )


def _relative(curve: np.ndarray) -> np.ndarray:
    # a state that is the same in all prompts, such as that of a position, leaves rounding behind
    at_zero = curve[..., :1]
    return curve / np.where(at_zero > 1e-12, at_zero, np.nan)


DIAGNOSTIC = Diagnostic(
    name="correlation",
    catalogue="D6",
    title="Connected correlation between tokens",
    depth="state",
    quantities=tuple(
        Quantity(
            name, "1", f"C({r}) / C(0): correlation between the states of tokens {r} apart, position mean taken out"
        )
        for name, r in zip(NAMES, DISTANCES, strict=True)
    ),
    requires=frozenset({"sketches"}),
    measure=correlation,
    assumption="states are normalised, and read in 32 random coordinates, which keeps covariances on average; prompts are "
    "independent samples of one law; what is reported per prompt is a jackknife pseudo-value",
    reading="1 is complete correlation, 0 none; the same model on shuffled tokens says what is left without word order.",
    undefined="fewer than 5 prompts as long as 16 tokens need, a state that is the same in all prompts, distances beyond half "
    "the common length; prompts shorter than that",
)
