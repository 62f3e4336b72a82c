"""Couplings of gauge attention: the temperature of each head, and the precisions by which keys pull, token by token."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from rgprobe.probe.model import Hook, Probe

__all__ = ["COUPLINGS", "CouplingCollector"]

COUPLINGS = ("tau", "kappa", "precision", "squared_precision")


class CouplingCollector:
    """tau = kappa sqrt(K) and kappa of each head; the mean over K coordinates of each key's precisions and of their squares.

    Both means are traces, tr Lambda / K and tr Lambda^2 / K of a precision with the given diagonal, so they are the same in
    the token's own frame and in the common one. Every token is covered, not only the recorded ones.
    """

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.weighs = probe.family == "gauge" and probe.bridge.cfg.attention == "kl"
        self._moments: list[Tensor] = []

    def hooks(self) -> list[tuple[str, Hook]]:
        """What to attach; nothing where beliefs have no precision."""
        blocks = range(self.probe.n_blocks if self.weighs else 0)
        return [(f"blocks.{block}.hook_belief_log_precision", self._reduce) for block in blocks]

    def array(self, tokens: int) -> Float64[Tensor, "quantity block head token"] | None:
        """In the order of `COUPLINGS`, after the pass; None for a standard model, NaN where attention is not by KL.

        Args:
            tokens: length of the prompt.
        """
        if self.probe.family != "gauge":
            return None
        if not self.weighs:
            shape = (len(COUPLINGS), self.probe.n_blocks, self.probe.n_heads, tokens)
            return torch.full(shape, torch.nan, dtype=torch.float64)
        precision, squared = torch.stack(self._moments, 1)  # (block, head, token) each
        kappa = torch.stack([block.attn.log_temperature.detach().double().exp() for block in self.probe.bridge.blocks])
        kappa = kappa.unsqueeze(-1).expand_as(precision)
        return torch.stack([kappa * math.sqrt(self.probe.bridge.cfg.d_head), kappa, precision, squared]).cpu()

    def _reduce(self, log_precision: Tensor, hook: Any) -> None:
        precision = log_precision[0].double().exp()  # (token, head, K or 1)
        self._moments.append(torch.stack([precision.mean(-1).T, precision.square().mean(-1).T]))
