r"""Linear flow: layers x_(l+1) = W_l x_l whose singular values, and gains of whose directions, were planted.

Layer l is W_l = Q_(l+1) diag(s_l) P_l^T with orthogonal frames Q, P. How the frames follow each other decides what
else is known:

=============== ======================================= ===========================================================
frames          relation                                known beyond the singular values s_l of each layer
=============== ======================================= ===========================================================
`"independent"` all drawn afresh                        nothing: the product's spectrum depends on the frames
`"aligned"`     P_(l+1) = Q_(l+1)                       the product Q_L diag(prod_l s_l) P_0^T, gain of each direction
`"identity"`    every frame is the identity             the same, and W_l is normal (a diagonal flow)
=============== ======================================= ===========================================================

Direction k at the input end is the k-th column of P_0. Its gain after l layers is g_l = prod_(m<l) s_m[k], so a layer
diag(1.2, 1, 0.8) repeated has the slopes ln 1.2 (relevant), 0 (marginal) and ln 0.8 (irrelevant) per layer. Measuring
J_(l->L) instead of J_(0->l) inverts these signs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from rgprobe.testbeds.options import require

__all__ = ["LinearFlow", "LinearFlowTruth", "exact", "sample"]

Frames = Literal["independent", "aligned", "identity"]


@dataclass(frozen=True, eq=False)
class LinearFlow:
    """Layers, and the directions whose gains were planted.

    Attributes:
        weights: W_l, applied as x -> W_l x.
        directions: columns are the directions at the input end, right singular vectors of the first layer.
    """

    weights: Float[Tensor, "layers dim dim"]
    directions: Float[Tensor, "dim dim"]

    def states(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "states *batch dim"]:
        """The state at the input end and after each layer, layers + 1 in all."""
        path = [x]
        for weight in self.weights:
            path.append(path[-1] @ weight.mT)
        return torch.stack(path)


@dataclass(frozen=True, eq=False)
class LinearFlowTruth:
    """What is known about a flow.

    Attributes:
        singular_values: of each layer, descending.
        log_gains: ln g_l of each direction for l = 0 ... L, nats; NaN where frames are independent.
        slopes: (ln g_L - ln g_0) / L of each direction, nats per layer; NaN where frames are independent.
        end_to_end: singular values of the product of all layers, descending; NaN where frames are independent.
    """

    singular_values: Float[Tensor, "layers dim"]
    log_gains: Float[Tensor, "states dim"]
    slopes: Float[Tensor, " dim"]
    end_to_end: Float[Tensor, " dim"]


def sample(*, singular_values: Float[Tensor, "layers dim"], frames: Frames = "aligned", seed: int = 0) -> LinearFlow:
    """Layers with the given singular values, frames drawn from the Haar measure where they are drawn.

    Args:
        singular_values: s_l[k], the value of direction k in layer l, positive, in any order.
        frames: see the module.
        seed: of the generator.

    Returns:
        LinearFlow in float64.

    Raises:
        OptionError: no layer, a value that is not positive and finite, or unknown frames.

    Example:
        >>> flow = sample(singular_values=torch.tensor([[1.2, 1.0, 0.8]]).repeat(5, 1), frames="identity")
        >>> flow.states(torch.ones(3, dtype=torch.float64))[-1].log() / 5
        tensor([ 0.1823,  0.0000, -0.2231], dtype=torch.float64)
    """
    values = _checked(singular_values, frames)
    layers, dim = values.shape
    if frames == "identity":
        return LinearFlow(torch.diag_embed(values), torch.eye(dim, dtype=torch.float64))
    generator = torch.Generator().manual_seed(seed)
    count = layers + 1 if frames == "aligned" else 2 * layers
    drawn = _haar(count, dim, generator)
    right, left = (drawn[:-1], drawn[1:]) if frames == "aligned" else (drawn[:layers], drawn[layers:])
    return LinearFlow((left * values[:, None, :]) @ right.mT, right[0])


def exact(*, singular_values: Float[Tensor, "layers dim"], frames: Frames = "aligned") -> LinearFlowTruth:
    """Singular values by layer and, where the frames allow, gains of directions and of the whole flow.

    Raises:
        OptionError: no layer, a value that is not positive and finite, or unknown frames.

    Example:
        >>> exact(singular_values=torch.tensor([[1.2, 1.0, 0.8]]).repeat(5, 1)).slopes
        tensor([ 0.1823,  0.0000, -0.2231], dtype=torch.float64)
    """
    values = _checked(singular_values, frames)
    start = torch.zeros(1, values.shape[1], dtype=torch.float64)
    log_gains = torch.cat([start, values.log().cumsum(0)])
    if frames == "independent":
        log_gains = torch.full_like(log_gains, torch.nan)
    return LinearFlowTruth(
        values.sort(dim=1, descending=True).values,
        log_gains,
        (log_gains[-1] - log_gains[0]) / len(values),
        log_gains[-1].exp().sort(descending=True).values,
    )


def _haar(count: int, dim: int, generator: torch.Generator) -> Tensor:
    q, r = torch.linalg.qr(torch.randn(count, dim, dim, generator=generator, dtype=torch.float64))
    # the signs of r make the factorisation unique, and with it q uniform
    return q * torch.diagonal(r, dim1=-2, dim2=-1).sign()[:, None, :]


def _checked(singular_values: Tensor, frames: str) -> Tensor:
    values = singular_values.to(torch.float64)
    known = frames in ("independent", "aligned", "identity")
    require(known, "frames", expected='"independent", "aligned" or "identity"', received=frames)
    fits = values.numel() > 0 and bool((values > 0).all() and values.isfinite().all())
    require(fits, "singular_values", expected="positive finite values for at least one layer", received=values.tolist())
    return values
