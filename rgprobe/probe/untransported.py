"""Divergences between native beliefs with and without transport between the tokens' frames, in a pass of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Float64, Int
from torch import Tensor

from rgprobe.gaussian import Gaussian, pairwise_product_kl, pushforward
from rgprobe.probe.attention import AttentionCollector
from rgprobe.probe.model import Probe
from rgprobe.probe.native import NativeCollector
from rgprobe.probe.prompts import EncodedPrompt

__all__ = ["LOCAL", "local_jeffreys", "untransported", "untransported_cost"]

FORWARDS = 10.0  # of gauge-small, in whose blocks 8 heads believe; nearly all of it are divergences, not the pass
LOCAL = ("transported", "untransported")
TOKENS = 8  # of the recorded ones, evenly spaced: in their own frames covariances are full, and every pair is one eigenproblem


def untransported(probe: Probe, prompt: EncodedPrompt, recorded: Int[Tensor, " positions"], sink: str) -> xr.Dataset:
    """Mean Jeffreys divergence between up to `TOKENS` tokens' beliefs by block, nats: in the common frame and as they stand.

    Returns:
        `transported` and `untransported` (block,); NaN for one token, and for models without native beliefs.
    """
    means = np.full((2, probe.n_blocks), np.nan)
    if probe.family == "gauge" and probe.bridge.cfg.attention == "kl" and len(recorded) > 1:
        recorded = recorded[torch.linspace(0, len(recorded) - 1, min(TOKENS, len(recorded))).round().long()]
        collector = NativeCollector(probe, recorded, AttentionCollector(probe, recorded, sink=sink))
        frames: list[Tensor] = []

        def keep(matrix: Tensor, hook: Any) -> None:
            frames.append(matrix[0, recorded].to("cpu", torch.float64, copy=True))

        names = [(f"blocks.{block}.hook_frames", keep) for block in range(probe.n_blocks)]
        probe.stream(prompt.ids, [*collector.hooks(), *names])
        pairs = ~torch.eye(len(recorded), dtype=torch.bool)
        for block, (belief, u) in enumerate(zip(collector.gaussians(), frames, strict=True)):
            means[:, block] = [
                float(matrix[pairs].mean()) for matrix in (local_jeffreys(belief), local_jeffreys(belief, u))
            ]
    return xr.Dataset({name: (("block",), row) for name, row in zip(LOCAL, means, strict=True)})


def local_jeffreys(beliefs: Gaussian, frames: Float[Tensor, "n K K"] | None = None) -> Float64[Tensor, "n n"]:
    """Jeffreys divergences KL(a || b) + KL(b || a) between tokens, nats, added over heads.

    Args:
        beliefs: batch shape (n, heads), in the common frame, where divergences are the transported ones.
        frames: U_i; beliefs are taken back to their own frames, U_i q_i, and compared there as they stand. None compares
            them in the common frame.

    Example:
        >>> same = Gaussian.from_diagonal(torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]]]), torch.ones(2, 1, 2))
        >>> half_turn = torch.stack([torch.eye(2), -torch.eye(2)])
        >>> local_jeffreys(same)[0, 1].item(), local_jeffreys(same, half_turn)[0, 1].item()
        (0.0, 4.0)
    """
    moved = beliefs if frames is None else pushforward(beliefs, frames[:, None])
    divergence = pairwise_product_kl(moved)
    return divergence + divergence.T


def untransported_cost(probe: Probe) -> float:
    """Forward passes of one prompt; none where there are no native beliefs."""
    return FORWARDS if probe.family == "gauge" else 0.0
