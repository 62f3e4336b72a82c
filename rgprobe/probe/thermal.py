"""Thermal beliefs: an attention row as a Boltzmann ensemble over the values that it averages."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rgprobe.gaussian import Gaussian
from rgprobe.probe.attention import AttentionCollector
from rgprobe.probe.model import Hook, Probe

__all__ = ["RIDGE", "ThermalCollector", "thermal_moments"]

RIDGE = 1e-3


def thermal_moments(
    weights: Float[Tensor, "heads positions keys"], values: Float[Tensor, "keys value_heads K"]
) -> tuple[Float[Tensor, "heads positions K"], Float[Tensor, "heads positions K K"]]:
    """E_alpha[v] and Cov_alpha[v] + ridge: the thermal expectation of the values and its fluctuation.

    The ridge is `RIDGE` times the head's mean value variance: a row that attends to fewer keys than the values have
    dimensions has a singular covariance.

    Args:
        weights: attention weights alpha of some rows.
        values: of every key; query heads share them where there are fewer.
    """
    values = values.to(weights.dtype)
    values = values.transpose(0, 1).repeat_interleave(weights.shape[0] // values.shape[1], 0)  # (heads, keys, K)
    mean = weights @ values
    covariance = torch.stack([_covariance(weights[:, p], values - mean[:, p, None]) for p in range(mean.shape[1])], 1)
    covariance = (covariance + covariance.mT) / 2  # rounding alone makes it asymmetric
    scale = values.var(1, correction=0).mean(-1)
    # one token has no variance to measure the ridge by
    scale = torch.where(scale > 0, scale, values.square().mean((1, 2)))
    eye = torch.eye(values.shape[-1], dtype=values.dtype, device=values.device)
    return mean, covariance + RIDGE * scale[:, None, None, None] * eye


def _covariance(
    weights: Float[Tensor, "heads keys"], centred: Float[Tensor, "heads keys K"]
) -> Float[Tensor, "heads K K"]:
    """One position at a time: all of them at once would hold positions x keys x K numbers per head."""
    return (weights[..., None] * centred).mT @ centred


class ThermalCollector:
    """Thermal beliefs of the recorded tokens, block by block, for one prompt; the weights come from `attention`."""

    def __init__(self, probe: Probe, positions: Int[Tensor, "positions"], attention: AttentionCollector) -> None:
        self.blocks = probe.n_blocks
        self._values: Tensor | None = None
        self._moments: list[tuple[Tensor, Tensor]] = []
        attention.listeners.append(self._weigh)

    def hooks(self) -> list[tuple[str, Hook]]:
        """What to attach."""
        return [(f"blocks.{block}.attn.hook_v", self._keep_values) for block in range(self.blocks)]

    def gaussians(self) -> tuple[Gaussian, ...]:
        """One Gaussian of batch shape (position, head) per block, float64, after the pass."""
        return tuple(
            Gaussian.from_covariance(mean.transpose(0, 1).double().cpu(), covariance.transpose(0, 1).double().cpu())
            for mean, covariance in self._moments
        )

    def _keep_values(self, values: Tensor, hook: Any) -> None:
        self._values = values[0]

    def _weigh(self, weights: Tensor) -> None:
        if self._values is not None:
            self._moments.append(thermal_moments(weights, self._values))
            self._values = None
