"""What merging tokens costs downstream, as Gaussian beliefs of their states: the metric in which trees should be grown.

    mu_i = x_i,   Lambda_i = (1/S) sum_s g_si g_si^T + floor,   g_si = d log p(y_s) / d x_i,   y_s drawn at the scored tokens

To second order, half of (x_i - m)^T Lambda_i (x_i - m) is what predictions at the scored tokens lose when the state of token i
becomes m, summed over those tokens. Greedy merging with `condense(..., centroid="shift")` adds up exactly that.

Unlike the `downstream` belief, which compares what tokens know, coordinates here are the states' own, as many as the tokens
span, and the floor is large. S draws see S directions of a token, and steps as long as a merge leave the region where they are
all that matters. With a floor of a thousandth of the mean information, merges in early layers fall into directions that no draw
happened to see; `docs/faithfulness.md` has the distortion by floor.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from rgprobe.gaussian import Gaussian
from rgprobe.probe.downstream import prediction_gradients
from rgprobe.probe.model import Probe

__all__ = ["DRAWS", "FLOOR", "merge_metric", "span_coordinates", "state_metrics"]

DRAWS = 50
FLOOR = 1.0  # in units of the mean information per coordinate
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
        merge_metric(state[merged], gradient, floor=floor) for state, gradient in zip(states, gradients, strict=True)
    )


def merge_metric(
    states: Float[Tensor, "tokens width"], gradients: Float[Tensor, "draws tokens width"], *, floor: float = FLOOR
) -> Gaussian:
    """The states in an orthonormal basis of what they span, with the information of the gradients as precisions.

    Args:
        states: of the tokens that may be merged.
        gradients: of the log-probability of drawn outputs.
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
