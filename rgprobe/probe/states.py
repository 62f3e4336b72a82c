"""Residual states: geometry of all tokens at each state, and the states of the recorded tokens."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rgprobe.probe.model import Hook, Probe

__all__ = ["GEOMETRY", "StateCollector", "geometry_without_and_with_first", "state_geometry"]

GEOMETRY = ("cosine", "dong_residual", "participation_ratio", "norm")
GRAM_BLOCK = 128  # rows: enough for a matrix product to run at full speed


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
    centred = states - states.mean(0)
    norms = states.norm(dim=-1, keepdim=True)
    return _geometry(states, norms, centred.square().sum(), _squared_gram(centred))


def geometry_without_and_with_first(
    states: Float[Tensor, "tokens width"],
) -> tuple[Float[Tensor, "4"], Float[Tensor, "4"]]:
    """`state_geometry` of all tokens but the first, and of all, from one Gram matrix.

    With y_i = x_i less the mean of the others, S = sum_{i > 0} y_i y_i^T and f = 1 - 1/n, the first token adds f y_0 y_0^T to
    the scatter, so that tr C = tr S + f |y_0|^2 and tr C^2 = tr S^2 + 2 f sum_i (y_i . y_0)^2 + f^2 |y_0|^4: sums of
    non-negative terms, in which no digit is lost, however far the first token lies from the others.
    """
    states = states.to(torch.promote_types(states.dtype, torch.float32))
    n = len(states)
    if n < 4:
        return state_geometry(states[1:]), state_geometry(states)
    norms, kept = states.norm(dim=-1, keepdim=True), 1 - 1 / n
    mean = states[1:].mean(0)
    others, first = states[1:] - mean, states[0] - mean
    variance, gram = others.square().sum(), _squared_gram(others)
    along, own = (others @ first).square().sum(), first.square().sum()
    without = _geometry(states[1:], norms[1:], variance, gram)
    gram_of_all = gram + 2 * kept * along + (kept * own).square()
    return without, _geometry(states, norms, variance + kept * own, gram_of_all)


def _geometry(states: Tensor, norms: Tensor, variance: Tensor, gram: Tensor) -> Tensor:
    """The four from |x_i|, tr C and tr C^2 (both of the sum over tokens, not of the mean)."""
    n = len(states)
    cosine = ((states / norms).sum(0).square().sum() - n) / (n * (n - 1))
    power = states.square().sum()
    return torch.stack([cosine, (variance / power).sqrt(), variance.square() / gram, (power / n).sqrt()])


def _squared_gram(centred: Tensor) -> Tensor:
    """Sum of squares of X X^T, or of X^T X where that is smaller: the blocks on the diagonal, and twice those above it."""
    rows = centred if centred.shape[0] <= centred.shape[1] else centred.T
    total = torch.zeros((), dtype=centred.dtype, device=centred.device)
    for start in range(0, len(rows), GRAM_BLOCK):
        block = rows[start : start + GRAM_BLOCK]
        total += (block @ block.T).square().sum() + 2 * (block @ rows[start + GRAM_BLOCK :].T).square().sum()
    return total


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
            excluded, included = geometry_without_and_with_first(states)
            self.excluded.append(excluded)
            self.included.append(included)
        # a model may be spread over devices: what is kept meets on one
        self.recorded.append(states[self.positions.to(states.device)].to(self.positions.device, copy=True))
