"""Residual states: geometry of all tokens at each state, and the states of the recorded tokens."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rgprobe.probe.model import Hook, Probe

__all__ = ["GEOMETRY", "StateCollector", "state_geometry"]

GEOMETRY = ("cosine", "dong_residual", "participation_ratio", "norm")


def state_geometry(states: Float[Tensor, "tokens width"]) -> Float[Tensor, "4"]:
    """How far the tokens of one prompt have collapsed onto each other; NaN below three tokens.

    - cosine: mean of cos(x_i, x_j) over pairs i != j;
    - dong_residual: ||X - 1 x^T||_F / ||X||_F with x the mean token (Dong, Cordonnier and Loukas 2021, in Frobenius norm);
    - participation_ratio: (tr C)^2 / tr C^2 of the covariance over tokens, between 1 and min(tokens - 1, width);
    - norm: root mean square of |x_i|.

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]], dtype=torch.float64)
        >>> [round(v, 6) for v in state_geometry(x).tolist()]
        [-0.333333, 1.0, 2.0, 1.0]
    """
    states = states.to(torch.promote_types(states.dtype, torch.float32))
    n = len(states)
    if n < 3:
        return torch.full((len(GEOMETRY),), torch.nan, dtype=states.dtype, device=states.device)
    unit = states / states.norm(dim=-1, keepdim=True)
    cosine = (unit.sum(0).square().sum() - n) / (n * (n - 1))
    centred = states - states.mean(0)
    variance = centred.square().sum()
    power = states.square().sum()
    gram = centred @ centred.T if n <= states.shape[1] else centred.T @ centred
    return torch.stack([cosine, (variance / power).sqrt(), variance.square() / gram.square().sum(), (power / n).sqrt()])


class StateCollector:
    """Hooks that keep the geometry of every state and the states of the recorded tokens, for one prompt.

    Attributes:
        excluded: geometry without token 0, one (4,) tensor per state.
        included: geometry of all tokens.
        recorded: states of the recorded tokens, one (positions, width) tensor per state.
    """

    def __init__(self, probe: Probe, positions: Int[Tensor, "positions"], *, geometry: bool = True) -> None:
        self.probe = probe
        self.positions = positions.to(probe.device)
        self.geometry = geometry
        self.excluded: list[Tensor] = []
        self.included: list[Tensor] = []
        self.recorded: list[Tensor] = []

    def hooks(self) -> list[tuple[str, Hook]]:
        """What to attach."""
        return [(self.probe.state_hook(state), self._reduce) for state in range(self.probe.n_blocks + 1)]

    def _reduce(self, tensor: Tensor, hook: Any) -> None:
        states = tensor[0]
        if self.geometry:
            self.excluded.append(state_geometry(states[1:]))
            self.included.append(state_geometry(states))
        self.recorded.append(states[self.positions].clone())
