"""D13: fixed points of a block, and of the stack, by applying them to their own output again and again.

A flow that has reached a fixed point is not moved by one more step; if blocks were steps of one renormalization map, a block
repeated would go to where the stack goes. Each block is iterated from the state that entered it, the stack from the embedding
with its output fed back, as maps of the tokens' directions with norms held (`rgprobe.probe.iterated_blocks`). The orbit
converges, cycles, diverges, or the steps do not suffice to tell; where it converges, the spectral radius of the derivative is
its rate. `critical_point` finds fixed points that repel, and their exponent, for maps of couplings.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float64

from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity, reduction
from rgprobe.errors import NumericalRefusal
from rgprobe.probe.iterated_blocks import ITERATIONS, TOLERANCE
from rgprobe.probe.iteration import STATUSES, Map, contraction, fixed_point, iterate
from rgprobe.probe.jacobians import TOKENS
from rgprobe.probe.operator_spectra import Operator, leading_eigenvalue
from rgprobe.tracing import BeliefTrace

__all__ = [
    "DIAGNOSTIC",
    "contraction_rate",
    "critical_point",
    "fixed_points",
    "spectral_radius",
]


def fixed_points(trace: BeliefTrace) -> Measurement:
    """Status, last residual, contraction and spectral radius by block; curves, and all of it for the stack, in the details."""
    found = reduction(trace, "iterations")
    status = found["outcome"].sel(item="status")
    defined = status.notnull()
    values = {
        "converged": (status == STATUSES.index("converged")).astype(float).where(defined),
        "cyclic": (status == STATUSES.index("cyclic")).astype(float).where(defined),
        "log_residual": _log(_last(found["residuals"])),
        "log_contraction": _log(found["outcome"].sel(item="contraction")),
        "log_radius": _log(found["outcome"].sel(item="radius")),
    }
    plain = {name: array.reset_coords(drop=True) for name, array in values.items()}
    details = {
        "residuals": found["residuals"],
        "stack_residuals": found["stack_residuals"],
        "stack_outcome": found["stack_outcome"],
    }
    return Measurement(xr.Dataset(plain).transpose("prompt", "block"), xr.Dataset(details))


def contraction_rate(function: Map, start: torch.Tensor, *, steps: int = ITERATIONS) -> float:
    """Factor by which the steps of an orbit shrink; NaN if fewer than 4 do.

    Example:
        >>> round(contraction_rate(lambda x: 0.5 * torch.sin(x), torch.tensor([1.0], dtype=torch.float64)), 4)
        0.5
    """
    return contraction(iterate(function, start, steps=steps, tolerance=1e-12).residuals)


def spectral_radius(operator: Operator, *, steps: int = 64, seed: int = 0) -> float:
    """Largest modulus of an eigenvalue of a square operator, from products with it: below 1 at a stable fixed point."""
    return abs(leading_eigenvalue(operator, steps=steps, seed=seed).value)


def critical_point(function: Map, start: float, *, scale: float = 2.0) -> Float64[np.ndarray, "3"]:
    """Fixed point K* of a renormalization map K -> K' of one coupling, with its exponents.

    y = ln(dK'/dK) / ln b is the eigenvalue exponent and nu = 1 / y that of the correlation length.

    Args:
        function: the map, for float64 tensors of one element.
        start: near K*.
        scale: b, the factor by which a step rescales lengths, > 1.

    Returns:
        K*, y, nu.

    Raises:
        NumericalRefusal: none is found, or the derivative there is not positive, so that no exponent exists.

    Example:
        >>> decimated = lambda k: torch.log(torch.cosh(4 * k)) / 2  # Migdal-Kadanoff
        >>> critical_point(decimated, 0.3).round(5)
        array([0.30469, 0.74724, 1.33827])
    """
    found = fixed_point(function, torch.tensor([start], dtype=torch.float64))
    slope = found.eigenvalue
    if slope.imag != 0 or slope.real <= 0:
        raise NumericalRefusal("derivative at the fixed point", expected="a positive number", received=f"{slope:g}",
                               remedy="iterate the map twice, which squares it")  # fmt: skip
    y = math.log(slope.real) / math.log(scale)
    return np.array([float(found.point), y, 1 / y if y else math.inf])


def _last(curves: xr.DataArray) -> xr.DataArray:
    """The last step that was made; NaN where none was."""
    made = curves.notnull().sum("iteration")
    return curves.isel(iteration=(made - 1).clip(min=0))


def _log(values: xr.DataArray) -> xr.DataArray:
    # an orbit that stands still to the last bit is at the rounding, not at minus infinity
    return xr.apply_ufunc(np.log, values.clip(min=float(np.finfo(np.float64).eps)))


DIAGNOSTIC = Diagnostic(
    name="fixed_points",
    catalogue="D13",
    title="Fixed points by iterating blocks",
    depth="block",
    quantities=(
        Quantity("converged", "1", "share of prompts whose states a repeated block takes to a fixed point"),
        Quantity("cyclic", "1", "share of prompts whose states it takes to a cycle of 2 to 8 steps"),
        Quantity("log_residual", "nats", "ln of the last step's size, radians, root mean square over tokens"),
        Quantity("log_contraction", "nats/iteration", "slope of ln step size over the last half of the iterations"),
        Quantity("log_radius", "nats/iteration", "ln of the spectral radius of the derivative at the fixed point"),
    ),
    requires=frozenset({"iterations"}),
    measure=fixed_points,
    assumption=f"directions of the first {TOKENS} tokens, each kept at the norm with which it entered the block; {ITERATIONS} "
    f"iterations at most; converged means steps below {TOLERANCE:g}; without the sink, token 0 moves but is not compared",
    reading="Steps shrink in random networks too, like 1/t, because an update is small beside what it is added to. Only "
    "convergence, or a contraction below that of random initialisations, speaks for a fixed point.",
    undefined="weights in half precision; a block that is no map of the residual stream alone; a radius where the orbit has "
    "not converged, or its eigenvalue has not to 5%; a contraction of fewer than 4 steps",
    default=False,
)  # fmt: skip
