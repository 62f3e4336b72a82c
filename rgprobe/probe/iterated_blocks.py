"""Blocks, and the stack, applied to their own output again and again, each token kept at the norm it had.

A block adds to its input, so a block applied to its own output makes norms grow without end and has no fixed point. What
follows a state reads its direction; so directions are iterated,

    n -> F(r n) / |F(r n)|   token by token,

with r the norms that the tokens of the prompt had where they entered.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor

from rgprobe.probe.iteration import STATUSES, contraction, iterate
from rgprobe.probe.jacobians import FLOW, GRAPH, PRODUCT, first_token, flow_of, operator_on
from rgprobe.probe.model import Probe
from rgprobe.probe.operator_spectra import leading_eigenvalue
from rgprobe.probe.prompts import EncodedPrompt, prompt_seed
from rgprobe.probe.tangents import linearized

__all__ = ["ITERATIONS", "TOLERANCE", "iterated_blocks", "iteration_cost", "on_directions"]

ITERATIONS = 64
TOLERANCE = 1e-5  # radians, root mean square over tokens: above the rounding of float32
EIGEN_STEPS = 24
ACCURATE = 0.05  # residual of the leading eigenvalue, relative: what is less sure is left out

Map = Callable[[Tensor], Tensor]


def iterated_blocks(probe: Probe, prompt: EncodedPrompt, recorded: Int[Tensor, " positions"], sink: str) -> xr.Dataset:
    """Where each block, and the whole stack with its output fed back, takes the states that entered it.

    Returns:
        residuals (block, iteration), NaN after the end; outcome (block, item): index into `STATUSES`, period, contraction and
        spectral radius at the end, the latter for converged orbits only; with `stack_` the same of the stack.
    """
    residuals = np.full((probe.n_blocks + 1, ITERATIONS), np.nan)
    outcome = np.full((probe.n_blocks + 1, 4), np.nan)
    flow, first = flow_of(probe, prompt), first_token(prompt, sink)
    if flow is not None:
        maps = [*zip(flow.blocks, flow.states, strict=False), (flow.stack, flow.states[0])]
        for index, (function, state) in enumerate(maps):
            norms = state.norm(dim=-1, keepdim=True)
            steps, outcome[index] = _outcome(on_directions(function, norms), state / norms, first, prompt)
            residuals[index, : len(steps)] = steps
    arrays = {"residuals": ("iteration", residuals), "outcome": ("item", outcome)}
    return xr.Dataset(
        {
            **{name: (("block", dim), array[:-1]) for name, (dim, array) in arrays.items()},
            **{f"stack_{name}": ((dim,), array[-1]) for name, (dim, array) in arrays.items()},
        },
        coords={"iteration": np.arange(1, ITERATIONS + 1), "item": ["status", "period", "contraction", "radius"]},
    )


def iteration_cost(probe: Probe) -> float:
    """Forward passes of one prompt, at most."""
    return FLOW + 2 * (ITERATIONS + GRAPH + PRODUCT * EIGEN_STEPS)


def on_directions(function: Map, norms: Float[Tensor, "tokens 1"]) -> Map:
    """The map of unit vectors that a map of states makes when every token is kept at its norm.

    Example:
        >>> turn = on_directions(lambda x: x + x.flip(-1), torch.full((1, 1), 3.0))
        >>> turn(torch.tensor([[1.0, 0.0]])).square().tolist()
        [[0.5..., 0.5...]]
    """

    def step(direction: Tensor) -> Tensor:
        moved = function(norms * direction)
        return moved / moved.norm(dim=-1, keepdim=True)

    return step


def _outcome(step: Map, start: Tensor, first: int, prompt: EncodedPrompt) -> tuple[np.ndarray, list[float]]:
    with torch.no_grad():
        orbit = iterate(step, start, steps=ITERATIONS, tolerance=TOLERANCE, watch=lambda x: x[first:])
    radius = float("nan")
    if orbit.status == "converged":
        operator = operator_on(linearized(step, orbit.point), orbit.point, first)
        seed = prompt_seed(prompt.ids)
        found = leading_eigenvalue(operator, steps=EIGEN_STEPS, tolerance=ACCURATE / 10, seed=seed)
        radius = abs(found.value) if found.residual <= ACCURATE * abs(found.value) else radius
    shrinks = contraction(orbit.residuals, floor=TOLERANCE / 10)
    return orbit.residuals.numpy(), [float(STATUSES.index(orbit.status)), float(orbit.period), shrinks, radius]
