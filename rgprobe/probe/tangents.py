"""Derivatives of a model's blocks along directions, at a prompt's own states: J u and J^T w, never J itself.

A perturbation lives on tokens x width of one prompt, because attention carries it from token to token. Products are exact: the
graph of a block is built once, together with that of w -> J^T w, which is linear in w, so that its own vector-Jacobian
product is u -> J u. Any number of products follow at about one forward pass of the block each, with none of the model's
Python run again. (Forward mode through a batch of directions gives the same to rounding, took twice as long, and is lacking
in custom functions.) Attention runs on the plain kernel meanwhile: fused ones have no second derivative.

Source: Griewank and Walther, Evaluating Derivatives (2008), chapter 3; products with a Jacobian by differentiating twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from rgprobe.checks import whole_number
from rgprobe.errors import NumericalRefusal, OptionError
from rgprobe.probe.block_maps import SAME, BlockMap, block_maps, relative_error
from rgprobe.probe.model import Hook, Probe

__all__ = ["Linearization", "PromptFlow", "block_products", "linearized", "prompt_flow", "pushed_forward"]

Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Linearization:
    """A map to first order about one point, as products with its Jacobian J.

    Attributes:
        value: the map at the point.
        jvp: (directions, *shape in) -> (directions, *shape out), J u of each.
        vjp: (directions, *shape out) -> (directions, *shape in), J^T w of each.
    """

    value: Tensor
    jvp: Map
    vjp: Map


@dataclass(frozen=True, eq=False)
class PromptFlow:
    """The blocks of a model as maps of the states of one prompt.

    Attributes:
        states: x_0 ... x_L of the prompt.
        blocks: block l as a map of (tokens, width), x_(l+1) = blocks[l](x_l), attention mask and positions being the prompt's.
    """

    states: Float[Tensor, "states tokens width"]
    blocks: tuple[Map, ...]

    def stack(self, x: Float[Tensor, "tokens width"]) -> Float[Tensor, "tokens width"]:
        """All blocks, one after the other."""
        for block in self.blocks:
            x = block(x)
        return x


def pushed_forward(
    probe: Probe,
    ids: Int[Tensor, " tokens"],
    tangents: Float[Tensor, "directions tokens width"],
    *,
    start: int = 0,
) -> Float[Tensor, "states directions tokens width"]:
    """J_(start->l) u for every later state l: where a small perturbation of state `start` has gone.

    Exact derivatives of the blocks at the prompt's own states, taken block by block, so that one graph is held at a time.
    Costs about 7 forward passes of the prompt and one more for each direction.

    Args:
        probe: a model of either family.
        ids: one prompt, n tokens.
        tangents: directions u at state `start`, (k, n, d), any scale.
        start: state at which they are put in, 0 (input end) to L.

    Returns:
        (L + 1 - start, k, n, d); index 0 holds the tangents themselves, the last index the end of the stack.

    Raises:
        OptionError: no such state, or tangents of another shape than a state of this prompt.
        NumericalRefusal: see `prompt_flow`.

    Example:
        >>> import rgprobe as rg, torch
        >>> model = rg.load("gauge-small")
        >>> u = torch.randn(2, 5, model.width)
        >>> pushed_forward(model, torch.arange(5), u, start=1).shape[0] == model.n_blocks
        True
    """
    _check(probe, ids, tangents, start)
    flow = prompt_flow(probe, ids)
    pushed = [tangents.detach().to(flow.states)]
    for state in range(start, probe.n_blocks):
        pushed.append(linearized(flow.blocks[state], flow.states[state]).jvp(pushed[-1]))
    return torch.stack(pushed)


def block_products(probe: Probe, ids: Int[Tensor, " tokens"], block: int | None = None) -> Linearization:
    """One block at the prompt's own state, or the whole stack, as products with its Jacobian.

    Args:
        probe: a model of either family.
        ids: one prompt, n tokens.
        block: 0 to L - 1; None for the stack, from state 0 to state L.

    Returns:
        maps of (directions, n, d) to (directions, n, d); `value` is the state after the block.

    Raises:
        OptionError: no such block.
        NumericalRefusal: see `prompt_flow`.
    """
    if block is not None:
        whole_number("block", block, least=0, most=probe.n_blocks - 1, remedy="choose one, or None for the stack")
    flow = prompt_flow(probe, ids)
    return (
        linearized(flow.stack, flow.states[0]) if block is None else linearized(flow.blocks[block], flow.states[block])
    )


def linearized(function: Map, point: Float[Tensor, "*shape"]) -> Linearization:
    """Products with the Jacobian of a differentiable map at a point, from one graph.

    Each product costs about one backward pass. The graph is held as long as the result is.

    Args:
        function: of a tensor of the point's shape.
        point: where.

    Example:
        >>> x = torch.tensor([3.0, 4.0])
        >>> j = linearized(lambda x: torch.stack([x[0] * x[1], x[1]]), x)  # J = [[4, 3], [0, 1]]
        >>> j.jvp(torch.eye(2)).tolist(), j.vjp(torch.eye(2)).tolist()
        ([[4.0, 0.0], [3.0, 1.0]], [[4.0, 3.0], [0.0, 1.0]])
    """
    with _differentiating():
        x = point.detach().clone().requires_grad_()
        y = function(x)
        if not y.requires_grad:  # it does not depend on x at all, and its products are zero
            y = y + 0.0 * x.sum()
        w = torch.zeros_like(y).requires_grad_()
        (pulled,) = torch.autograd.grad(y, x, w, create_graph=True, materialize_grads=True)

    def products(output: Tensor, source: Tensor, directions: Tensor) -> Tensor:
        with _differentiating():
            each = (
                torch.autograd.grad(output, source, one, retain_graph=True, materialize_grads=True)[0]
                for one in directions.to(output)
            )
            return torch.stack(list(each))

    # J^T w does not depend on w where the map is locally constant: then there is no graph from w, and J is zero
    linear = pulled.requires_grad

    def jvp(directions: Tensor) -> Tensor:
        return products(pulled, w, directions) if linear else y.new_zeros(len(directions), *y.shape)

    return Linearization(y.detach(), jvp, lambda directions: products(y, x, directions))


def prompt_flow(probe: Probe, ids: Int[Tensor, " tokens"]) -> PromptFlow:
    """The states of a prompt and the blocks as maps between them, callable at other states and differentiable.

    A block is called by itself with the arguments (mask, positions, frames) that the whole pass gave it, without the cache of
    keys, and its output is compared with the state of the whole pass.

    Raises:
        NumericalRefusal: a block by itself does not reproduce the states, so it is no map of the residual stream alone.
    """
    states: list[Tensor] = []
    hooks: list[tuple[str, Hook]] = [
        (probe.state_hook(state), lambda tensor, hook: states.append(tensor[0])) for state in range(probe.n_blocks + 1)
    ]
    with _differentiating(), torch.no_grad():
        maps = block_maps(probe, ids[None], hooks)
    flow = PromptFlow(torch.stack(states).detach(), tuple(map(_of_one_prompt, maps)))
    _verify(probe, flow)
    return flow


def _of_one_prompt(block: BlockMap) -> Map:
    def apply(x: Tensor) -> Tensor:
        with sdpa_kernel(SDPBackend.MATH):
            return block(x[None])[0]

    return apply


def _verify(probe: Probe, flow: PromptFlow) -> None:
    for index, block in enumerate(flow.blocks):
        with torch.no_grad():
            found = block(flow.states[index])
        error = relative_error(found, flow.states[index + 1])
        if not error <= SAME:
            raise NumericalRefusal(
                f"block {index} of {probe.name}", expected="a map of the residual stream alone, the same when called by itself",
                received=f"states {error:.1g} apart", remedy="ask for diagnostics of attention and states only",
            )  # fmt: skip


@contextmanager
def _differentiating() -> Iterator[None]:
    """Whatever mode the caller is in, with a kernel of attention that has derivatives of every kind."""
    with torch.inference_mode(False), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        yield


def _check(probe: Probe, ids: Tensor, tangents: Tensor, start: int) -> None:
    whole_number("start", start, least=0, most=probe.n_blocks, remedy="choose a state, counted from the input end")
    if tangents.shape[1:] != (len(ids), probe.width) or len(tangents) == 0:
        raise OptionError("tangents", expected=f"at least one direction, (k, {len(ids)}, {probe.width})",
                          received=str(tuple(tangents.shape)), remedy="give one entry per token and coordinate")  # fmt: skip
