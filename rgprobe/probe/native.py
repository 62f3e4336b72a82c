"""Native beliefs: the means and covariances that a gauge model itself computes with, read off its hooks."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from rgprobe.errors import OptionError
from rgprobe.gaussian import Gaussian
from rgprobe.probe.attention import AttentionCollector
from rgprobe.probe.model import Hook, Probe

__all__ = ["NativeCollector", "require_native"]


def require_native(probe: Probe) -> None:
    """Refuse a gauge model whose tokens have no precision, because its attention does not weigh divergences.

    Raises:
        OptionError: it attends uniformly, or by dot products.
    """
    attention = probe.bridge.cfg.attention
    if attention != "kl":
        raise OptionError(
            "belief native", expected="a gauge model that attends by KL divergence",
            received=f"{probe.name}, whose attention is {attention}: its tokens have no precision",
            remedy="choose lens or thermal beliefs",
        )  # fmt: skip


class NativeCollector:
    """q_i = N(mu_i, Sigma_i) of the recorded tokens as they enter each block, for one prompt.

    Beliefs are kept in the common frame, where all tokens of a block can be compared: (U_i^-1 mu_i, U_i^-1 Sigma_i U_i).
    A covariance that is diagonal there stays a vector of variances; no K x K matrix is formed. Blocks differ by a global
    frame, a learned change of basis, so beliefs of two blocks are not comparable.

    The belief is not all that attention uses: its scores are log pi_j - KL(q_i || q_j) / tau, and the log-prior pi and the
    temperature tau belong to the head.
    """

    def __init__(self, probe: Probe, positions: Int[Tensor, "positions"], attention: AttentionCollector) -> None:
        self.blocks = probe.n_blocks
        self.full = probe.bridge.cfg.covariance == "full"
        self.positions = positions.to(probe.device)
        self._means: list[Tensor] = []
        self._spreads: list[Tensor] = []

    def hooks(self) -> list[tuple[str, Hook]]:
        """What to attach."""
        spread = "hook_belief_scale_tril" if self.full else "hook_belief_log_precision"
        return [
            (f"blocks.{block}.{name}", keep)
            for block in range(self.blocks)
            for name, keep in (("hook_belief_mean", self._keep_mean), (spread, self._keep_spread))
        ]

    def gaussians(self) -> tuple[Gaussian, ...]:
        """One Gaussian of batch shape (position, head) per block, float64, after the pass."""
        return tuple(self._belief(*pair) for pair in zip(self._means, self._spreads, strict=True))

    def _belief(self, mean: Tensor, spread: Tensor) -> Gaussian:
        # copies: what was made in inference mode cannot be worked on in place later
        mean, spread = (x.cpu().to(torch.float64, copy=True) for x in (mean, spread))
        if self.full:
            return Gaussian(mean, spread)
        return Gaussian.from_diagonal(mean, spread.neg().exp().expand_as(mean))  # isotropic: one variance for all K

    def _keep_mean(self, mean: Tensor, hook: Any) -> None:
        self._means.append(mean[0, self.positions])

    def _keep_spread(self, spread: Tensor, hook: Any) -> None:
        self._spreads.append(spread[0, self.positions])
