"""D4: the crossover of attention heads: the factor on their scores at which the heat capacity peaks, and how it scales.

C(lambda) = lambda^2 Var_{alpha_lambda}(s) rises while a row spreads over its keys and falls once one key carries it, so it
always has a peak somewhere, for independent Gaussian scores too (near a standard deviation of 2.6 at 256 keys). A peak is a
crossover. Only how it changes with the number of keys tells more: rows are cut to their nearest n keys for several n, and

    drift = d ln lambda* / d ln n,   sharpening = -d ln (width) / d ln n,

the width being that at half maximum in ln lambda. Nothing here says "critical": for that the peak would have to stay, and to
sharpen without end, while heads only have the lengths that they have.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from jaxtyping import Float64

from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity, reduction, sink_order
from rgprobe.tracing import BeliefTrace

__all__ = ["DIAGNOSTIC", "MINIMUM_LENGTHS", "crossover", "crossover_word", "locate_peak", "response_of", "scaling"]

MINIMUM_LENGTHS = 4
CORE = [["factor"], ["factor"], ["factor"]]


def crossover(trace: BeliefTrace) -> Measurement:
    """Place, height and width of the heat-capacity peak per head, its drift and sharpening with row length.

    C is averaged over the sampled rows of a head first; its peak is then placed between factors by the cubic that matches
    ln C and its slope (a cubic in C is 1% off for two levels). Drift and sharpening are least-squares slopes over the
    lengths, of which at least `MINIMUM_LENGTHS` must have a peak.
    """
    response = response_of(trace)
    curves = response["heat_capacity"]
    place, height, width = xr.apply_ufunc(
        locate_peak, np.log(response["factor"]), curves, response["heat_capacity_slope"],
        input_core_dims=CORE, output_core_dims=[[], [], []], vectorize=True,
    )  # fmt: skip
    lengths = np.log(response["keys"].isel(length=slice(1, None)))
    drift, growth = (
        xr.apply_ufunc(
            scaling, lengths, quantity.isel(length=slice(1, None)),
            input_core_dims=[["length"], ["length"]], vectorize=True,
        )
        for quantity in (place, np.log(width))
    )  # fmt: skip
    whole = {"peak_factor": np.exp(place), "peak_heat_capacity": height, "relative_width": width}
    values = xr.Dataset(
        {**{name: found.isel(length=0) for name, found in whole.items()}, "drift": drift, "sharpening": -growth}
    ).transpose("sink", "prompt", "block", "head")
    first = {"sink": 0, "length": 0}
    details = {
        f"{name}_curve": response[name].isel(first).drop_vars("sink").mean("prompt").astype("float32")
        for name in ("heat_capacity", "entropy")
    }
    foremost = values.isel(sink=0).drop_vars("sink").transpose("prompt", "block", "head")
    heads = [foremost[name].values for name in ("peak_factor", "sharpening")]
    words = np.vectorize(crossover_word, signature="(p),(p)->()", otypes=[object])(
        *(np.moveaxis(values, 0, -1) for values in heads)
    )
    return Measurement(values, xr.Dataset({**details, "crossover": (("block", "head"), words)}))


def response_of(trace: BeliefTrace) -> xr.Dataset:
    """The response curves of a trace, the sink policy that is read first in front.

    Raises:
        OptionError: they were not collected.
    """
    return reduction(trace, "response").sel(sink=sink_order(trace))


def locate_peak(
    log_factor: Float64[np.ndarray, " factors"],
    heat_capacity: Float64[np.ndarray, " factors"],
    slope: Float64[np.ndarray, " factors"],
) -> tuple[float, float, float]:
    """ln lambda*, C(lambda*) and the full width at half maximum in ln lambda of the highest peak inside the range.

    Args:
        log_factor: ln lambda, ascending.
        heat_capacity: C.
        slope: dC / d ln lambda.

    Returns:
        NaN where C has no peak inside the range; NaN for the width where C does not fall to half on both sides.

    Example:
        >>> x = np.linspace(-2, 2, 17)
        >>> found = locate_peak(x, np.exp(-((x - 0.1) ** 2)), -2 * (x - 0.1) * np.exp(-((x - 0.1) ** 2)))
        >>> [round(value, 2) for value in found]
        [0.1, 1.0, 1.67]
    """
    nothing = (np.nan, np.nan, np.nan)
    if not np.isfinite(heat_capacity).all() or heat_capacity.max() <= 0:
        return nothing
    rises_then_falls = np.flatnonzero((slope[:-1] > 0) & (slope[1:] <= 0))
    if rises_then_falls.size == 0:
        return nothing
    left = rises_then_falls[np.argmax(np.maximum(heat_capacity[rises_then_falls], heat_capacity[rises_then_falls + 1]))]
    step = log_factor[left + 1] - log_factor[left]
    logs, slopes = np.log(heat_capacity[left : left + 2]), slope[left : left + 2] / heat_capacity[left : left + 2]
    cubic = _hermite(logs, slopes * step)
    roots = np.roots(np.trim_zeros(cubic.deriv().coef[::-1], "f"))
    inside = roots.real[(np.abs(roots.imag) < 1e-9) & (roots.real >= -1e-9) & (roots.real <= 1 + 1e-9)]
    t = float(inside[np.argmax(cubic(inside))])
    height = float(np.exp(cubic(t)))
    return float(log_factor[left] + t * step), height, _width(log_factor, heat_capacity, slope, int(left), height / 2)


def scaling(log_length: Float64[np.ndarray, " lengths"], values: Float64[np.ndarray, " lengths"]) -> float:
    """Least-squares slope against ln n; NaN with fewer than `MINIMUM_LENGTHS` defined lengths."""
    defined = np.isfinite(log_length) & np.isfinite(values)
    if defined.sum() < MINIMUM_LENGTHS:
        return np.nan
    x = log_length[defined] - log_length[defined].mean()
    return float(x @ values[defined] / (x @ x))


def crossover_word(peak_factor: Float64[np.ndarray, " prompts"], sharpening: Float64[np.ndarray, " prompts"]) -> str:
    """What may be said of a head, from its prompts. The word "critical" is not among them.

    Sharper with length: the sharpening is above two standard errors of its mean over at least three prompts.

    Example:
        >>> crossover_word(np.array([1.5]), np.array([np.nan])), crossover_word(np.ones(3), np.array([0.2, 0.21, 0.19]))
        ('crossover, no finite-size scaling', 'crossover, sharper in longer rows')
    """
    if not np.isfinite(peak_factor).any():
        return ""
    known = sharpening[np.isfinite(sharpening)]
    if known.size < 3:
        return "crossover, no finite-size scaling"
    sharper = known.mean() > 2 * known.std(ddof=1) / np.sqrt(known.size)
    return f"crossover, {'' if sharper else 'no '}sharper in longer rows"


def _hermite(values: np.ndarray, slopes: np.ndarray) -> np.polynomial.Polynomial:
    """The cubic on [0, 1] with these values and slopes at its ends."""
    (a, b), (da, db) = values, slopes
    return np.polynomial.Polynomial([a, da, 3 * (b - a) - 2 * da - db, 2 * (a - b) + da + db])


def _width(x: np.ndarray, curve: np.ndarray, slope: np.ndarray, left: int, half: float) -> float:
    below = curve < half
    before, after = np.flatnonzero(below[: left + 1]), np.flatnonzero(below[left + 1 :])
    if before.size == 0 or after.size == 0:
        return np.nan
    places = int(before[-1]), left + int(after[0])
    start, stop = (_crossing(x[i : i + 2], curve[i : i + 2], slope[i : i + 2], half) for i in places)
    return stop - start


def _crossing(x: np.ndarray, ends: np.ndarray, slope: np.ndarray, level: float) -> float:
    """Where ln C passes a level between two factors: by the same cubic, or straight where C has underflowed."""
    step = x[1] - x[0]
    logs = np.log(np.maximum(ends, 1e-300)) - np.log(level)
    if ends.min() > 1e-300:
        roots = np.roots(np.trim_zeros(_hermite(logs, slope / ends * step).coef[::-1], "f"))
        inside = roots.real[(np.abs(roots.imag) < 1e-9) & (roots.real >= 0) & (roots.real <= 1)]
        if inside.size == 1:
            return float(x[0] + inside[0] * step)
    return float(x[0] - logs[0] / (logs[1] - logs[0]) * step)


DIAGNOSTIC = Diagnostic(
    name="crossover",
    catalogue="D4",
    title="Crossover of attention heads",
    depth="block",
    quantities=(
        Quantity(
            "peak_factor",
            "1",
            "lambda*: factor on the scores at which the heat capacity peaks; above 1 the head is hot",
        ),
        Quantity("peak_heat_capacity", "nats^2", "C(lambda*)"),
        Quantity("relative_width", "1", "full width at half maximum of C, in ln lambda"),
        Quantity("drift", "1", "d ln lambda* / d ln n over row lengths: how the peak moves as rows grow"),
        Quantity("sharpening", "1", "-d ln(width) / d ln n over row lengths"),
    ),
    requires=frozenset({"response"}),
    measure=crossover,
    assumption="16 evenly spaced rows from the second half of a causal prompt stand for the head; shorter rows are their "
    "nearest keys, whose scores need not be distributed like those of farther ones",
    reading="Every head has a peak, and so have random scores: it is a crossover, not a transition, and only a difference from "
    "the null says something about the head.",
    undefined="no sampled row sees at least 8 keys; no peak for factors between 0.1 and 10; scaling over fewer than 4 lengths, "
    "or rows of fewer than 32 keys",
    default=False,
)
