"""Attention with keys rotated at random against queries: the couplings that norms and spectra alone would make.

Dot-product attention: s'_ij = s_ij + c (q_i . O k_j - q_i . k_j), O uniform on the orthogonal group, one per head and draw:
W_QK = W_Q W_K^T becomes W_Q O W_K^T. All norms |q_i|, |k_j| stay, the angles among queries and those among keys, hence the
spectra of W_Q and of W_K (not that of their product), and score biases. What goes is how queries lie to keys. q and k are
taken as they meet, after any rotary embedding, and proven to be so: c is fitted, and what c q.k leaves of the scores must be
a rounding. So under rotary positions keys keep the imprint of their place, while the dependence of a score on i - j, which
needs query and key to turn alike, goes with the rest.

Attention by divergence: means of keys turn, mu_j -> O mu_j, in the common frame; precisions and prior stay:

    s'_ij = s_ij - [ |mu_i - O mu_j|^2_{Lambda_j} - |mu_i - mu_j|^2_{Lambda_j} ] / (2 tau).

A token's divergence from itself, zero before, goes too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Float64
from torch import Tensor

from rgprobe.probe.attention import AttentionCollector
from rgprobe.probe.model import Hook, Probe
from rgprobe.probe.sampled_rows import MINIMUM_KEYS, SampledRows, sample_rows
from rgprobe.probe.scores import Scores

__all__ = ["DRAWS", "RotationCollector", "dot_product_change", "mahalanobis_change", "random_rotations"]

DRAWS = 8
RESIDUAL = 1e-2
ROTATED = ("theta", "beta_sigma", "normalised_entropy")
Change = Callable[[Tensor], Tensor]  # rotation (heads, K, K) -> change of the scores (heads, rows, keys)


def random_rotations(count: int, width: int, generator: torch.Generator) -> Float64[Tensor, "count width width"]:
    """Uniform on O(width): QR of Gaussian matrices with the signs of R's diagonal (Mezzadri 2007)."""
    q, r = torch.linalg.qr(torch.randn(count, width, width, generator=generator, dtype=torch.float64))
    return q * r.diagonal(dim1=-2, dim2=-1).sign()[:, None]


def dot_product_change(
    queries: Float[Tensor, "heads rows K"], keys: Float[Tensor, "heads size K"], scale: Tensor, rotation: Tensor
) -> Float[Tensor, "heads rows size"]:
    """c (q_i . O k_j - q_i . k_j)."""
    return scale * queries @ (keys @ rotation.mT - keys).mT


def mahalanobis_change(
    queries: Float[Tensor, "heads rows K"],
    keys: Float[Tensor, "heads size K"],
    precision: Callable[[Tensor], Tensor],
    tau: Float[Tensor, "heads 1 1"],
    rotation: Tensor,
) -> Float[Tensor, "heads rows size"]:
    """-( |mu_i - O mu_j|^2 - |mu_i - mu_j|^2 ) / (2 tau), norms by the precision of key j.

    Args:
        queries, keys: means in the common frame.
        precision: Lambda_j applied to a vector for each key.
        tau: temperature of each head.
        rotation: O.
    """
    turned = keys @ rotation.mT
    pulled, pulled_turned = precision(keys), precision(turned)
    own = (turned * pulled_turned).sum(-1) - (keys * pulled).sum(-1)
    return (queries @ (pulled_turned - pulled).mT - own[:, None] / 2) / tau


class RotationCollector:
    """theta, spread and entropy of sampled rows, as they are and under random rotations, by head, for one prompt."""

    def __init__(self, probe: Probe, attention: AttentionCollector, seed: int) -> None:
        self.probe, self.seed = probe, seed
        self.names, self.reason = _coupling_hooks(probe)
        self._seen: dict[str, Tensor] = {}
        self._found: list[np.ndarray] = []
        self._reasons: list[str] = []
        attention.score_listeners.append(self._reduce)

    def hooks(self) -> list[tuple[str, Hook]]:
        """Queries and keys, or means and precisions, of each block."""
        return [
            (f"blocks.{block}.{name}", self._keeper(name))
            for block in range(self.probe.n_blocks)
            for name in self.names
        ]

    def dataset(self) -> xr.Dataset:
        """Quantities of `ROTATED` (draw, sink, block, head), the first draw observed; why a block has none (block)."""
        found = np.stack(self._found, 3)  # (quantity, draw, sink, block, head)
        dims = ("draw", "sink", "block", "head")
        values = {name: (dims, found[i]) for i, name in enumerate(ROTATED)}
        reasons = {"reason": (("block",), np.array(self._reasons, dtype=object))}
        return xr.Dataset({**values, **reasons}, coords={"sink": ["excluded", "included"]})

    def _keeper(self, name: str) -> Hook:
        def keep(tensor: Tensor, hook: Any) -> None:
            self._seen[name] = tensor[0]

        return keep

    def _reduce(self, scores: Scores) -> None:
        block = len(self._found)
        found = np.full((len(ROTATED), 1 + DRAWS, 2, self.probe.n_heads), np.nan)
        reason = self.reason
        for policy, sink in enumerate((False, True)):
            rows = sample_rows(scores, causal=self.probe.causal, sink=sink)
            if not reason:
                change, reason = self._change(block, rows)
            if not reason:
                found[:, :, policy] = self._draw(rows, change, block)
        self._seen.clear()
        self._found.append(found)
        self._reasons.append(reason)

    def _draw(self, rows: SampledRows, change: Change, block: int) -> np.ndarray:
        heads = rows.scores.shape[0]
        width = int(next(iter(self._seen.values())).shape[-1])
        generator = torch.Generator().manual_seed(self.seed + block)  # the same rotations with and without the sink
        drawn = [_spread(rows.scores.double(), rows)]
        for _ in range(DRAWS):
            rotation = random_rotations(heads, width, generator).to(rows.scores.device)
            moved = change(rotation).gather(-1, rows.order.expand(heads, -1, -1))
            drawn.append(_spread(rows.scores.double() + moved, rows))
        return np.stack(drawn, 1)

    def _change(self, block: int, rows: SampledRows) -> tuple[Change, str]:
        if any(name not in self._seen for name in self.names):
            return (
                lambda rotation: rotation,
                "queries and keys cannot be hooked as they meet, after the rotary embedding",
            )
        if self.probe.family == "gauge":
            return self._gauge_change(block, rows), ""
        queries, keys = (self._seen[name].double().transpose(0, 1) for name in self.names)
        queries, heads = queries[:, rows.index], rows.scores.shape[0]
        keys = keys.repeat_interleave(heads // keys.shape[0], 0)
        products = (queries @ keys.mT).gather(-1, rows.order.expand(heads, -1, -1))
        scale, residual = _fitted_scale(products, rows)
        if residual > RESIDUAL:
            return lambda rotation: rotation, "the queries and keys that can be hooked do not reproduce the scores"
        return lambda rotation: dot_product_change(queries, keys, scale, rotation), ""

    def _gauge_change(self, block: int, rows: SampledRows) -> Change:
        attention = self.probe.bridge.blocks[block].attn
        tau = 1 / attention.inverse_temperature().detach().double()
        means = self._seen["hook_belief_mean"].double().transpose(0, 1)
        if "hook_belief_scale_tril" in self._seen:
            tril = self._seen["hook_belief_scale_tril"].double().transpose(0, 1)

            def precision(vectors: Tensor) -> Tensor:
                return torch.cholesky_solve(vectors[..., None], tril)[..., 0]
        else:
            diagonal = self._seen["hook_belief_log_precision"].double().transpose(0, 1).exp()

            def precision(vectors: Tensor) -> Tensor:
                return diagonal * vectors

        return lambda rotation: mahalanobis_change(means[:, rows.index], means, precision, tau, rotation)


def _coupling_hooks(probe: Probe) -> tuple[tuple[str, ...], str]:
    """Hook points below a block, and why there are none."""
    if probe.family == "gauge":
        config = probe.bridge.cfg
        if config.attention != "kl":
            return (), f"gauge attention of kind {config.attention} has no means that could be hooked and turned"
        spread = "hook_belief_scale_tril" if config.covariance == "full" else "hook_belief_log_precision"
        return ("hook_belief_mean", spread), ""
    for pair in (("attn.hook_rot_q", "attn.hook_rot_k"), ("attn.q.hook_out", "attn.k.hook_out")):
        if all(f"blocks.0.{name}" in probe.bridge.hook_dict for name in pair):
            return pair, ""
    return (), "this model has no hooks on queries and keys"


def _fitted_scale(products: Tensor, rows: SampledRows) -> tuple[Tensor, float]:
    """c by least squares on rows less their means, and the share of the scores' spread that c q.k leaves."""
    x, y = _centred(products, rows), _centred(rows.scores.double(), rows)
    scale = (x * y).sum() / x.square().sum().clamp_min(torch.finfo(x.dtype).tiny)
    left = (y - scale * x).square().sum()
    return scale, float((left / y.square().sum().clamp_min(torch.finfo(y.dtype).tiny)).sqrt())


def _centred(scores: Tensor, rows: SampledRows) -> Tensor:
    kept = scores.masked_fill(~rows.allowed, 0.0)
    count = rows.allowed.sum(-1, keepdim=True).clamp_min(1)
    return (kept - kept.sum(-1, keepdim=True) / count).masked_fill(~rows.allowed, 0.0)


def _spread(scores: Tensor, rows: SampledRows) -> np.ndarray:
    """theta, beta_sigma and S / ln n per head over rows of enough keys; as in the diagnostic of temperature."""
    count = rows.allowed.sum(-1).double()
    enough = count >= MINIMUM_KEYS
    if not enough.any():
        return np.full((len(ROTATED), scores.shape[0]), np.nan)
    count = count[enough]
    variance = _centred(scores, rows).square().sum(-1)[:, enough] / (count - 1)
    log_weights = scores.masked_fill(~rows.allowed, -torch.inf).log_softmax(-1)
    entropy = torch.special.entr(log_weights.exp()).sum(-1)[:, enough]
    reduced = (variance / (2 * count.log())).mean(-1)
    theta = torch.where(reduced > 0, reduced, torch.nan).rsqrt()
    return torch.stack([theta, variance.mean(-1).sqrt(), (entropy / count.log()).mean(-1)]).cpu().numpy()
