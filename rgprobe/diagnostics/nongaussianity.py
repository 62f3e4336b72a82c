"""D27: how far from Gaussian the states are along their principal components: the coupling of an effective theory.

A Gaussian is the free theory. Excess kurtosis is the leading (quartic) interaction: for a random network of width n it is of
order 1/n over draws of the weights, which is what makes wide networks weakly coupled. This diagnostic measures it over data,
with the weights as they are; `excess_kurtosis` on the outputs of many networks measures it over weights.
"""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Float64, Int

from rgprobe.diagnostics.pooling import MINIMUM_POOLED, Estimates, recorded_points, sums_by_prompt, undefined
from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity
from rgprobe.tracing import BeliefTrace

__all__ = ["DIAGNOSTIC", "STRONG", "excess_kurtosis", "leading_components", "nongaussianity"]

NAMES = ("kurtosis", "leading_kurtosis", "coupling")
COMPONENTS = 16
STRONG = 1.0  # excess kurtosis from which a component counts as strongly coupled
MINIMUM_POINTS = 64


def nongaussianity(trace: BeliefTrace) -> Measurement:
    """Excess kurtosis: mean over the leading components, of the first one, and |kappa| / (1 + |kappa|) averaged.

    Values of each component are in the details, with the split into weakly and strongly coupled ones.
    """
    states = trace.states.sizes["state"]
    values = undefined(trace, NAMES, "state", states)
    table = np.full((states, COMPONENTS), np.nan)
    for state in range(states):
        points, owner = recorded_points(trace, state)
        took_part = np.unique(owner)
        if len(points) < MINIMUM_POINTS or len(took_part) < MINIMUM_POOLED:
            continue
        components = leading_components(points, COMPONENTS)
        found = excess_kurtosis(components, np.searchsorted(took_part, owner), len(took_part))
        table[state, : components.shape[1]] = found.full
        for name, make in _SUMMARIES.items():
            summary = Estimates(np.asarray(make(found.full)), make(found.deleted))
            values[name][took_part, state] = summary.pseudo_values()
    details = {"component_kurtosis": table, "strong": (np.abs(table) > STRONG).astype(np.int8)}
    return Measurement(values, xr.Dataset({name: (("state", "component"), each) for name, each in details.items()}))


_SUMMARIES = {
    "kurtosis": lambda kappa: kappa.mean(-1),
    "leading_kurtosis": lambda kappa: kappa[..., 0],
    "coupling": lambda kappa: (np.abs(kappa) / (STRONG + np.abs(kappa))).mean(-1),
}


def excess_kurtosis(
    samples: Float64[np.ndarray, "sample component"], owner: Int[np.ndarray, "sample"], groups: int
) -> Estimates:
    """m_4 / m_2^2 - 3 of each component, m_k central moments, with delete-one copies over groups of samples.

    Args:
        samples: not constant along any component.
        owner: group of each sample, such as its prompt.
        groups: their number.

    Example:
        >>> coins = np.random.default_rng(0).choice([-1.0, 1.0], (1000, 1))
        >>> float(excess_kurtosis(coins, np.arange(1000) % 10, 10).full[0].round(1))
        -2.0
    """
    x = samples - samples.mean(0)
    powers = np.stack([np.ones_like(x), x, x**2, x**3, x**4], 1)  # (sample, power, component)
    by_group = sums_by_prompt(powers, owner, groups)
    return Estimates(_kurtosis(by_group.sum(0)), _kurtosis(by_group.sum(0) - by_group))


def _kurtosis(sums: np.ndarray) -> np.ndarray:
    count, first, second, third, fourth = np.moveaxis(sums, -2, 0)
    mean = first / count
    variance = second / count - mean**2
    central = fourth / count - 4 * mean * third / count + 6 * mean**2 * second / count - 3 * mean**4
    return np.asarray(central / np.where(variance > 0, variance, np.nan) ** 2 - 3)


def leading_components(points: Float[np.ndarray, "point width"], count: int) -> Float64[np.ndarray, "point component"]:
    """Coordinates of the centred points along their leading principal components; fewer where there are not so many.

    By subspace iteration from a fixed random start: exact enough for separated leading components, at a hundredth of the
    cost of all eigenvectors. Source: Halko, Martinsson and Tropp, SIAM Review 53, 217 (2011).
    """
    centred = torch.from_numpy(points - points.mean(0))
    count = min(count, *centred.shape)
    start = torch.randn(centred.shape[1], min(count + 8, *centred.shape),
                        generator=torch.Generator().manual_seed(0), dtype=centred.dtype)  # fmt: skip
    basis = start
    for _ in range(4):
        basis = torch.linalg.qr(centred.T @ (centred @ basis))[0]
    reduced = centred @ basis
    vectors = torch.linalg.eigh(reduced.T @ reduced)[1].flip(-1)[:, :count]
    return (reduced @ vectors).numpy()


DIAGNOSTIC = Diagnostic(
    name="nongaussianity",
    catalogue="D27",
    title="Non-Gaussianity of states",
    depth="state",
    quantities=(
        Quantity(
            "kurtosis",
            "1",
            f"excess kurtosis, mean over the {COMPONENTS} leading principal components; 0 for a Gaussian",
        ),
        Quantity("leading_kurtosis", "1", "excess kurtosis along the first principal component"),
        Quantity(
            "coupling", "1", "mean of |kappa| / (1 + |kappa|): 0 free, below 1/2 weakly, above it strongly coupled"
        ),
    ),
    requires=frozenset({"states"}),
    measure=nongaussianity,
    assumption="recorded tokens of all prompts are samples of one law; states are normalised; a few groups of tokens, far "
    "apart, also have negative kurtosis, and a rare outlying token makes it large",
    reading="A flow towards a free fixed point would bring the coupling down with depth, below that of random networks.",
    undefined="fewer than 64 recorded tokens, or 5 prompts",
)
