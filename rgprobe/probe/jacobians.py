"""Jacobians of blocks at a prompt's own states, reduced to a few numbers through products alone.

Perturbations live on tokens x width of the first `TOKENS` tokens of a prompt; with the sink left out, on all but token 0, both
where they are put in and where they are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor

from rgprobe.errors import NumericalRefusal
from rgprobe.probe.model import Probe
from rgprobe.probe.operator_spectra import Operator, leading_singular_values, operator_moments
from rgprobe.probe.prompts import EncodedPrompt, prompt_seed
from rgprobe.probe.stretching import angular, norm_growth, stretching_rates, tangent_frame
from rgprobe.probe.tangents import Linearization, PromptFlow, linearized, prompt_flow

__all__ = [
    "DRAWS",
    "RANKS",
    "STEPS",
    "TANGENTS",
    "TOKENS",
    "first_token",
    "flow_of",
    "jacobian_cost",
    "jacobians",
    "operator_on",
    "stretching",
    "stretching_cost",
]

TOKENS = 32  # of a prompt: a block's graph grows with the square of them
RANKS = 8
STEPS = 24
DRAWS = 4
TANGENTS = 4
ACCURATE = 1e-2  # bound relative to the largest singular value (errors are of second order in it); others are left out
# forward passes: finding the maps, building the graphs, and one product; analyses/transport_cost.py measures them
FLOW, GRAPH, PRODUCT = 2.5, 3.0, 1.2


def jacobians(probe: Probe, prompt: EncodedPrompt, recorded: Int[Tensor, " positions"], sink: str) -> xr.Dataset:
    """Leading singular values and moments of every block's Jacobian, and of the whole stack's.

    Returns:
        singular_values (block, rank) and moments (block, moment): mean square, effective rank, non-normality; with `stack_`
        the same of the stack. NaN from the first singular value on whose bound is above a hundredth of the largest; all NaN
        for a model in half precision or whose blocks are no maps of the residual stream.
    """
    values = np.full((probe.n_blocks + 1, RANKS), np.nan)
    moments = np.full((probe.n_blocks + 1, 3), np.nan)
    flow, first = flow_of(probe, prompt), first_token(prompt, sink)
    if flow is not None:
        maps = [*zip(flow.blocks, flow.states, strict=False), (flow.stack, flow.states[0])]
        for index, (function, state) in enumerate(maps):
            operator = operator_on(linearized(function, state), state, first)
            values[index], moments[index] = _reduced(operator, seed=prompt_seed(prompt.ids) + index)
    arrays = {"singular_values": ("rank", values), "moments": ("moment", moments)}
    return xr.Dataset(
        {
            **{name: (("block", dim), array[:-1]) for name, (dim, array) in arrays.items()},
            **{f"stack_{name}": ((dim,), array[-1]) for name, (dim, array) in arrays.items()},
        },
        coords={"rank": np.arange(1, RANKS + 1), "moment": ["mean_square", "effective_rank", "nonnormality"]},
    )


def jacobian_cost(probe: Probe) -> float:
    """Forward passes of one prompt, at most: blocks and stack, each a graph, Lanczos steps and random signs."""
    return FLOW + 2 * (GRAPH + PRODUCT * (2 * STEPS + 4 * DRAWS))


def stretching(probe: Probe, prompt: EncodedPrompt, recorded: Int[Tensor, " positions"], sink: str) -> xr.Dataset:
    """Stretching of a frame of tangents by every block, along the states of a prompt, nats.

    Returns:
        rates (block, tangent), angular_rates (block, tangent) and norm_growth (block); see `rgprobe.probe.stretching`.
    """
    rates = np.full((2, probe.n_blocks, TANGENTS), np.nan)
    growth = np.full(probe.n_blocks, np.nan)
    flow, first = flow_of(probe, prompt), first_token(prompt, sink)
    if flow is not None:
        states = flow.states[:, first:]
        for part, across in enumerate((False, True)):
            frame = tangent_frame(
                min(TANGENTS, _dimensions(states[0], across)), states[0], seed=prompt_seed(prompt.ids), across=across
            )
            rates[part, :, : len(frame)] = stretching_rates(_pushes(flow, first, across), frame).cpu().numpy()
        growth = norm_growth(states).cpu().numpy()
    dims = ("block", "tangent")
    return xr.Dataset(
        {"rates": (dims, rates[0]), "angular_rates": (dims, rates[1]), "norm_growth": (("block",), growth)}
    )


def stretching_cost(probe: Probe) -> float:
    """Forward passes of one prompt."""
    return FLOW + 2 * (GRAPH + PRODUCT * TANGENTS)


def flow_of(probe: Probe, prompt: EncodedPrompt) -> PromptFlow | None:
    """The blocks as maps of the first tokens' states; None in half precision, or where they are no such maps."""
    if torch.finfo(probe.dtype).bits < 32:
        return None
    try:
        return prompt_flow(probe, prompt.ids[:TOKENS])
    except NumericalRefusal:
        return None


def first_token(prompt: EncodedPrompt, sink: str) -> int:
    """The first token whose perturbations count."""
    return 1 if sink == "exclude" and len(prompt) > 1 else 0


def operator_on(products: Linearization, state: Float[Tensor, "tokens width"], first: int) -> Operator:
    """A Jacobian as an operator on the flattened tokens from `first` on."""
    shape = (len(state) - first, state.shape[1])

    def restricted(product: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def apply(rows: Tensor) -> Tensor:
            tokens = rows.to(state).unflatten(1, shape)
            return product(torch.nn.functional.pad(tokens, (0, 0, first, 0)))[:, first:].flatten(1)

        return apply

    return Operator(shape[0] * shape[1], restricted(products.jvp), restricted(products.vjp))


def _reduced(operator: Operator, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    found = leading_singular_values(operator, count=RANKS, steps=STEPS, tolerance=ACCURATE, seed=seed)
    values = np.full(RANKS, np.nan)
    # from the first that is not accurate on, not even the rank is sure
    accurate = np.logical_and.accumulate((found.bounds <= ACCURATE * found.values[0]).numpy())
    values[: len(accurate)] = np.where(accurate, found.values.numpy(), np.nan)
    moments = operator_moments(operator, draws=DRAWS, seed=seed)
    return values, np.array([moments.mean_square, moments.effective_rank, moments.nonnormality])


def _pushes(flow: PromptFlow, first: int, across: bool) -> Iterator[Callable[[Tensor], Tensor]]:
    """Tangent maps of the blocks; one graph at a time."""
    for block, before, after in zip(flow.blocks, flow.states, flow.states[1:], strict=False):
        push = _pushed_tokens(operator_on(linearized(block, before), before, first), before[first:])
        yield angular(push, before[first:], after[first:]) if across else push


def _pushed_tokens(operator: Operator, like: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda tangents: operator.forward(tangents.flatten(1)).unflatten(1, like.shape)


def _dimensions(state: Tensor, across: bool) -> int:
    return len(state) * (state.shape[1] - across)
