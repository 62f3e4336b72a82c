"""D25: spectrum of the covariance of states: is its tail a power law, and of which exponent?"""

from __future__ import annotations

import numpy as np
import xarray as xr
from jaxtyping import Float, Float64

from rgprobe.diagnostics.pooling import MINIMUM_POOLED, Estimates, recorded_points, sums_by_prompt, undefined
from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity
from rgprobe.tracing import BeliefTrace

__all__ = ["DIAGNOSTIC", "FIRST", "covariance_spectrum", "fitted_range", "spectrum", "spectrum_exponent"]

NAMES = ("exponent", "curvature")
FIRST = 4  # rank from which the tail is fitted
DECADE = 10


def spectrum(trace: BeliefTrace) -> Measurement:
    """alpha and the curvature of ln lambda against ln k by state; the eigenvalues in the details."""
    states, prompts = trace.states.sizes["state"], trace.n_prompts
    values = undefined(trace, NAMES, "state", states)
    rows: list[np.ndarray] = []
    last = 0
    for state in range(states):
        points, owner = recorded_points(trace, state)
        took_part = np.unique(owner)
        last = fitted_range(*points.shape)
        if last < DECADE * FIRST or len(took_part) < MINIMUM_POOLED:
            return Measurement(values)
        eigenvalues, projections = covariance_spectrum(points, last)
        rows.append(eigenvalues)
        # to first order an eigenvalue without prompt p is the variance along its eigenvector without prompt p
        power = sums_by_prompt(projections**2, owner, prompts)[took_part]
        counts = np.bincount(owner, minlength=prompts)[took_part, None]
        deleted = (len(points) * eigenvalues - power) / (len(points) - counts)
        fits = np.array([spectrum_exponent(each) for each in (eigenvalues, *deleted)])
        for column, name in enumerate(NAMES):
            found = Estimates(np.asarray(fits[0, column]), fits[1:, column])
            values[name][took_part, state] = found.pseudo_values()
    details = xr.Dataset({"eigenvalues": (("state", "rank"), np.stack(rows))}, {"rank": np.arange(1, last + 1)})
    return Measurement(values, details)


def covariance_spectrum(
    points: Float[np.ndarray, "point width"], count: int
) -> tuple[Float64[np.ndarray, "rank"], Float64[np.ndarray, "point rank"]]:
    """The largest eigenvalues of the covariance of points, falling, and the points' coordinates along them."""
    centred = points.astype(np.float64) - points.mean(0, dtype=np.float64)
    if len(centred) >= centred.shape[1]:
        eigenvalues, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
        return eigenvalues[::-1][:count], centred @ vectors[:, ::-1][:, :count]
    eigenvalues, vectors = np.linalg.eigh(centred @ centred.T / len(centred))
    kept = np.maximum(eigenvalues[::-1][:count], 0.0)
    return kept, vectors[:, ::-1][:, :count] * np.sqrt(kept * len(centred))


def spectrum_exponent(eigenvalues: Float64[np.ndarray, "rank"]) -> tuple[float, float]:
    """alpha of lambda_k ~ k^(-alpha) for k = 4 ... K, and the curvature of ln lambda against ln k there.

    Least squares in logarithms, rank k weighted by 1/k, so that each octave counts alike. The curvature is that of a fitted
    parabola, d^2 ln lambda / d (ln k)^2: 0 for a power law.

    Args:
        eigenvalues: lambda_1 ... lambda_K, falling.

    Example:
        >>> alpha, curvature = spectrum_exponent(np.arange(1.0, 100.0) ** -1.5)
        >>> round(alpha, 6), round(abs(curvature), 6)
        (1.5, 0.0)
    """
    k = np.arange(FIRST, len(eigenvalues) + 1, dtype=float)
    tail = eigenvalues[FIRST - 1 :]
    if not (tail > 0).all():
        return float("nan"), float("nan")
    x, y, w = np.log(k), np.log(tail), np.sqrt(1 / k)  # polyfit wants the square root of a weight
    return float(-np.polyfit(x, y, 1, w=w)[0]), float(2 * np.polyfit(x, y, 2, w=w)[0])


def fitted_range(points: int, width: int) -> int:
    """The last rank K that is fitted: a quarter of min(points, width).

    Beyond it the smallest eigenvalues of a sample fall off because there are no more of them.
    """
    return min(points, width) // 4


DIAGNOSTIC = Diagnostic(
    name="spectrum",
    catalogue="D25",
    title="Spectrum of the covariance of states",
    depth="state",
    quantities=(
        Quantity(
            "exponent",
            "1",
            "alpha: the k-th largest variance falls as k^(-alpha) from k = 4 to a quarter of the spectrum",
        ),
        Quantity(
            "curvature", "1", "curvature of ln variance against ln k there: 0 for a power law, negative for a cutoff"
        ),
    ),
    requires=frozenset({"states"}),
    measure=spectrum,
    assumption="recorded tokens of all prompts are pooled, normalised and centred; sampling noise bends the tail "
    "when tokens are not many more than dimensions",
    reading="A power law at a fixed point keeps its exponent from layer to layer; read it only where the curvature is small.",
    undefined="fewer than 5 prompts; less than a decade between rank 4 and a quarter of the spectrum, which takes 160 recorded "
    "tokens and as many dimensions",
    default=False,
)
