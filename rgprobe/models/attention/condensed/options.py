"""What condensed attention is asked to do, checked before anything is computed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rgprobe.checks import whole_number
from rgprobe.errors import OptionError

__all__ = ["Condensation"]


@dataclass(frozen=True, kw_only=True)
class Condensation:
    """How far keys may be merged, and at what grain.

    Args:
        budget: KL divergence of condensed attention weights from flat ones, nats per query, by the second-order estimate of
            `KeyTree.loss`. 0 merges equal keys only.
        chunk: queries that share their keys; a query sees its own chunk and the one before exactly.
        span: keys that are clustered together, a multiple of the chunk.
        meta_tokens: that a span, and any union of spans, becomes; at most a quarter of the span.
        refine: judge a span by what the last chunk's queries give it, so that a span that hardly matters may be coarse and one
            that matters is opened; without it, every span as if it held all the weight.

    Raises:
        OptionError: a value outside its domain.

    Example:
        >>> Condensation(budget=0.05).lead
        1024
    """

    budget: float = 1.0
    chunk: int = 128
    span: int = 512
    meta_tokens: int = 32
    refine: bool = True

    def __post_init__(self) -> None:
        number = type(self.budget) in (int, float) and math.isfinite(self.budget) and self.budget >= 0
        self._require("budget", "a number of nats of at least 0", number)
        for name in ("chunk", "span", "meta_tokens"):
            whole_number(name, getattr(self, name), least=1)
        self._require("span", f"a multiple of the chunk, {self.chunk}", self.span % self.chunk == 0)
        quarter = f"at most a quarter of the span, {self.span // 4}"
        self._require("meta_tokens", quarter, self.meta_tokens <= self.span // 4)

    @property
    def lead(self) -> int:
        """Tokens whose attention is flat in any case; what they are like decides whether the others' is condensed."""
        return 2 * self.span

    def _require(self, name: str, expected: str, holds: bool) -> None:
        if not holds:
            default = type(self).__dataclass_fields__[name].default
            raise OptionError(
                name, expected=expected, received=repr(getattr(self, name)), remedy=f"the default is {name}={default!r}"
            )
