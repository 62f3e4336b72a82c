"""Which keys a query sees, in terms of positions alone, and which queries see none."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

__all__ = ["Visibility"]


@dataclass(frozen=True)
class Visibility:
    """Key j is visible to query i if j <= i (causal), |i - j| < window, and j != i unless the token sees itself.

    Args:
        causal: hide later tokens.
        include_self: let a token see itself.
        window: number of tokens in reach on one side, the token itself counted; None for all.

    Example:
        >>> import torch
        >>> rule = Visibility(causal=True, include_self=False, window=None)
        >>> rule.between(torch.arange(3)[:, None], torch.arange(3)).int().tolist()
        [[0, 0, 0], [1, 0, 0], [1, 1, 0]]
        >>> rule.rows_without_keys(3).tolist()
        [True, False, False]
    """

    causal: bool = True
    include_self: bool = True
    window: int | None = None

    def between(self, query: Tensor, key: Tensor) -> Tensor:
        """Visible or not, for integer positions that broadcast."""
        offset = query - key
        visible = offset >= 0 if self.causal else torch.ones_like(offset, dtype=torch.bool)
        if self.window is not None:
            visible = visible & (offset.abs() < self.window)
        return visible if self.include_self else visible & (offset != 0)

    def rows_without_keys(self, n: int, live: Bool[Tensor, "*batch N"] | None = None) -> Bool[Tensor, "*batch N"]:
        """Queries that see no key, in O(N): their attention is undefined.

        Args:
            n: number of tokens.
            live: keys with a prior above zero; None for all.
        """
        if live is None:
            live = torch.ones(n, dtype=torch.bool)
        position = torch.arange(n, device=live.device)
        reach = n if self.window is None else self.window
        first = (position - reach + 1).clamp_min(0)
        last = position if self.causal else (position + reach - 1).clamp_max(n - 1)
        counted = torch.nn.functional.pad(live.long().cumsum(-1), (1, 0))
        visible = counted[..., last + 1] - counted[..., first]
        return (visible if self.include_self else visible - live.long()) == 0
