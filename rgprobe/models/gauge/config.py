"""What a gauge transformer is made of: sizes, and a switch for everything that can be left out. Imports no torch.

What switches are worth, as measured, stands in docs/matched-pair.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

from rgprobe.checks import true_or_false, whole_number
from rgprobe.errors import OptionError

__all__ = ["MODEL_TYPE", "GaugeConfig"]

MODEL_TYPE = "gauge_transformer"  # by which a config.json says what it is of

CHOICES = {
    "attention": ("kl", "dot", "uniform"),
    "frames": ("so", "rotary", "none"),
    "covariance": ("diagonal", "isotropic", "full"),
    "values": ("projected", "means"),
    "update": ("mlp", "vfe"),
    "decode": ("linear", "kl"),
    "condense": ("off", "keys", "two-way"),
}
SIZES = ("n_layers", "n_heads", "d_model", "d_vocab", "n_ctx", "d_mlp", "d_code", "inner_steps", "condense_every",
         "condense_chunk", "condense_span", "condense_meta_tokens")  # fmt: skip
FLAGS = (
    "include_self",
    "successor_values",
    "log_prior",
    "global_frame",
    "state_dependent_precision",
    "condense_refine",
)


@dataclass(frozen=True, kw_only=True)
class GaugeConfig:
    """Sizes and switches of a `GaugeTransformer`; names as in transformer_lens.

    Args:
        n_layers: blocks L.
        n_heads: heads H; a belief has dimension K = d_model / n_heads, even.
        d_model: residual width d.
        d_vocab: tokens V.
        n_ctx: longest input, tokens.
        d_mlp: width of the feed-forward part (SwiGLU).
        d_code: rank R of the token table that frames and precisions are generated from.
        attention: "kl"; "dot": queries and keys of their own in the tokens' frames, softmax_j(<q_i, k_j> / sqrt(K) + log pi_j)
            over values that stay as they are, which with rotary frames, no prior and `include_self` is the standard model;
            or "uniform" over the visible tokens: the ablation that says whether attention matters.
        include_self: let a token see itself. KL(q_i || q_i) = 0 is the best score there is and queries are keys, so a token
            that sees itself hears little else. The first token, which sees nothing else, always sees itself.
        log_prior: a learned log pi_j per head and key, linear in the normalised state.
        global_frame: a learned change of basis per block, from the normalised state to means.
        frames: "so": U_i = exp(phi(token)) R(position); "rotary": R alone; "none": U_i = 1, and a token knows its place by
            the causal mask only.
        covariance: "diagonal" in the common frame; "isotropic", one variance per head; "full": diagonal in the token's own
            frame, hence full in the common one.
        values: what is carried between tokens: a linear map of the normalised state, or the "means" of the beliefs.
            "vfe" always carries beliefs.
        successor_values: what is heard of token j is (1 - w) v_j + w v_(j+1), w learned per head and dimension. Divergence
            finds tokens like the query, and what came after them is the best guess at what comes after the query: with
            one belief for both roles no pair of blocks can learn to look one token further, as queries and keys do.
            Without effect where a token sees itself, whose successor is not there yet, or values are means.
        state_dependent_precision: adds a linear map of the normalised state to the log-precision of the token.
        update: "mlp": attention, then a feed-forward part; "vfe": inner steps that lower a free energy instead.
        inner_steps: of "vfe".
        alpha: of "vfe": weight of the belief that entered the block, positive.
        decode: "linear", tied to the embedding; "kl": minus the divergence to a prior per token of the vocabulary.
        initializer_range: standard deviation of the initial matrices.
        condense: "keys": keys of the far past are merged within a budget, in training or afterwards; "two-way", for "vfe": what
            earlier tokens that are alike have become is, besides, the prior belief of a token that is like them.
        condense_every: condense keys in blocks 0, n, 2 n, ... only.
        condense_budget, condense_chunk, condense_span, condense_meta_tokens, condense_refine: as in `Condensation`.

    Raises:
        OptionError: a value outside its domain, or switches that exclude each other.

    Example:
        >>> GaugeConfig(n_layers=1, n_heads=2, d_model=32, d_vocab=50, n_ctx=16, d_mlp=64).d_head
        16
    """

    n_layers: int
    n_heads: int
    d_model: int
    d_vocab: int
    n_ctx: int
    d_mlp: int
    d_code: int = 8
    attention: str = "kl"
    include_self: bool = False
    log_prior: bool = True
    global_frame: bool = True
    frames: str = "so"
    covariance: str = "diagonal"
    state_dependent_precision: bool = True
    values: str = "projected"
    successor_values: bool = True
    update: str = "mlp"
    inner_steps: int = 3
    alpha: float = 1.0
    decode: str = "linear"
    initializer_range: float = 0.02
    condense: str = "off"
    condense_every: int = 1
    condense_budget: float = 1.0
    condense_chunk: int = 128
    condense_span: int = 512
    condense_meta_tokens: int = 32
    condense_refine: bool = True

    def __post_init__(self) -> None:
        for name in SIZES:
            whole_number(name, getattr(self, name), least=1)
        for name in FLAGS:
            true_or_false(name, getattr(self, name))
        for name, allowed in CHOICES.items():
            self._require(name, " | ".join(allowed), getattr(self, name) in allowed)
        for name in ("alpha", "initializer_range"):
            value = getattr(self, name)
            self._require(name, "a positive number", type(value) in (int, float) and 0 < value < float("inf"))
        even = f"a multiple of 2 x heads = {2 * self.n_heads}, so that a rotary phase has planes to turn in"
        self._require("values", "projected, where attention is dot", (self.attention, self.values) != ("dot", "means"))
        self._require("d_model", even, self.d_model % (2 * self.n_heads) == 0)
        pooled = self.attention == "kl" and self.covariance != "full"
        self._require(
            "update", "mlp, where attention is not kl or covariances are full", self.update == "mlp" or pooled
        )
        self._require("condense", "off, where attention is not kl", self.attention == "kl" or self.condense == "off")
        self._require(
            "condense", "off or keys, where update is mlp", self.update == "vfe" or self.condense != "two-way"
        )

    def _require(self, name: str, expected: str, holds: bool) -> None:
        if not holds:
            default = type(self).__dataclass_fields__[name].default
            remedy = f"change {name}" if default is MISSING else f"the default is {name}={default!r}"
            raise OptionError(name, expected=expected, received=repr(getattr(self, name)), remedy=remedy)

    @property
    def d_head(self) -> int:
        """Dimension K of a belief."""
        return self.d_model // self.n_heads

    @property
    def d_variance(self) -> int:
        """Free variances of one belief: K, or 1 if isotropic."""
        return 1 if self.covariance == "isotropic" else self.d_head

    @property
    def projected_values(self) -> bool:
        """Whether what is carried between tokens is a linear map of the state."""
        return self.values == "projected" and self.update == "mlp"

    @property
    def hears_successors(self) -> bool:
        """Whether `successor_values` applies."""
        return self.successor_values and self.projected_values and not self.include_self

    @property
    def attention_dir(self) -> str:
        """Every token sees itself and earlier ones."""
        return "causal"

    def to_dict(self) -> dict[str, Any]:
        """The fields, as JSON holds them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> GaugeConfig:
        """From the fields by name.

        Raises:
            OptionError: an unknown or missing name, or a value outside its domain.

        Example:
            >>> GaugeConfig.from_dict({"n_layer": 2})
            Traceback (most recent call last):
                ...
            rgprobe.errors.OptionError: n_layer: expected a field of GaugeConfig, received an unknown name; remove it
        """
        names = {field.name for field in fields(cls)}
        for name in record:
            if name not in names:
                raise OptionError(
                    name, expected="a field of GaugeConfig", received="an unknown name", remedy="remove it"
                )
        missing = sorted({"n_layers", "n_heads", "d_model", "d_vocab", "n_ctx", "d_mlp"} - record.keys())
        if missing:
            raise OptionError(missing[0], expected="a positive integer", received="nothing", remedy="add it")
        return cls(**record)
