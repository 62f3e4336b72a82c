"""From the normalised last state to logits: linear, or by divergence to a Gaussian prior per token of the vocabulary."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from rgprobe.models.gauge.beliefs import LARGEST_LOG_PRECISION, TokenTable
from rgprobe.models.gauge.config import GaugeConfig
from rgprobe.models.gauge.precision import full_precision, wide

__all__ = ["KLReadout", "LinearReadout"]


class LinearReadout(nn.Module):
    """logit_v = <w_v, x>, w the embedding."""

    def __init__(self, embedding: nn.Embedding) -> None:
        super().__init__()
        self.weight = embedding.weight  # tied: one parameter under two names

    def forward(self, state: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch V"]:
        """Logits."""
        return F.linear(state, self.weight)


class KLReadout(nn.Module):
    r"""logit_v = -KL(q || p_v), q = N(x, 1), p_v = N(w_v, 1 / lambda_v): w the embedding, lambda the token's precisions.

    Up to terms of q alone, -KL = <lambda_v w_v, x> - <lambda_v, x^2 + 1> / 2 + sum(log lambda_v - lambda_v w_v^2) / 2:
    two matrix products.
    """

    def __init__(self, config: GaugeConfig, embedding: nn.Embedding, table: TokenTable) -> None:
        super().__init__()
        self.weight = embedding.weight
        self.heads = config.n_heads
        self._table = [table]  # in a list: the module is registered where it belongs, and once

    def forward(self, state: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch V"]:
        """Logits."""
        with full_precision(state):
            log_precision, means, state = self._log_precision(), wide(self.weight), wide(state)  # (V, d), (V, d)
            precision = log_precision.exp()
            pulled = precision * means
            constant = 0.5 * (log_precision - pulled * means).sum(-1)  # (V)
            return F.linear(state, pulled, constant) - 0.5 * F.linear(state.square() + 1.0, precision)

    def _log_precision(self) -> Float[Tensor, "V d"]:
        every = torch.arange(len(self.weight), device=self.weight.device)
        table = self._table[0].log_precision(every)
        if table is None:
            raise AttributeError("the token table has no precisions")
        per_head = table.clamp(-LARGEST_LOG_PRECISION, LARGEST_LOG_PRECISION).unflatten(-1, (self.heads, -1))
        return per_head.expand(-1, -1, self.weight.shape[1] // self.heads).flatten(1)
