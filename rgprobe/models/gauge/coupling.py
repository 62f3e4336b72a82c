"""Beliefs of tokens and of what tokens that are alike have become, each informing the other: coupling between two scales.

Bottom-up: the meta-tokens of a chunk are pools of its tokens, sum_j theta_j / n over the members, made again at every step.
Top-down: the prior belief p_i of a token is its own entry belief and, in a share s that each head learns, what the meta-tokens
of the chunks before its own say of it, theta(p_i) = (1 - s) theta_i + s sum_c r_ic theta_c, r_ic = softmax_c(ln n_c -
KL(q_i || q_c) / tau) with the entry belief q_i. A token learns of its past alone: a meta-token has members in one chunk, and
only later chunks look at it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rgprobe.models.attention import attention_features
from rgprobe.models.attention.condensed.clusters import cluster, sums_of
from rgprobe.models.attention.priors import HIDDEN
from rgprobe.models.gauge.natural_parameters import block_of

__all__ = ["MetaTokens", "meta_tokens"]


@dataclass(frozen=True, eq=False)
class MetaTokens:
    """Which token belongs to which meta-token; heads and batch are one dimension A.

    Args:
        labels: of the tokens of whole chunks, within their chunk.
        count: meta-tokens per chunk.
        queries: features of the entry beliefs of all tokens.
        inverse_tau: 1 / tau, (A, 1, 1).
        width: linear parameters K; the rest of a belief's parameters are precisions.
    """

    labels: Int[Tensor, "A chunks n"]
    count: int
    queries: Float[Tensor, "A N W"]
    inverse_tau: Float[Tensor, "A 1 1"]
    width: int

    def prior(
        self, entry: Float[Tensor, "B H N P"], now: Float[Tensor, "B H N P"], share: Float[Tensor, "H"]
    ) -> Float[Tensor, "B H N P"]:
        """Natural parameters of p_i, from those at entry and those that tokens have by now.

        Args:
            entry: natural parameters at entry.
            now: those of this step, of which meta-tokens are made.
            share: of what meta-tokens say, between 0 and 1.
        """
        heads, chunks, length = self.labels.shape
        if chunks == 0:
            return entry
        tokens = now.flatten(0, 1)[:, : chunks * length].unflatten(1, (chunks, length)).flatten(0, 1)
        labels = self.labels.flatten(0, 1)
        size = sums_of(torch.ones_like(tokens[..., :1]), labels, self.count)
        # an empty cluster is hidden below, and stands here as a token that is there
        pooled = torch.where(size > 0, sums_of(tokens, labels, self.count) / size.clamp_min(1.0), tokens[:, :1])
        log_size = size.clamp_min(1.0).log().masked_fill(size == 0, HIDDEN).squeeze(-1)
        pooled, log_size = pooled.reshape(heads, chunks * self.count, -1), log_size.reshape(heads, -1)
        _, keys = attention_features([block_of(pooled, self.width)], self.inverse_tau, log_size)
        scores = self.queries @ keys.mT
        own = torch.arange(scores.shape[1], device=scores.device) // length
        seen = torch.arange(chunks, device=scores.device).repeat_interleave(self.count) < own.unsqueeze(-1)
        heard = scores.masked_fill(~seen, HIDDEN).softmax(-1) @ pooled
        both = torch.lerp(entry, heard.view_as(entry), share[:, None, None].to(entry))
        return torch.where(seen.any(-1, keepdim=True), both, entry)


def meta_tokens(
    entry: Float[Tensor, "B H N P"],
    queries: Float[Tensor, "B H N W"],
    inverse_tau: Float[Tensor, "H 1 1"],
    *,
    width: int,
    chunk: int,
    count: int,
) -> MetaTokens:
    """Clusters of the entry beliefs of every whole chunk, by their natural parameters.

    Args:
        entry: natural parameters.
        queries: features of the entry beliefs.
        inverse_tau: 1 / tau.
        width: linear parameters K.
        chunk: tokens that are clustered together.
        count: meta-tokens of a chunk.
    """
    batch, heads, n, size = entry.shape
    chunks = n // chunk
    tokens = entry.detach().flatten(0, 1)[:, : chunks * chunk].reshape(-1, chunk, size)
    labels = cluster(tokens, count) if chunks else tokens.new_zeros(0, chunk, dtype=torch.long)
    tau = inverse_tau.expand(batch, heads, 1, 1).flatten(0, 1)
    return MetaTokens(labels.reshape(batch * heads, chunks, chunk), count, queries.flatten(0, 1), tau, width)
