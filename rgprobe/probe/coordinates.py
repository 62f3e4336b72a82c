"""Coordinates in which Gaussian beliefs of residual states are kept: few directions, in units of the population's spread."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from rgprobe.probe.model import Hook, Probe

__all__ = ["RIDGE", "Coordinates", "PopulationCollector", "population_coordinates", "without_sink"]

RIDGE = 1e-3
# below this share of the largest variance a direction is rounding
NUMERICAL_RANK = 1e-10


@dataclass(frozen=True, eq=False)
class Coordinates:
    """An affine map between states x and r coordinates z: z = lower (x - centre), x = centre + lift^T z within their span.

    Attributes:
        centre: mean state of the population, (d,).
        lift: direction in state space of each coordinate, in units of its spread, (r, d).
        lower: what reads each coordinate off a state, (r, d); lower lift^T = 1.
    """

    centre: Float64[Tensor, " d"]
    lift: Float64[Tensor, "r d"]
    lower: Float64[Tensor, "r d"]

    def of(self, states: Float[Tensor, "*batch d"]) -> Float64[Tensor, "*batch r"]:
        """Coordinates of states."""
        return (states.double() - self.centre) @ self.lower.T

    def pull_back(self, gradients: Float[Tensor, "*batch d"]) -> Float64[Tensor, "*batch r"]:
        """Gradients with respect to the coordinates, from gradients with respect to the state."""
        return gradients.double() @ self.lift.T

    def turned(self, axes: Float64[Tensor, "k r"]) -> Coordinates:
        """Coordinates along orthonormal `axes` of these: a rotation, or its first few rows."""
        return Coordinates(self.centre, axes @ self.lift, axes @ self.lower)


def population_coordinates(states: Float[Tensor, "n d"], *, rank: int | None = None) -> Coordinates:
    """Principal components of a population of states, each in units of its own standard deviation.

    The population has covariance 1 in these coordinates, after regularisation: `RIDGE` times the mean variance of the
    components that are kept is added to the variance of each. Their number is `rank`, or fewer where the population has
    fewer (n - 1 at most, and at least one: a single token, or equal ones, get the direction of their mean).

    Args:
        states: of the tokens that make up the population.
        rank: largest number of coordinates; None keeps all.

    Example:
        >>> import torch
        >>> x = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
        >>> z = population_coordinates(x)
        >>> z.of(x).var(0, correction=0).round(decimals=2).tolist(), z.lift.norm(dim=1).round(decimals=2).tolist()
        ([1.0, 1.0], [2.12, 0.71])
    """
    states = states.double()
    centre = states.mean(0)
    variances, axes = _principal(states - centre)
    if len(axes) == 0:
        scale = centre.norm()
        first = torch.nn.functional.one_hot(torch.tensor(0), len(centre)).to(centre)
        axes = (centre / scale if scale > 0 else first)[None]
        variances = torch.where(scale > 0, scale.square() / len(centre), torch.ones_like(scale))[None]
    variances, axes = variances[:rank], axes[:rank]
    spread = (variances + RIDGE * variances.mean()).sqrt()[:, None]
    return Coordinates(centre, axes * spread, axes / spread)


def _principal(centred: Tensor) -> tuple[Tensor, Tensor]:
    """Variances, largest first, and orthonormal axes (r, d), from the smaller of the two Gram matrices."""
    n, d = centred.shape
    if n <= d:
        values, vectors = torch.linalg.eigh(centred @ centred.T)
        values, vectors = values.flip(0), (centred.T @ vectors).flip(1)
    else:
        values, vectors = torch.linalg.eigh(centred.T @ centred)
        values, vectors = values.flip(0), vectors.flip(1)
    kept = values > NUMERICAL_RANK * values[0].clamp_min(torch.finfo(values.dtype).tiny)
    axes = vectors[:, kept]
    return values[kept] / n, (axes / axes.norm(dim=0)).T


class PopulationCollector:
    """Coordinates of each state, from all tokens of one prompt, while it streams through; and the recorded states.

    Attributes:
        coordinates: one per state, input end first.
        recorded: states of the recorded tokens, one (positions, width) tensor per state.
    """

    def __init__(self, probe: Probe, positions: Tensor, *, sink: str, rank: int | None) -> None:
        self.probe, self.sink, self.rank = probe, sink, rank
        self.positions = positions.to(probe.device)
        self.coordinates: list[Coordinates] = []
        self.recorded: list[Tensor] = []

    def hooks(self) -> list[tuple[str, Hook]]:
        """What to attach."""
        return [(self.probe.state_hook(state), self._reduce) for state in range(self.probe.n_blocks + 1)]

    def _reduce(self, tensor: Tensor, hook: object) -> None:
        states = tensor[0]
        self.coordinates.append(population_coordinates(without_sink(states, self.sink), rank=self.rank))
        self.recorded.append(states[self.positions])


def without_sink(states: Float[Tensor, "n d"], sink: str) -> Float[Tensor, "kept d"]:
    """The population under the sink policy: all tokens but the first, whose state would outweigh all others."""
    return states[1:] if sink == "exclude" and len(states) > 1 else states
