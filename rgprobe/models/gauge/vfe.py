"""Inner steps that lower a free energy per token, in place of a feed-forward part.

    F_i = alpha KL(q_i || p_i) + sum_j beta_ij KL(q_i || Omega_ij q_j) + tau sum_j beta_ij log(beta_ij / pi_ij)

p_i and the sources q_j are the beliefs that entered the block and stay frozen. Given q_i the best beta_i is the softmax
of attention; given beta_i the best q_i averages natural parameters (log-linear pooling). Each minimises F_i over its own
argument, so alternating them never raises it. (pi_ij is taken as given, unnormalised: that shifts F_i by a constant.)
With `condense="two-way"` p_i moves with the meta-tokens of the past (`coupling`), and F may rise; the hook shows it for
the p_i that entered.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from rgprobe.models.attention import attention_features
from rgprobe.models.attention.features import DiagonalBlock, IsotropicBlock
from rgprobe.models.gauge.attention import GaugeAttention, attend_to_visible, diagonal_block, visible_keys
from rgprobe.models.gauge.beliefs import Beliefs
from rgprobe.models.gauge.config import GaugeConfig
from rgprobe.models.gauge.coupling import meta_tokens
from rgprobe.models.gauge.frames import Frames
from rgprobe.models.gauge.natural_parameters import block_of, natural
from rgprobe.models.gauge.precision import wide

__all__ = ["FreeEnergyDescent", "free_energy"]


class FreeEnergyDescent(nn.Module):
    """Alternates attention and pooling `inner_steps` times; the attention hooks show the first of them."""

    def __init__(self, config: GaugeConfig) -> None:
        super().__init__()
        self.steps, self.alpha, self.include_self = config.inner_steps, config.alpha, config.include_self
        self.coupled, self.chunk, self.count = (
            config.condense == "two-way",
            config.condense_chunk,
            config.condense_meta_tokens,
        )
        self.top_down = nn.Parameter(torch.empty(config.n_heads)) if self.coupled else None  # logit of the share
        self.hook_free_energy = (
            HookPoint()
        )  # (B, H, N, steps + 1), nats; one value per query before and after each step

    def forward(
        self, attention: GaugeAttention, beliefs: Beliefs, frames: Frames, state: Float[Tensor, "B N d"]
    ) -> Float[Tensor, "B N H K"]:
        """Pooled means, in each token's own frame."""
        queries, keys, prior = attention.features(beliefs, frames, state)  # (B, H, N, W)
        attention.hook_v(beliefs.mean)
        entry = block = diagonal_block(beliefs)
        sources, width = natural(entry), entry.mean.shape[-1]  # (B, H, N, 2K or K + 1)
        inverse_tau, energies = attention.inverse_temperature(), []
        sizes = {"width": width, "chunk": self.chunk, "count": self.count}
        metas = meta_tokens(sources, queries, inverse_tau, **sizes) if self.coupled else None
        share = None if self.top_down is None else wide(self.top_down).sigmoid()
        mixed = sources
        for step in range(self.steps):
            if self.hook_free_energy.has_hooks():
                energies.append(self._energy(block, entry, prior, inverse_tau))
            if step:
                queries, _ = attention_features([block], inverse_tau)
            pooled = (attention.average(queries, keys, sources, prior) if step == 0
                      else attend_to_visible(queries, keys, sources, include_self=self.include_self,
                                             condensation=attention.condensation))  # fmt: skip
            expected = sources if metas is None or share is None else metas.prior(sources, mixed, share)
            mixed = (self.alpha * expected + pooled) / (self.alpha + 1.0)
            block = block_of(mixed, width)
        if energies:
            energies.append(self._energy(block, entry, prior, inverse_tau))
            self.hook_free_energy(torch.stack(energies, -1))
        return frames.to_local(block.mean.transpose(1, 2)).to(state.dtype)

    def _energy(
        self,
        block: DiagonalBlock | IsotropicBlock,
        entry: DiagonalBlock | IsotropicBlock,
        prior: Tensor | None,
        inverse_tau: Tensor,
    ) -> Float[Tensor, "B H N"]:
        return free_energy(block, entry, prior, inverse_tau, self.alpha, include_self=self.include_self)


def free_energy(
    block: DiagonalBlock | IsotropicBlock,
    entry: DiagonalBlock | IsotropicBlock,
    prior: Float[Tensor, "B H N"] | None,
    inverse_tau: Float[Tensor, "H 1 1"],
    alpha: float,
    *,
    include_self: bool,
) -> Float[Tensor, "B H N"]:
    """F_i at the best beta_i: alpha KL(q_i || p_i) - tau log sum_j pi_j exp(-KL(q_i || q_j) / tau), nats.

    Args:
        block: q, the beliefs now.
        entry: p, and the sources.
        prior: log pi_j.
        inverse_tau: 1 / tau.
        alpha: weight of the entry belief.
        include_self: whether a token's own entry belief is among its sources.
    """
    one = torch.ones_like(inverse_tau)
    queries, own_keys = attention_features([block], one)
    _, keys = attention_features([entry], one)
    own = (queries * own_keys).sum(-1)  # <eta_i, theta_i> - A_i, at which KL is 0
    divergence = own - (queries * keys).sum(-1)  # KL(q_i || p_i)
    scores = (queries @ keys.mT - own.unsqueeze(-1)) * inverse_tau
    if prior is not None:
        scores = scores + prior.unsqueeze(-2)
    visible = visible_keys(scores.shape[-1], include_self=include_self, device=scores.device)
    return alpha * divergence - scores.masked_fill(~visible, -torch.inf).logsumexp(-1) / inverse_tau.squeeze(-1)
