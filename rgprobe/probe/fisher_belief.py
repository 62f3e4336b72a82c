"""Fisher beliefs: how precisely a state is pinned down by what the readout would predict from it.

    mu = x,   Lambda = Sigma_pop^-1 + J^T (diag p - p p^T) J,   J = d logits / d x through the final norm

Laplace's construction: the population of the prompt's own states as prior, the Fisher information of the prediction
p = softmax(logits) as curvature. Both live in r principal components of the population, in which its covariance is 1.

The final norm is blind to the length of a state, and LayerNorm to its mean as well: the information has rank d - 1 or d - 2
at most.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from rgprobe.gaussian import Gaussian
from rgprobe.probe.coordinates import Coordinates, PopulationCollector
from rgprobe.probe.model import Hook, Probe
from rgprobe.probe.tangents import linearized

__all__ = ["FisherBeliefCollector", "belief_of_precision", "categorical_information", "readout_information"]

SAME_LOGITS = 1e-3
SAME_SPAN = 1e-5


def categorical_information(
    tangents: Float[Tensor, "*batch r V"], log_p: Float[Tensor, "*batch V"]
) -> Float64[Tensor, "*batch r r"]:
    r"""Fisher information of a categorical distribution about r directions: A (diag p - p p^T) A^T.

    .. math:: F_{ab} = \sum_v p_v (A_{av} - \bar A_a)(A_{bv} - \bar A_b), \quad \bar A_a = \sum_v p_v A_{av}

    so that a constant added to all logits changes nothing, and no difference of nearly equal sums is taken.

    Args:
        tangents: derivative A of each logit along each direction.
        log_p: log-probabilities, nats.

    Returns:
        F, nats per squared unit of the directions (twice the KL divergence of a small step, to second order).

    Example:
        >>> import torch
        >>> tangents, even = torch.tensor([[1.0, -1.0]]), torch.tensor([0.5, 0.5]).log()
        >>> round(categorical_information(tangents, even).item(), 6)
        1.0
    """
    tangents, p = tangents.double(), log_p.double().exp().unsqueeze(-2)
    centred = tangents - (tangents * p).sum(-1, keepdim=True)
    information = (centred * p) @ centred.mT
    return (information + information.mT) / 2


def readout_information(
    probe: Probe, states: Float[Tensor, "n d"], directions: Float[Tensor, "r d"]
) -> Float64[Tensor, "n r r"]:
    """Fisher information of the prediction at each state about steps along `directions`, one matrix per state.

    Where the readout is a norm and a linear map, with or without a soft cap, the vocabulary meets r + n directions once
    instead of r for each of n states; any other readout is differentiated as a whole.

    Raises:
        NumericalRefusal: the model's readout is of unknown form.
    """
    logits = probe.readout(states)
    states, directions = (x.to(probe.dtype).clone() for x in (states, directions))  # none made in inference mode
    linear = _linear_head(probe, states, logits)
    if linear is None:
        rows = zip(states, logits, strict=True)
        return torch.cat([_whole(probe, state[None], row, directions) for state, row in rows])
    features, weight, cap = linear
    tangents = _push(features, states, directions)  # (n, r, d)
    span = _common_span(tangents)
    coefficients, projected = tangents @ span.T, span @ weight.T  # (n, r, m), (m, V)
    found = []
    for row, coefficient in zip(logits, coefficients, strict=True):
        slope = 1 - (row / cap).square() if cap else torch.ones_like(row)
        found.append(categorical_information(coefficient @ projected * slope, row.double().log_softmax(-1)))
    return torch.stack(found)


class FisherBeliefCollector:
    """Fisher beliefs of the recorded tokens at each state, for one prompt."""

    def __init__(self, probe: Probe, positions: Tensor, *, sink: str, rank: int) -> None:
        self.probe = probe
        self.population = PopulationCollector(probe, positions, sink=sink, rank=rank)

    def hooks(self) -> list[tuple[str, Hook]]:
        """What to attach."""
        return self.population.hooks()

    @torch.no_grad()
    def gaussians(self) -> tuple[Gaussian, ...]:
        """One Gaussian of batch shape (position, 1) per state, float64, after the pass."""
        return tuple(map(self._belief, self.population.recorded, self.population.coordinates))

    def _belief(self, states: Tensor, coordinates: Coordinates) -> Gaussian:
        information = readout_information(self.probe, states, coordinates.lift).cpu()
        precision = torch.eye(information.shape[-1], dtype=torch.float64) + information
        return belief_of_precision(coordinates.of(states).cpu(), precision)


def belief_of_precision(mean: Float64[Tensor, "n r"], precision: Float64[Tensor, "n r r"]) -> Gaussian:
    """N(mean, precision^-1) of batch shape (n, 1): a token's belief has one factor.

    Raises:
        NumericalRefusal: a precision that is not positive definite.
    """
    shift = (precision @ mean.clone().unsqueeze(-1)).squeeze(-1)
    return Gaussian.from_natural_parameters(shift[:, None], -0.5 * precision.clone()[:, None])


def _linear_head(
    probe: Probe, states: Tensor, logits: Tensor
) -> tuple[Callable[[Tensor], Tensor], Tensor, float] | None:
    """(features, weight (V, d), soft cap or 0) such that cap(features(x) W^T + b) are the logits of these states, or None."""
    bridge: Any = probe.bridge
    cap = max(float(getattr(bridge.cfg, "output_logits_soft_cap", None) or 0.0), 0.0)  # -1 stands for none
    unembed = getattr(bridge, "unembed", None)
    weight = getattr(unembed, "W_U", None)
    weight = weight.T if weight is not None else getattr(unembed, "weight", None)
    if weight is None or not hasattr(bridge, "ln_final"):
        return None
    bias = getattr(unembed, "b_U", None)

    def features(x: Tensor) -> Tensor:
        return bridge.ln_final(x[None])[0]

    made = features(states) @ weight.T + (0.0 if bias is None else bias)
    made = cap * torch.tanh(made / cap) if cap else made
    scale = logits.abs().max().clamp_min(1e-6)
    return (features, weight.detach(), cap) if bool((made - logits).abs().max() <= SAME_LOGITS * scale) else None


def _push(function: Callable[[Tensor], Tensor], states: Tensor, directions: Tensor) -> Tensor:
    """Directional derivatives of a function of single states, (n, r, ...)."""
    steps = directions[:, None].expand(-1, len(states), -1)
    return linearized(function, states).jvp(steps).transpose(0, 1)


def _whole(probe: Probe, state: Tensor, logits: Tensor, directions: Tensor) -> Tensor:
    """Through a readout of any form."""
    tangents = _push(probe.differentiable_readout, state, directions)
    return categorical_information(tangents, logits[None].double().log_softmax(-1))


def _common_span(tangents: Float[Tensor, "n r d"]) -> Float[Tensor, "m d"]:
    """Orthonormal rows that span the tangents of all states.

    A norm sends a direction to a fixed image, scaled, plus a multiple of the state's own: n r tangents span r + n dimensions.
    Random combinations of them find these; if they do not, the identity does.
    """
    n, r, d = tangents.shape
    rows = tangents.reshape(n * r, d)
    size = n + r + 8
    if size < min(n * r, d):
        generator = torch.Generator().manual_seed(0)
        mix = torch.randn(size, n * r, generator=generator, dtype=torch.float64).to(rows)
        span = torch.linalg.qr((mix @ rows).T).Q.T
        rest = rows - rows @ span.T @ span
        if bool(rest.norm() <= SAME_SPAN * rows.norm()):
            return span
    return torch.eye(d, dtype=rows.dtype, device=rows.device)
