"""Fisher information of attention rows in their scores, F = diag(alpha) - alpha alpha^T, without ever forming it.

F is a diagonal matrix less one of rank one. Its trace is 1 - sum alpha^2; tr F F' needs four sums over the keys; its
eigenvalues are the roots of a secular equation between neighbouring weights:

    sum_j alpha_j / (alpha_j - mu) = 0,   alpha_(2) <= mu_max <= alpha_(1).

Source: Golub, SIAM Review 15, 318 (1973), rank-one modification of a diagonal matrix; here 1 = sum_j alpha_j^2 /
(alpha_j - mu) with sum alpha = 1, divided by mu.
"""

from __future__ import annotations

import torch
import xarray as xr
from jaxtyping import Float, Float64, Int
from torch import Tensor

from rgprobe.probe.attention import AttentionCollector
from rgprobe.probe.model import Hook, Probe
from rgprobe.probe.sampled_rows import MINIMUM_KEYS

__all__ = ["FisherCollector", "fisher_largest", "fisher_overlap", "fisher_trace"]

BISECTIONS = 52  # halvings of an interval of at most 1: the last bit of a float64
DRAWS = 4


def fisher_trace(weights: Float[Tensor, "*rows keys"]) -> Float64[Tensor, "*rows"]:
    """tr F = 1 - sum_j alpha_j^2, between 0 (one key) and 1 - 1/n (uniform)."""
    weights = weights.double()
    # alpha (1 - alpha), not 1 - sum alpha^2: a condensed row would lose its digits
    return (weights * (1 - weights)).sum(-1)


def fisher_largest(weights: Float[Tensor, "*rows keys"]) -> Float64[Tensor, "*rows"]:
    """Largest eigenvalue of F, by bisection of the secular equation between the two largest weights.

    Args:
        weights: rows that sum to 1, at least two keys.

    Example:
        >>> import torch
        >>> round(fisher_largest(torch.tensor([0.7, 0.3, 0.0], dtype=torch.float64)).item(), 12)
        0.42
    """
    weights = weights.double()
    top = weights.topk(2, -1).values
    high, low = top[..., 0], top[..., 1]
    for _ in range(BISECTIONS):
        middle = (high + low) / 2
        gap = weights - middle[..., None]
        # the sum rises from -inf to +inf between the two weights; equal ones leave nothing to bisect
        above = torch.where(gap == 0, 0.0, weights / torch.where(gap == 0, 1.0, gap)).sum(-1) > 0
        high, low = torch.where(above, middle, high), torch.where(above, low, middle)
    return (high + low) / 2


def fisher_overlap(first: Float[Tensor, "*#rows keys"], second: Float[Tensor, "*#rows keys"]) -> Float64[Tensor, "..."]:
    """tr F F' = a.b - sum a b^2 - sum a^2 b + (a.b)^2 for rows a and b over the same keys."""
    a, b = first.double(), second.double()
    product = a * b
    inner = product.sum(-1)
    return inner - (product * (a + b)).sum(-1) + inner.square()


class FisherCollector:
    """Trace and largest eigenvalue per head, and alignment of neighbouring blocks, over recorded rows of one prompt.

    The alignment of blocks l - 1 and l is the cosine tr(G G') / (|G| |G'|) of their Fisher information averaged over heads,
    G = mean_h F_h; tr G G' is a mean over pairs of heads. As a null, the keys that a row of block l sees are permuted.
    """

    def __init__(self, probe: Probe, attention: AttentionCollector, seed: int) -> None:
        self.positions, self.seed = attention.positions, seed
        self._spectra: list[Tensor] = []
        self._alignments: list[Tensor] = []
        self._previous: Tensor | None = None
        attention.listeners.append(self._reduce)

    def hooks(self) -> list[tuple[str, Hook]]:
        """None of its own: the attention collector hands over the weights."""
        return []

    def dataset(self) -> xr.Dataset:
        """Trace and largest eigenvalue (block, head); alignment (draw, block), the first draw being what was observed."""
        spectra = torch.stack(self._spectra, 1).cpu().numpy()
        return xr.Dataset(
            {
                "trace": (("block", "head"), spectra[0]),
                "largest": (("block", "head"), spectra[1]),
                "alignment": (("draw", "block"), torch.stack(self._alignments, 1).cpu().numpy()),
            }
        )

    def _reduce(self, weights: Tensor) -> None:
        seen = (weights > 0).any(0)
        rows = seen.sum(-1) >= MINIMUM_KEYS
        weights, seen = weights[:, rows].double(), seen[rows]
        if not rows.any():
            nothing = torch.full((1 + DRAWS,), torch.nan, dtype=torch.float64, device=weights.device)
            self._spectra.append(nothing[0].expand(2, weights.shape[0]))
            self._alignments.append(nothing)
            return
        self._spectra.append(torch.stack([fisher_trace(weights).mean(-1), fisher_largest(weights).mean(-1)]))
        self._alignments.append(self._align(weights, seen))
        self._previous = weights

    def _align(self, weights: Tensor, seen: Tensor) -> Tensor:
        """Mean over rows of the alignment with the previous block, observed and under permutations of the seen keys."""
        found = torch.full((1 + DRAWS,), torch.nan, dtype=torch.float64, device=weights.device)
        # blocks of unequal windows see other rows
        if self._previous is None or self._previous.shape != weights.shape:
            return found
        generator = torch.Generator().manual_seed(self.seed + len(self._alignments))
        before, own = _mean_overlap(self._previous, self._previous), _mean_overlap(weights, weights)
        for draw in range(1 + DRAWS):
            drawn = weights if draw == 0 else weights.gather(-1, _shuffled(seen, generator).expand_as(weights))
            found[draw] = (_mean_overlap(self._previous, drawn) / (before * own).sqrt()).mean()
        return found


def _mean_overlap(first: Tensor, second: Tensor) -> Tensor:
    """tr G G' of each row, G averaged over heads: the mean over all pairs of heads."""
    return torch.stack([fisher_overlap(one[None], second).mean(0) for one in first]).mean(0)


def _shuffled(seen: Tensor, generator: torch.Generator) -> Int[Tensor, "rows keys"]:
    """For each row, a permutation of the keys that it sees; the others stay."""
    size = seen.shape[-1]
    random = torch.rand(seen.shape, generator=generator).to(seen.device)
    places = torch.arange(size, device=seen.device).expand_as(seen)
    # hidden keys first in both orders, each at its own place in the sequence of hidden keys
    fixed = torch.where(seen, 2.0 + places, places / size).argsort(-1)
    drawn = torch.where(seen, 2.0 + random, places / size).argsort(-1)
    return torch.empty_like(fixed).scatter(-1, fixed, drawn)
