"""D9: what a block does to small perturbations of its input: singular values of its Jacobian, and how far it is from normal.

J is the derivative of block l's output state by its input state, on tokens x width of one prompt, known by products J u and
J^T w alone (`rgprobe.probe.tangents`). Reported are the growth of the most amplified perturbation, ln sigma_1, that of a
random one, ln sqrt(mean sigma^2), the share of directions that carry it, and the departure from normality
(`rgprobe.probe.operator_spectra.operator_moments`), which tells whether growth along eigenvectors is all the growth there is.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from jaxtyping import Float64
from torch import Tensor

from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity, reduction
from rgprobe.probe.jacobians import RANKS, TOKENS
from rgprobe.probe.operator_spectra import Operator, leading_singular_values, operator_moments
from rgprobe.tracing import BeliefTrace

__all__ = ["DIAGNOSTIC", "jacobian_spectrum", "nonnormality", "singular_values"]


def jacobian_spectrum(trace: BeliefTrace) -> Measurement:
    """Gains, effective rank and non-normality by block; the leading singular values of blocks and stack in the details."""
    found = reduction(trace, "jacobians")
    moments = found["moments"]
    values = {
        "largest_gain": _log(found["singular_values"].isel(rank=0)),
        "rms_gain": _log(moments.sel(moment="mean_square")) / 2,
        "effective_rank": moments.sel(moment="effective_rank"),
        "nonnormality": moments.sel(moment="nonnormality"),
    }
    details = found[["singular_values", "stack_singular_values", "stack_moments"]]
    names = {"singular_values": "jacobian_singular_values", "stack_singular_values": "stack_singular_values",
             "stack_moments": "stack_moments"}  # fmt: skip
    plain = {name: array.reset_coords(drop=True) for name, array in values.items()}
    return Measurement(xr.Dataset(plain).transpose("prompt", "block"), details.rename(names))


def singular_values(
    operator: Operator, *, count: int = RANKS, steps: int = 64, seed: int = 0
) -> Float64[Tensor, " count"]:
    """The largest singular values of an operator, falling, from products with it and its transpose.

    See `rgprobe.probe.operator_spectra.leading_singular_values`, which also bounds their errors.

    Example:
        >>> import torch
        >>> singular_values(Operator.of(torch.tensor([[0.0, 2.0], [1.0, 0.0]])), count=2).round(decimals=6).tolist()
        [2.0, 1.0]
    """
    return leading_singular_values(operator, count=count, steps=steps, seed=seed).values


def nonnormality(operator: Operator, *, draws: int = 4, seed: int = 0) -> float:
    """Departure from normality of a square operator: 0 normal, 1 a shift, 1/sqrt 2 independent Gaussian entries.

    See `rgprobe.probe.operator_spectra.operator_moments`.
    """
    return operator_moments(operator, draws=draws, seed=seed).nonnormality


def _log(values: xr.DataArray) -> xr.DataArray:
    """Natural logarithm; NaN where nothing is left."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return xr.apply_ufunc(np.log, values.where(values > 0))


DIAGNOSTIC = Diagnostic(
    name="jacobian_spectrum",
    catalogue="D9",
    title="Singular values of the blocks' Jacobians",
    depth="block",
    quantities=(
        Quantity("largest_gain", "nats", "ln sigma_1: growth of the most amplified perturbation in this block"),
        Quantity("rms_gain", "nats", "ln sqrt(mean sigma^2): growth of a random perturbation in this block"),
        Quantity("effective_rank", "1", "(sum sigma^2)^2 / (N sum sigma^4): share of the directions that carry the growth"),
        Quantity("nonnormality", "1", "|D^T D - D D^T| / (sqrt 2 |D^T D|), D = J less its mean diagonal: 0 normal, 1 shift"),
    ),
    requires=frozenset({"jacobians"}),
    measure=jacobian_spectrum,
    assumption=f"perturbations of the first {TOKENS} tokens of a prompt, Euclidean length over tokens and coordinates of the "
    "raw residual stream; without the sink, token 0 is neither perturbed nor read; means over the spectrum from 4 draws "
    "of random signs",
    reading="A residual block is the identity plus an update, so gains start from 0; norms grow with depth, and gains of raw "
    "states shrink for that reason alone: compare with random initialisations and with `lyapunov`, which takes norms out.",
    undefined="weights in half precision; a block that is no map of the residual stream alone; a singular value that had not "
    "converged to 1% of the largest",
    default=False,
)  # fmt: skip
