"""Lyapunov exponents of a sequence of layers: how fast perturbations grow along one trajectory.

A frame of k tangents is carried from layer to layer and made orthonormal again after each; the logarithms of the diagonal of R
are what each layer stretched it by, and their means over layers are the leading finite-time exponents, in nats per layer.

A residual stream also grows in norm, and what follows (a norm) sees its direction only. The angular part is the same for the
unit vectors n_i = x_i / |x_i| of the tokens, their norms being those of the trajectory: tangents are orthogonal to the
states, and layer l acts on them as

    u_i -> (1 - n'_i n'_i^T) (J (|x| u))_i / |x'_i|,

so growth of norms is taken out of it, and is reported by itself as mean_i ln |x'_i| / |x_i|.

Source: Benettin, Galgani, Giorgilli and Strelcyn, Meccanica 15, 9 (1980); Eckmann and Ruelle, Rev. Mod. Phys. 57, 617 (1985).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from rgprobe.errors import OptionError

__all__ = ["angular", "norm_growth", "stretching_rates", "tangent_frame"]

Push = Callable[[Tensor], Tensor]


def stretching_rates(layers: Iterable[Push], frame: Float[Tensor, "count *shape"]) -> Float64[Tensor, "layers count"]:
    """ln |R_ii| of each layer, nats; the mean over layers is the i-th finite-time Lyapunov exponent.

    Args:
        layers: tangent maps along one trajectory, (count, *shape) -> (count, *shape) each; drawn one at a time, so that an
            iterator need hold one layer only.
        frame: independent tangents at the first state; made orthonormal before the first layer.

    Returns:
        -inf where a layer collapses the frame.

    Raises:
        OptionError: more tangents than dimensions.

    Example:
        >>> halves = lambda u: u * torch.tensor([2.0, 0.5], dtype=torch.float64)
        >>> stretching_rates([halves] * 2, torch.eye(2, dtype=torch.float64)).round(decimals=4).tolist()
        [[0.6931, -0.6931], [0.6931, -0.6931]]
    """
    count, shape = len(frame), frame.shape[1:]
    if count > shape.numel():
        raise OptionError("frame", expected=f"at most {shape.numel()} tangents, one per dimension", received=str(count),
                          remedy="follow fewer")  # fmt: skip
    columns, _ = torch.linalg.qr(frame.double().flatten(1).mT)
    rates = []
    for push in layers:
        pushed = push(columns.mT.unflatten(1, shape).contiguous())
        columns, r = torch.linalg.qr(pushed.double().flatten(1).mT)
        rates.append(torch.diagonal(r).abs().log())
    return torch.stack(rates) if rates else torch.empty(0, count, dtype=torch.float64)


def angular(push: Push, before: Float[Tensor, "tokens width"], after: Float[Tensor, "tokens width"]) -> Push:
    """The tangent map of the tokens' directions, from that of their states.

    Args:
        push: (count, tokens, width) -> the same, the tangent map of a layer.
        before: states that enter it.
        after: states that leave it.
    """
    entering, leaving = before.double().norm(dim=-1, keepdim=True), after.double().norm(dim=-1, keepdim=True)
    direction = after.double() / leaving

    def pushed(tangents: Tensor) -> Tensor:
        moved = push(tangents * entering).double() / leaving
        return moved - (moved * direction).sum(-1, keepdim=True) * direction

    return pushed


def tangent_frame(
    count: int, state: Float[Tensor, "tokens width"], *, seed: int, across: bool = False
) -> Float64[Tensor, "count tokens width"]:
    """Random tangents at a state; orthogonal to each token's own state if `across`."""
    generator = torch.Generator().manual_seed(seed)
    frame = torch.randn(count, *state.shape, generator=generator, dtype=torch.float64).to(state.device)
    if not across:
        return frame
    direction = state.double() / state.double().norm(dim=-1, keepdim=True)
    return frame - (frame * direction).sum(-1, keepdim=True) * direction


def norm_growth(states: Float[Tensor, "states tokens width"]) -> Float64[Tensor, " layers"]:
    """Mean over tokens of ln |x'| / |x| for each layer, nats.

    Example:
        >>> norm_growth(torch.tensor([1.0, 2.0, 8.0]).view(3, 1, 1)).div(torch.log(torch.tensor(2.0))).round().tolist()
        [1.0, 2.0]
    """
    return states.double().norm(dim=-1).log().diff(dim=0).mean(1)
