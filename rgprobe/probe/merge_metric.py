"""What merging tokens costs downstream, as Gaussian beliefs of their states: the metric in which trees should be grown.

    mu_i = u_i = x_i / |x_i|,   Lambda_i = (1/S) sum_s g_si g_si^T + floor,
    g_si = d log p(y_s) / d u_i = |x_i| d log p(y_s) / d x_i,

with y_s drawn at the scored tokens. To second order, half of (u_i - m)^T Lambda_i (u_i - m) is what predictions at the scored
tokens lose when the direction of token i's state becomes m, summed over those tokens. Greedy merging with
`condense(..., centroid="shift")` adds up exactly that.

Directions and not states, because the first thing that every block does is to divide a state by its length. A merge of a long
state with a short one in the metric of the states costs what the long one's length costs; blocks see little of that.

Unlike the `downstream` belief, which compares what tokens know, coordinates here are the states' own, as many as the tokens
span, and the floor is large. S draws see S directions of a token, and steps as long as a merge leave the region where they are
all that matters. With a floor of a thousandth of the mean information, merges in early layers fall into directions that no draw
happened to see; `docs/faithfulness.md` has the distortion by floor, and what else was tried.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from rgprobe.gaussian import Gaussian
from rgprobe.probe.downstream import prediction_gradients
from rgprobe.probe.model import Probe

__all__ = ["DRAWS", "FLOOR", "directions", "merge_metric", "span_coordinates", "state_metrics"]

DRAWS = 50
FLOOR = 0.5  # in units of the mean information per coordinate
NUMERICAL_RANK = 1e-6  # below this share of the largest singular value a direction is rounding


def state_metrics(
    probe: Probe,
    ids: Int[Tensor, " tokens"],
    merged: Int[Tensor, " merged"],
    *,
    scored: Int[Tensor, " scored"],
    draws: int = DRAWS,
    floor: float = FLOOR,
) -> tuple[Gaussian, ...]:
    """Beliefs of the merged tokens at every state, one Gaussian of batch shape (merged,) each, from one graph.

    Raises:
        NumericalRefusal: no known readout reproduces this model's own logits.
    """
    states, gradients = prediction_gradients(probe, ids, merged, scored=scored, draws=draws)
    return tuple(
        _of_directions(state[merged], gradient, floor) for state, gradient in zip(states, gradients, strict=True)
    )


def directions(
    states: Float[Tensor, "tokens width"],
) -> tuple[Float[Tensor, "tokens width"], Float[Tensor, "tokens 1"]]:
    """Unit vectors of the states, and their lengths."""
    lengths = states.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(states.dtype).tiny)
    return states / lengths, lengths


def _of_directions(states: Tensor, gradients: Tensor, floor: float) -> Gaussian:
    units, lengths = directions(states)
    return merge_metric(units, lengths * gradients, floor=floor)


def merge_metric(
    states: Float[Tensor, "tokens width"], gradients: Float[Tensor, "draws tokens width"], *, floor: float = FLOOR
) -> Gaussian:
    """Points in an orthonormal basis of what they span, with the information of the gradients as precisions.

    Args:
        states: of the tokens that may be merged, or their directions.
        gradients: of the log-probability of drawn outputs with respect to these.
        floor: isotropic precision added to each, in units of the mean information per coordinate.

    Example:
        >>> states = torch.tensor([[0.0, 0.0], [2.0, 0.0]])
        >>> gradients = torch.tensor([[[1.0, 5.0], [3.0, 5.0]]])
        >>> merge_metric(states, gradients, floor=0.0).precision.flatten().round(decimals=6).tolist()
        [1.0, 9.0]
    """
    basis = span_coordinates(states)
    points = (states.double() - states.double().mean(0)) @ basis.T
    pulled = gradients.double() @ basis.T
    information = torch.einsum("sni,snj->nij", pulled, pulled) / len(pulled)
    scale = information.diagonal(dim1=-2, dim2=-1).mean()
    # where outputs do not depend on these tokens at all, every merge is as good as any other: lengths decide
    ridge = floor * scale if scale > 0 else torch.ones_like(scale)
    precision = information + ridge * torch.eye(len(basis), dtype=torch.float64, device=basis.device)
    covariance = torch.cholesky_inverse(torch.linalg.cholesky(precision)).cpu()
    return Gaussian.from_covariance(points.cpu(), (covariance + covariance.mT) / 2)


def span_coordinates(states: Float[Tensor, "tokens width"]) -> Float64[Tensor, "rank width"]:
    """An orthonormal basis of the differences between states; one direction where they are all equal."""
    centred = states.double() - states.double().mean(0)
    _, values, axes = torch.linalg.svd(centred, full_matrices=False)
    return axes[: max(int((values > NUMERICAL_RANK * values[0]).sum()), 1)]
