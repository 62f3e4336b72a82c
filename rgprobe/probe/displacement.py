"""Positions moved by any real amount, where a model knows them as phases: rotary embeddings, frames of a gauge model.

A rotation by position has no direction in state space that could be added to a token. What can be perturbed is the position
itself: token i is told that it stands at i + a_i. A common displacement of all tokens changes nothing where only differences
of positions enter: rotary queries and keys, and frames with covariances that turn along with them or look the same from
everywhere. Covariances that are diagonal in the common frame do not turn along.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rgprobe.errors import OptionError
from rgprobe.probe.model import Probe

__all__ = ["displaced", "has_phases"]

# what transformers calls the module that turns position ids into cosines and sines
ROTARY = "RotaryEmbedding"


def has_phases(probe: Probe) -> bool:
    """Whether positions enter as rotations that `displaced` can reach.

    Example:
        >>> import rgprobe as rg
        >>> has_phases(rg.load("standard-small"))
        True
    """
    return bool(_rotations(probe))


@contextmanager
def displaced(probe: Probe, displacement: Float[Tensor, " tokens"]) -> Iterator[None]:
    """For the duration of a `with` block, token i of every prompt of this length stands at i + a_i.

    Args:
        probe: a model whose positions are phases.
        displacement: a_i, tokens, real.

    Raises:
        OptionError: the positions of this model are no phases, or none that are known here.
    """
    modules = _rotations(probe)
    if not modules:
        raise OptionError("displacement", expected="a model with rotary positions or frames of position",
                          received=probe.name, remedy="shift its position embeddings instead")  # fmt: skip
    with ExitStack() as stack:
        for module, attach in modules:
            stack.callback(attach(module, displacement).remove)
        yield


def _rotations(probe: Probe) -> list[tuple[nn.Module, Callable[[nn.Module, Tensor], Any]]]:
    """Modules that make rotations, each with what attaches a displacement to it."""
    if probe.family == "gauge":
        return [(probe.bridge.tokens, _displace_frames)] if probe.bridge.cfg.frames != "none" else []
    modules = probe.bridge.original_model.modules()
    return [(module, _displace_ids) for module in modules if type(module).__name__.endswith(ROTARY)]


def _displace_ids(module: nn.Module, displacement: Tensor) -> Any:
    """Position ids are turned into real numbers by the module, so that they may be some to begin with."""

    def move(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if "position_ids" in kwargs:
            ids = kwargs["position_ids"]
            return args, {**kwargs, "position_ids": ids + displacement.to(ids.device)}
        return (args[0], args[1] + displacement.to(args[1].device), *args[2:]), kwargs

    return module.register_forward_pre_hook(move, with_kwargs=True)


def _displace_frames(module: nn.Module, displacement: Tensor) -> Any:
    """U_i = exp(phi_i) R(i) becomes U_i R(a_i) = exp(phi_i) R(i + a_i), because rotations by position commute."""

    def turn(module: nn.Module, args: tuple[Any, ...], geometry: Any) -> Any:
        matrix = geometry.frames.matrix
        further = _rotation(displacement, matrix.shape[-1]).to(matrix)
        return replace(geometry, frames=replace(geometry.frames, matrix=matrix @ further))

    return module.register_forward_hook(turn)


def _rotation(displacement: Float[Tensor, " tokens"], k: int) -> Float[Tensor, "tokens k k"]:
    """R(a), as `rgprobe.models.gauge.frames.rotary_matrix` has it for whole numbers."""
    from rgprobe.models.gauge.frames import ROTARY_BASE

    omega = ROTARY_BASE ** (-torch.arange(0, k, 2, dtype=torch.float64) / k)
    angle = torch.outer(displacement.double().cpu(), omega)
    cos, sin = torch.diag_embed(angle.cos()), torch.diag_embed(angle.sin())
    return torch.cat([torch.cat([cos, -sin], -1), torch.cat([sin, cos], -1)], -2)
