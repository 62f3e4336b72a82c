"""D3: effective temperature of attention heads from their response to a change of temperature (T3).

Multiply the scores of a row by lambda: its entropy falls, at the rate C(lambda) = -dS / d ln lambda. For n independent
Gaussian scores of standard deviation beta the heat capacity peaks at beta lambda* = beta*(n), a number that the random energy
model knows: 2.54 at 256 keys for the mean over rows (single rows peak at 2.64 on average). So the place of a head's peak is a
thermometer that looks at the whole response, neither at the spread of scores alone (T1) nor at the entropy as it is (T2):

    beta_response = beta*(n) / lambda*,   theta_response = sqrt(2 ln n) / beta_response.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import xarray as xr
from scipy.interpolate import CubicSpline

from rgprobe.diagnostics.crossover import CORE, locate_peak, response_of
from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity
from rgprobe.testbeds import random_energy
from rgprobe.tracing import BeliefTrace

__all__ = ["DIAGNOSTIC", "gaussian_peak", "response_temperature"]

BETAS = np.geomspace(1.0, 6.0, 33)
LARGEST = 131_072


def response_temperature(trace: BeliefTrace) -> Measurement:
    """beta_response, theta_response, and the ratio to the spread of scores; n is the mean over the sampled rows."""
    response = response_of(trace).isel(length=0)
    place = xr.apply_ufunc(
        lambda *curve: locate_peak(*curve)[0], np.log(response["factor"]), response["heat_capacity"],
        response["heat_capacity_slope"], input_core_dims=CORE, vectorize=True,
    )  # fmt: skip
    keys = response["keys"]
    beta = xr.apply_ufunc(gaussian_peak, keys) / np.exp(place)
    spread = xr.ufuncs.sqrt(response["variance"])
    values = {
        "beta_response": beta,
        "theta_response": np.sqrt(2 * np.log(keys)) / beta,
        "response_index": beta / spread.where(spread > 0),
    }
    return Measurement(xr.Dataset(values).transpose("sink", "prompt", "block", "head"))


def gaussian_peak(keys: np.ndarray) -> np.ndarray:
    """beta*(n): standard deviation at which the mean heat capacity of n independent Gaussian scores is largest.

    From the exact mean entropy of the random energy model at finite n, C = -d<S> / d ln beta.

    Args:
        keys: n, between 8 and 131,072; NaN elsewhere.

    Example:
        >>> gaussian_peak(np.array([256.0])).round(1)
        array([2.5])
    """
    sizes, peaks = _table()
    inside = (keys >= sizes[0]) & (keys <= sizes[-1])
    return np.where(inside, np.interp(np.log(np.where(inside, keys, sizes[0])), np.log(sizes), peaks), np.nan)


@lru_cache(maxsize=1)
def _table() -> tuple[np.ndarray, np.ndarray]:
    sizes = np.unique(np.geomspace(8, LARGEST, 30).round())
    entropy = random_energy.log_partition_and_entropy(sizes, BETAS)[1]
    fine = np.linspace(0, np.log(BETAS[-1]), 4001)
    capacity = -CubicSpline(np.log(BETAS), entropy, axis=1)(fine, 1)
    return sizes, np.exp(fine[capacity.argmax(1)])


DIAGNOSTIC = Diagnostic(
    name="response_temperature",
    catalogue="D3",
    title="Temperature from the response of attention",
    depth="block",
    quantities=(
        Quantity(
            "beta_response",
            "nats",
            "T3: standard deviation of Gaussian scores whose heat capacity peaks at the same factor",
        ),
        Quantity("theta_response", "1", "sqrt(2 ln n) / beta_response: reduced temperature, comparable with T1"),
        Quantity(
            "response_index",
            "1",
            "beta_response / std(s): 1 for Gaussian scores; above it few keys lead the whole response",
        ),
    ),
    requires=frozenset({"response"}),
    measure=response_temperature,
    assumption="16 evenly spaced rows from the second half of a causal prompt stand for the head; the random energy model "
    "translates the place of the peak into a standard deviation",
    reading="Where T3 and T1 agree a head responds as Gaussian scores would. The response curves themselves are kept by the "
    "diagnostic of the crossover.",
    undefined="no sampled row sees at least 8 keys; no peak for factors between 0.1 and 10",
    default=False,
)
