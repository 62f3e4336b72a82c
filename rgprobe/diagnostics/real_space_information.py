"""D21: real-space mutual information: which filter of a block of tokens keeps most of what its surroundings know of it?

A block of neighbouring tokens is coarse-grained best by the function of it that shares most information with the environment,
where a buffer between the two keeps short-range detail from counting. For Gaussian variables that function is linear, and
canonical correlation analysis of block and environment gives it. A filter that sits on the block's end is decimation; one
that weighs all tokens alike is a block average.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float, Float64, Int

from rgprobe.diagnostics.canonical import (
    ROWS_PER_VARIABLE,
    canonical_pairs,
    covariances,
    gaussian_information,
    leading_scores,
    require_rows,
)
from rgprobe.diagnostics.pooling import Estimates, common_window, spread_over_prompts, undefined
from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity
from rgprobe.errors import NumericalRefusal
from rgprobe.tracing import BeliefTrace

__all__ = ["BLOCK", "DIAGNOSTIC", "ENVIRONMENT", "GAP", "RealSpace", "filtered", "real_space_information"]

BLOCK, GAP, ENVIRONMENT = 4, 1, 4  # tokens
COMPONENTS = 2  # of each token
NAMES = ("rho", "information", "endpoint")


@dataclass(frozen=True, eq=False)
class RealSpace:
    """What a block and its environment share.

    Attributes:
        rho: leading canonical correlation.
        information: I(block; environment), nats, all pairs.
        weight: share of the leading filter on each token of the block, the one nearest to the environment last; sums to 1.
        filter: weights of the block's standardised variables, of unit variance as a whole, sign free.
    """

    rho: Estimates
    information: Estimates
    weight: Estimates
    filter: Float64[np.ndarray, " variables"]


def real_space_information(trace: BeliefTrace) -> Measurement:
    """rho, I(block; environment) and the weight on the block's endpoint by state; the filter token by token in the details."""
    window = common_window(trace)
    states = trace.sketches.sizes["state"]
    values = undefined(trace, NAMES, "state", states)
    if window is None or _windows(window.states.shape) < ROWS_PER_VARIABLE * COMPONENTS * (BLOCK + ENVIRONMENT):
        return Measurement(values)
    weights = np.full((states, BLOCK), np.nan)
    for state in range(states):
        rows = _rows(window.states[:, state])
        found = _filtered(rows)
        if found is None:
            continue
        weights[state] = found.weight.full
        endpoint = found.weight.pseudo_values()[:, -1]
        pseudo = found.rho.pseudo_values(unbiased=True), found.information.pseudo_values(unbiased=True), endpoint
        for name, column in zip(NAMES, pseudo, strict=True):
            values[name][:, state] = spread_over_prompts(column, window.prompts, trace.n_prompts)
    return Measurement(values, xr.Dataset({"filter_weight": (("state", "place"), weights)}))


def filtered(
    block: Float[np.ndarray, "row block"],
    environment: Float[np.ndarray, "row environment"],
    owner: Int[np.ndarray, "row"],
    *,
    tokens: int | None = None,
) -> RealSpace:
    """The filter of the block that keeps most mutual information with the environment, and how much that is.

    rho is the largest canonical correlation, and -ln(1 - rho^2) / 2 nats is what its filter alone keeps. With few rows rho is
    too large: use `pseudo_values(unbiased=True)`, the jackknife over prompts.

    Args:
        block, environment: variables row by row; those of one token stand together.
        owner: the prompt of each row.
        tokens: of the block, each with equally many variables; by default every variable is a token.

    Raises:
        NumericalRefusal: fewer than 10 rows per variable, or variables of one side that determine each other.

    Source: Gordon, Banerjee, Koch-Janusz, Ringel, Phys. Rev. Lett. 126, 240601 (2021).

    Example:
        >>> from rgprobe.testbeds import ar1
        >>> x = ar1.sample(rows=5000, phi=0.8, block=3, gap=1, environment=5)
        >>> found = filtered(x.block, x.environment, np.arange(5000) // 100)
        >>> round(float(found.rho.full), 1), found.weight.full.round(1)
        (0.6, array([0., 0., 1.]))
    """
    size, whole = block.shape[1], block.shape[1] + environment.shape[1]
    require_rows("CCA of block and environment", len(block), whole)
    covariance = covariances(np.column_stack([block, environment]), owner)
    (rho, filters), (rho_deleted, filters_deleted) = (
        canonical_pairs(each, size) for each in (covariance.full, covariance.deleted)
    )
    information, information_deleted = (
        gaussian_information(each, slice(0, size), slice(size, whole)) for each in (covariance.full, covariance.deleted)
    )
    leading = filters[:, 0]
    groups = size if tokens is None else tokens
    return RealSpace(
        Estimates(np.asarray(rho[0]), rho_deleted[:, 0]),
        Estimates(information, information_deleted),
        Estimates(_weight(leading, groups), _weight(filters_deleted[..., 0], groups)),
        leading,
    )


def _filtered(rows: tuple[np.ndarray, np.ndarray, np.ndarray] | None) -> RealSpace | None:
    if rows is None:
        return None
    with suppress(NumericalRefusal):  # tokens that are copies of each other
        return filtered(*rows, tokens=BLOCK)
    return None


def _weight(filters: Float64[np.ndarray, "*batch variables"], tokens: int) -> Float64[np.ndarray, "*batch tokens"]:
    power = (filters**2).reshape(*filters.shape[:-1], tokens, -1).sum(-1)
    return power / power.sum(-1, keepdims=True)


def _rows(states: Float[np.ndarray, "prompt site coordinate"]) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Block and environment of every window of neighbouring tokens, position mean taken out; None where nothing varies."""
    centred = states - states.mean(0, dtype=np.float64)
    flat = centred.reshape(-1, states.shape[-1])
    if not (flat**2).sum() > 1e-12 * len(flat):
        return None
    scores = leading_scores(flat, COMPONENTS).reshape(*states.shape[:2], -1)
    reach = BLOCK + GAP + ENVIRONMENT
    # (prompt, start, component, place) -> place first, so that the variables of a token stand together
    windows = np.lib.stride_tricks.sliding_window_view(scores, reach, axis=1).swapaxes(-1, -2)
    owner = np.repeat(np.arange(len(states)), windows.shape[1])
    rows = windows.reshape(len(owner), reach, -1)
    return rows[:, :BLOCK].reshape(len(owner), -1), rows[:, BLOCK + GAP :].reshape(len(owner), -1), owner


def _windows(shape: tuple[int, ...]) -> int:
    """Windows that do not overlap, in all prompts: overlapping ones are used, but are no more information."""
    return shape[0] * (shape[2] // (BLOCK + GAP + ENVIRONMENT))


DIAGNOSTIC = Diagnostic(
    name="real_space_information",
    catalogue="D21",
    title="Real-space mutual information",
    depth="state",
    quantities=(
        Quantity(
            "rho",
            "1",
            f"leading canonical correlation of {BLOCK} tokens with {ENVIRONMENT} later ones, {GAP} token left out between",
        ),
        Quantity("information", "nats", "mutual information of that block and its environment"),
        Quantity(
            "endpoint",
            "1",
            f"share of the best filter on the token nearest to the environment: 1 is decimation, {1 / BLOCK:g} a block average",
        ),
    ),
    requires=frozenset({"sketches"}),
    measure=real_space_information,
    assumption=f"normal scores of the {COMPONENTS} leading components of a state, position mean taken out, are jointly "
    "Gaussian; windows at all places follow one law; what is reported per prompt is a jackknife pseudo-value, unbiased to "
    "order 1/P but for the endpoint",
    reading="A rho that grows with depth says that blocks come to know more of each other. The filter says which "
    "coarse-graining keeps that; it means little where rho is small. Shuffled tokens have what position and vocabulary alone "
    "give.",
    undefined=f"fewer than 5 prompts of one length, fewer than {ROWS_PER_VARIABLE * COMPONENTS * (BLOCK + ENVIRONMENT)} "
    f"windows of {BLOCK + GAP + ENVIRONMENT} tokens side by side in all; a state that is the same in all prompts, or in "
    "neighbouring tokens",
    default=False,
)
