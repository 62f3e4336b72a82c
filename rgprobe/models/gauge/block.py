"""One block: attention between beliefs, then a feed-forward part as in the standard model, or free-energy descent."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from transformer_lens.hook_points import HookPoint

from rgprobe.models.gauge.attention import GaugeAttention
from rgprobe.models.gauge.beliefs import BeliefMap, Beliefs, TokenGeometry
from rgprobe.models.gauge.config import GaugeConfig
from rgprobe.models.gauge.frames import Frames
from rgprobe.models.gauge.precision import full_precision
from rgprobe.models.gauge.vfe import FreeEnergyDescent

__all__ = ["EPSILON", "FeedForward", "GaugeBlock"]

EPSILON = 1e-6  # of the norms


class GaugeBlock(nn.Module):
    """Residual state in, residual state out."""

    def __init__(self, config: GaugeConfig) -> None:
        super().__init__()
        d = config.d_model
        self.ln1 = nn.RMSNorm(d, eps=EPSILON)
        self.beliefs = BeliefMap(config)
        self.attn = GaugeAttention(config)
        self.output = nn.Linear(d, d, bias=False)
        descends = config.update == "vfe"  # instead of the feed-forward part
        self.descent = FreeEnergyDescent(config) if descends else None
        self.ln2 = None if descends else nn.RMSNorm(d, eps=EPSILON)
        self.mlp = None if descends else FeedForward(config)
        self.hook_resid_pre, self.hook_resid_mid, self.hook_resid_post = HookPoint(), HookPoint(), HookPoint()
        self.hook_belief_mean = HookPoint()  # (B, N, H, K), common frame
        self.hook_belief_scale_tril = HookPoint()  # (B, N, H, K, K), common frame; reported, a change has no effect
        # (B, N, H, K or 1), of the diagonal in the common frame, or with full covariances in the token's own; reported
        self.hook_belief_log_precision = HookPoint()
        self.hook_frames = HookPoint()  # (B, N, K, K), U_i of all heads; reported, a change has no effect

    def forward(self, resid: Float[Tensor, "B N d"], geometry: TokenGeometry) -> Float[Tensor, "B N d"]:
        """Attention and feed-forward part, each added to the residual stream."""
        resid = self.hook_resid_pre(resid)
        state = self.ln1(resid)
        beliefs = self._reported(self.beliefs(state, geometry), geometry.frames)
        if self.descent is not None:
            with full_precision(state):
                moved = self.descent(self.attn, beliefs, geometry.frames, state)  # (B, N, H, K)
        else:
            moved = self.attn(beliefs, geometry.frames, state)
        resid = self.hook_resid_mid(resid + self.output(moved.flatten(2)))
        if self.mlp is not None and self.ln2 is not None:
            resid = resid + self.mlp(self.ln2(resid))
        return self.hook_resid_post(resid)

    def _reported(self, beliefs: Beliefs, frames: Frames) -> Beliefs:
        """Let hooks see the beliefs; what nobody looks at is not computed."""
        mean = self.hook_belief_mean(beliefs.mean)
        if beliefs.log_precision is not None:
            self.hook_belief_log_precision(beliefs.log_precision)
        if self.hook_frames.has_hooks():
            self.hook_frames(frames.dense(beliefs.local))
        if self.hook_belief_scale_tril.has_hooks() and beliefs.log_precision is not None:
            self.hook_belief_scale_tril(self._scale_tril(beliefs, frames))
        return Beliefs(beliefs.local, mean, beliefs.log_precision)

    def _scale_tril(self, beliefs: Beliefs, frames: Frames) -> Float[Tensor, "B N H K K"]:
        """Lower Cholesky factors of the covariances in the common frame."""
        deviation = beliefs.known_log_precision.mul(-0.5).exp().expand_as(beliefs.local)
        if self.attn.config.covariance != "full":
            return torch.diag_embed(deviation)
        root = frames.dense(beliefs.local).mT.unsqueeze(2) * deviation.unsqueeze(-2)  # U^-1 diag(s)
        return torch.linalg.cholesky(root @ root.mT)


class FeedForward(nn.Module):
    """SwiGLU, as in the standard model."""

    def __init__(self, config: GaugeConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(config.d_model, config.d_mlp, bias=False)
        self.up = nn.Linear(config.d_model, config.d_mlp, bias=False)
        self.down = nn.Linear(config.d_mlp, config.d_model, bias=False)
        self.hook_post = HookPoint()  # (B, N, d_mlp), what the units send on

    def forward(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        """down(silu(gate(x)) * up(x))."""
        return self.down(self.hook_post(F.silu(self.gate(x)) * self.up(x)))
