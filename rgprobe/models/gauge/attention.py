"""Attention by KL divergence between the beliefs of one block, as dot-product attention over features.

    beta_ij = softmax_j(log pi_j - KL(q_i || Omega_ij q_j) / tau),   tau = exp(s) sqrt(K), one s per head

With `attention="dot"` the divergence is replaced by the product of a query and a key. The pattern exists only where
somebody hooks it; otherwise the fused kernel runs.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from rgprobe.errors import OptionError
from rgprobe.models.attention import Visibility, attend, attention_features, dense_common_frame
from rgprobe.models.attention.condensed import Condensation, condensed_attend
from rgprobe.models.attention.features import Block, DiagonalBlock, IsotropicBlock
from rgprobe.models.attention.local_covariance import DiagonalCovariance
from rgprobe.models.gauge.beliefs import Beliefs
from rgprobe.models.gauge.config import GaugeConfig
from rgprobe.models.gauge.frames import Frames
from rgprobe.models.gauge.precision import full_precision, wide

__all__ = ["GaugeAttention", "attend_to_visible", "condensation_of", "diagonal_block", "own_terms", "visible_keys"]


class GaugeAttention(nn.Module):
    """Weighs tokens by how little their beliefs diverge from the query's: no query and no key projections."""

    def __init__(self, config: GaugeConfig) -> None:
        super().__init__()
        self.config = config
        self.condensation: Condensation | None = None  # set by the model, which knows which block this is
        d, h = config.d_model, config.n_heads
        selective, dot = config.attention != "uniform", config.attention == "dot"
        self.prior = nn.Linear(d, h, bias=False) if selective and config.log_prior else None
        self.query = nn.Linear(d, d, bias=False) if dot else None
        self.key = nn.Linear(d, d, bias=False) if dot else None
        self.value = nn.Linear(d, d, bias=False) if config.projected_values else None
        self.successor = nn.Parameter(torch.zeros(h, config.d_head)) if config.hears_successors else None
        self.log_temperature = nn.Parameter(torch.zeros(h)) if config.attention == "kl" else None
        self.hook_attn_scores = HookPoint()  # (B, H, query, key), nats
        self.hook_pattern = HookPoint()  # (B, H, query, key)
        self.hook_v = HookPoint()  # (B, N, H, K), common frame

    def forward(self, beliefs: Beliefs, frames: Frames, state: Float[Tensor, "B N d"]) -> Float[Tensor, "B N H K"]:
        """Values in the common frame, averaged over visible tokens and carried back into the query's frame."""
        own = beliefs.mean if self.value is None else wide(self.value(state)).unflatten(-1, beliefs.mean.shape[-2:])
        carried = Frames() if self.config.attention == "dot" else frames
        with full_precision(state):
            queries, keys, prior = self.features(beliefs, frames, state)  # (B, H, N, W)
            own = own if self.value is None else carried.to_common(own)  # (B, N, H, K)
            values = own if self.successor is None else _mixed_with_successors(own, self.successor)
            heard = self.average(queries, keys, self.hook_v(values).transpose(1, 2), prior).transpose(1, 2)
            if self.successor is not None:  # the first token hears itself, before it has a successor
                heard = torch.cat([own[:, :1], heard[:, 1:]], 1)
            return carried.to_local(heard).to(state.dtype)

    def features(
        self, beliefs: Beliefs, frames: Frames, state: Float[Tensor, "B N d"]
    ) -> tuple[Float[Tensor, "B H N W"], Float[Tensor, "B H N W"], Float[Tensor, "B H N"] | None]:
        """Queries, keys (the prior included) and the prior."""
        prior = None if self.prior is None else wide(self.prior(state)).transpose(1, 2)
        if self.query is not None and self.key is not None:
            heads = beliefs.mean.shape[-2:]
            queries, keys = (frames.to_common(wide(project(state)).unflatten(-1, heads)).transpose(1, 2)
                             for project in (self.query, self.key))  # fmt: skip
            return *_with_prior(queries / math.sqrt(heads[-1]), keys, prior), prior
        if self.config.attention == "uniform":
            flat = torch.zeros_like(beliefs.mean).transpose(1, 2)
            return flat, flat, None
        block = self._dense(beliefs, frames) if self.config.covariance == "full" else diagonal_block(beliefs)
        queries, keys = attention_features([block], self.inverse_temperature(), prior)
        return queries, keys, prior

    def inverse_temperature(self) -> Float[Tensor, "H 1 1"]:
        """1 / tau."""
        if self.log_temperature is None:
            raise OptionError("attention", expected="kl, which has a temperature", received=self.config.attention,
                              remedy="build the model with attention='kl'")  # fmt: skip
        return (wide(self.log_temperature).neg().exp() / math.sqrt(self.config.d_head))[:, None, None]

    def average(
        self, queries: Tensor, keys: Tensor, values: Float[Tensor, "B H N D"], prior: Float[Tensor, "B H N"] | None
    ) -> Float[Tensor, "B H N D"]:
        """sum_j beta_ij v_j; while scores or pattern are hooked, keys are attended to one by one even if condensation is on."""
        if not (self.hook_attn_scores.has_hooks() or self.hook_pattern.has_hooks()):
            include_self, condensation = self.config.include_self, self.condensation
            return attend_to_visible(queries, keys, values, include_self=include_self, condensation=condensation)
        scores = queries @ keys.mT
        if self.config.attention == "kl":
            scores = scores - own_terms(queries, keys, prior)
        visible = visible_keys(scores.shape[-1], include_self=self.config.include_self, device=scores.device)
        # hidden keys get the lowest finite number, as in transformer_lens
        scores = self.hook_attn_scores(scores.masked_fill(~visible, torch.finfo(scores.dtype).min))
        return self.hook_pattern(scores.softmax(-1)) @ values

    def _dense(self, beliefs: Beliefs, frames: Frames) -> Block:
        """Diagonal in the token's frame, full in the common one."""
        local = beliefs.local.transpose(1, 2)
        covariance = DiagonalCovariance(beliefs.known_log_precision.transpose(1, 2).neg().exp())
        u = frames.dense(beliefs.local).unsqueeze(1)  # (B, 1, N, K, K)
        return dense_common_frame(local, covariance, u, orthogonal=True).blocks[0]


def condensation_of(config: GaugeConfig, layer: int) -> Condensation | None:
    """How the keys of this block are condensed; None where they are not."""
    if config.condense != "keys" or layer % config.condense_every:
        return None
    names = ("budget", "chunk", "span", "meta_tokens", "refine")
    return Condensation(**{name: getattr(config, f"condense_{name}") for name in names})


def diagonal_block(beliefs: Beliefs) -> DiagonalBlock | IsotropicBlock:
    """Beliefs that are diagonal in the common frame, heads in front of tokens.

    They are neither centred nor whitened: normalised means and clamped precisions need no help, and a token's features
    then depend on no later token, not even in rounding.
    """
    mean, variance = beliefs.mean.transpose(1, 2), beliefs.known_log_precision.neg().exp().transpose(1, 2)
    if variance.shape[-1] == 1 < mean.shape[-1]:
        return IsotropicBlock(mean, variance)
    return DiagonalBlock(mean, variance)


def attend_to_visible(
    queries: Float[Tensor, "B H N W"],
    keys: Float[Tensor, "B H N W"],
    values: Float[Tensor, "B H N D"],
    *,
    include_self: bool,
    condensation: Condensation | None = None,
) -> Float[Tensor, "B H N D"]:
    """Attention to earlier tokens, through the fused kernel.

    Without itself, query i sees keys up to i - 1: the sequences are shifted by one, and the first token keeps its value.
    """
    if include_self or values.shape[-2] == 1:
        return _attend(queries, keys, values, condensation)
    rest = _attend(queries[..., 1:, :], keys[..., :-1, :], values[..., :-1, :], condensation)
    return torch.cat([values[..., :1, :], rest], -2)


def _attend(queries: Tensor, keys: Tensor, values: Tensor, condensation: Condensation | None) -> Tensor:
    if condensation is None:
        return attend(queries, keys, values, Visibility())
    return condensed_attend(queries, keys, values, condensation)


def visible_keys(n: int, *, include_self: bool, device: torch.device) -> Bool[Tensor, "N N"]:
    """Which key (column) each query sees: earlier ones, and itself if asked for; the first token always itself.

    Example:
        >>> import torch
        >>> visible_keys(3, include_self=False, device=torch.device("cpu")).int().tolist()
        [[1, 0, 0], [1, 0, 0], [1, 1, 0]]
    """
    visible = torch.ones(n, n, dtype=torch.bool, device=device).tril(0 if include_self else -1)
    visible[0, 0] = True
    return visible


def own_terms(
    queries: Float[Tensor, "B H N W"], keys: Float[Tensor, "B H N W"], prior: Float[Tensor, "B H N"] | None
) -> Float[Tensor, "B H N 1"]:
    """What features leave out of -KL(q_i || q_j) / tau: the terms of i alone, which KL(q_i || q_i) = 0 gives."""
    own = (queries * keys).sum(-1, keepdim=True)
    return own if prior is None else own - prior.unsqueeze(-1)


def _mixed_with_successors(own: Float[Tensor, "B N H K"], weight: Float[Tensor, "H K"]) -> Float[Tensor, "B N H K"]:
    """(1 - w) v_j + w v_(j+1); the last token, which nobody hears yet, keeps its own."""
    return own + weight * (torch.cat([own[:, 1:], own[:, -1:]], 1) - own)


def _with_prior(
    queries: Float[Tensor, "B H N K"], keys: Float[Tensor, "B H N K"], prior: Float[Tensor, "B H N"] | None
) -> tuple[Tensor, Tensor]:
    """The prior as one more feature, as `attention_features` has it."""
    if prior is None:
        return queries, keys
    return torch.cat([queries, torch.ones_like(queries[..., :1])], -1), torch.cat([keys, prior.unsqueeze(-1)], -1)
