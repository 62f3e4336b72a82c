"""D11: Lyapunov exponents over depth: how fast nearby states separate, block by block, in direction and in norm.

A frame of random tangents is carried through the blocks along the prompt's states and made orthonormal again after each
(`rgprobe.probe.stretching`). After l blocks the finite-time exponent is the mean of what these stretched it by, nats per
layer. With the growth of the states' norms taken out, the angular part remains: that of the directions, which is what
the next norm lets through.
"""

from __future__ import annotations

from collections.abc import Iterable

import xarray as xr
from jaxtyping import Float, Float64
from torch import Tensor

from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity, reduction
from rgprobe.probe.jacobians import TANGENTS, TOKENS
from rgprobe.probe.stretching import Push, stretching_rates
from rgprobe.tracing import BeliefTrace

__all__ = ["DIAGNOSTIC", "lyapunov", "lyapunov_exponents"]


def lyapunov(trace: BeliefTrace) -> Measurement:
    """Finite-time exponents from the input end to each block, and each block's angular rate; all tangents in the details."""
    found = reduction(trace, "stretching")
    leading, angular, norm = (
        found["rates"].isel(tangent=0),
        found["angular_rates"].isel(tangent=0),
        found["norm_growth"],
    )
    values = {
        "exponent": _so_far(leading),
        "angular_exponent": _so_far(angular),
        "norm_exponent": _so_far(norm),
        "angular_rate": angular,
    }
    details = {"exponents": found["rates"].mean("block", skipna=False),
               "angular_exponents": found["angular_rates"].mean("block", skipna=False)}  # fmt: skip
    return Measurement(xr.Dataset(values).transpose("prompt", "block"), xr.Dataset(details))


def lyapunov_exponents(layers: Iterable[Push], frame: Float[Tensor, "count *shape"]) -> Float64[Tensor, " count"]:
    """Finite-time Lyapunov exponents of a sequence of layers, nats per layer.

    Args:
        layers: tangent maps along one trajectory, (count, *shape) -> (count, *shape) each.
        frame: independent tangents at the first state.

    Example:
        >>> import torch
        >>> halves = lambda u: u * torch.tensor([2.0, 0.5], dtype=torch.float64)
        >>> lyapunov_exponents([halves] * 4, torch.eye(2, dtype=torch.float64)).round(decimals=6).tolist()
        [0.693147, -0.693147]
    """
    return stretching_rates(layers, frame).mean(0)


def _so_far(rates: xr.DataArray) -> xr.DataArray:
    """Mean over the blocks up to and including each."""
    return rates.cumsum("block", skipna=False) / xr.DataArray(range(1, rates.sizes["block"] + 1), dims="block")


DIAGNOSTIC = Diagnostic(
    name="lyapunov",
    catalogue="D11",
    title="Lyapunov exponents over depth",
    depth="block",
    quantities=(
        Quantity("exponent", "nats/layer", "growth of a random perturbation from the input end to after this block"),
        Quantity(
            "angular_exponent", "nats/layer", "the same for the tokens' directions, the growth of norms taken out"
        ),
        Quantity("norm_exponent", "nats/layer", "growth of the tokens' norms from the input end to after this block"),
        Quantity("angular_rate", "nats/layer", "what this block alone stretches the angular perturbation by"),
    ),
    requires=frozenset({"stretching"}),
    measure=lyapunov,
    assumption=f"perturbations of the first {TOKENS} tokens of a prompt, small enough to be linear; without the sink, token 0 "
    f"is neither perturbed nor read; {TANGENTS} random tangents, drawn by prompt",
    reading="Above 0 nearby directions separate (relevant, chaotic), below 0 they merge; random networks are near 0 or on one "
    "side of it by design, so read the difference from them. A few blocks do not tell exponents apart: "
    "all tangents grow alike.",
    undefined="weights in half precision; a block that is no map of the residual stream alone",
    default=False,
)
