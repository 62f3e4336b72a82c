"""Activations that were recorded elsewhere, in the place of a model: one prompt is replayed through the collectors' hooks.

What transformer_lens, nnsight or plain PyTorch hooks have kept of a pass goes by the same names, so whatever reads hooks reads
it too. What would need the model itself, to run it again, perturbed, projected or differentiated, it refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rgprobe.errors import BadInput, NumericalRefusal
from rgprobe.probe.cache_rows import BLOCK
from rgprobe.probe.model import Hook, Probe, Source

__all__ = ["Recorded", "not_recorded"]

STATES, ATTENTION, VALUES, UNITS = "states", "attention", "values", "units"
# the order in which a block calls its hooks; what is not named here comes between attention and the feed-forward part
ORDER = ("hook_resid_pre", "attn.hook_q", "attn.hook_k", "attn.hook_v", "attn.hook_rot_q", "attn.hook_rot_k",
         "attn.hook_attn_scores", "attn.hook_pattern", "hook_resid_mid", "mlp.hook_post", "hook_resid_post")  # fmt: skip
SUMS = 0.02  # a pattern's rows add up to 1 within this, in any floating type

Readout = Callable[[Tensor], Tensor]


class Recorded(Probe):
    """A probe that replays what was recorded of one prompt.

    Args:
        activations: by hook name, without a batch dimension, in any order; see `rgprobe.probe.cache_rows`.
        name: what to call the source.
        readout: the map from a state to logits, final norm included; None where it is not known.
        causal: whether the model was; None to see it in the attention that was recorded (True where there is none).
        tokenizer: for the text of tokens.

    Raises:
        BadInput: attention that is none: rows that sum to something else, later keys that a causal model cannot see.
    """

    def __init__(
        self,
        activations: Mapping[str, Tensor],
        *,
        name: str,
        readout: Readout | None = None,
        causal: bool | None = None,
        tokenizer: Any = None,
    ) -> None:
        complete = {name: _masked_low(name, tensor) for name, tensor in _with_states(activations).items()}
        self.activations = dict(sorted(complete.items(), key=lambda pair: _order(pair[0])))
        self.tokenizer, self.owned, self.n_parameters = tokenizer, False, 0
        self.name = name
        self.source = Source("activations", name, {}, {})
        self._readout: Readout | None = readout
        known = {} if readout is None else {"ln_final": readout}
        self.bridge = SimpleNamespace(hook_dict=self.activations, cfg=SimpleNamespace(), **known)
        self.hook_gives_scores = _gives_scores(self.activations)
        attention = self._any("attn.hook_attn_scores" if self.hook_gives_scores else "attn.hook_pattern")
        self._causal = _causal(attention, causal, scores=self.hook_gives_scores)

    @property
    def family(self) -> str:
        """ "standard": what a gauge model computes with besides goes unread."""
        return "standard"

    @property
    def context(self) -> int | None:
        """Unknown."""
        return None

    @property
    def device(self) -> torch.device:
        """Where activations are read."""
        return torch.device("cpu")

    @property
    def n_blocks(self) -> int:
        """Blocks L that have left anything."""
        return 1 + max(int(found[1]) for name in self.activations if (found := BLOCK.match(name)))

    @property
    def n_heads(self) -> int:
        """Query heads; 0 where no attention was recorded."""
        attention = self._any("attn.hook_attn_scores", "attn.hook_pattern")
        return 0 if attention is None else attention.shape[0]

    @property
    def width(self) -> int:
        """Residual width d; 0 where no state was recorded."""
        state = self._any("hook_resid_pre", "hook_resid_post")
        return 0 if state is None else state.shape[-1]

    @property
    def vocabulary(self) -> int:
        """Number of classes that the readout tells apart; 0 without one."""
        if self._readout is None or not self.width:
            return 0
        return int(self.readout(torch.zeros(1, self.width, dtype=self.dtype)).shape[-1])

    @property
    def causal(self) -> bool:
        """Whether a token saw only itself and earlier tokens."""
        return self._causal

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of what was recorded."""
        return next(iter(self.activations.values())).dtype

    def stream(self, ids: Int[Tensor, "tokens"], hooks: list[tuple[str, Hook]]) -> None:
        """Hand what was recorded to the hooks, block by block, in the order of a pass."""
        for name, tensor in self.activations.items():
            for wanted, hook in hooks:
                if wanted == name:
                    hook(tensor[None], hook=SimpleNamespace(name=name))

    def rows_to_last_state(self, rows: Int[Tensor, "rows tokens"], hooks: list[tuple[str, Hook]]) -> None:
        """Refused: there is no model to run again."""
        raise _no_model(self.name)

    def logits(self, ids: Int[Tensor, "tokens"]) -> Float[Tensor, "tokens vocabulary"]:
        """Refused: there is no model to run again."""
        raise _no_model(self.name)

    @torch.no_grad()
    def readout(self, states: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows vocabulary"]:
        """Logits of states through the readout that was given.

        Raises:
            NumericalRefusal: none was.
        """
        if self._readout is None:
            raise NumericalRefusal(
                f"readout of {self.name}", expected="a map from states to logits", received="activations alone",
                remedy="pass readout=, such as rg.load(...).readout",
            )  # fmt: skip
        return self._readout(states)

    def _any(self, *leaves: str) -> Tensor | None:
        found = (tensor for name, tensor in self.activations.items() if name.partition(".")[2].endswith(leaves))
        return next(found, None)


def not_recorded(probe: Recorded) -> dict[str, str]:
    """What of the collections was not recorded: "states", "attention", "values", "units", each with what is missing."""
    blocks = range(probe.n_blocks)
    attention = "hook_attn_scores" if probe.hook_gives_scores else "hook_pattern"
    needed = {
        STATES: [probe.state_hook(state) for state in range(probe.n_blocks + 1)],
        ATTENTION: [f"blocks.{block}.attn.{attention}" for block in blocks],
        VALUES: [f"blocks.{block}.attn.hook_v" for block in blocks],
        UNITS: [f"blocks.{block}.mlp.hook_post" for block in blocks],
    }
    missing = {kind: [name for name in names if name not in probe.activations] for kind, names in needed.items()}
    return {
        kind: f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''} not recorded"
        for kind, names in missing.items()
        if names
    }


def _with_states(activations: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What leaves a block is what enters the next: either name will do."""
    named = dict(activations)
    blocks = [int(found[1]) for name in named if (found := BLOCK.match(name))]
    for block in range(max(blocks) + 1):
        after, before = f"blocks.{block}.hook_resid_post", f"blocks.{block + 1}.hook_resid_pre"
        if after not in named and before in named:
            named[after] = named[before]
    return named


def _masked_low(name: str, tensor: Tensor) -> Tensor:
    """Masked scores at the lowest number of their dtype, as collectors expect them."""
    return tensor.clamp_min(torch.finfo(tensor.dtype).min) if name.endswith("hook_attn_scores") else tensor


def _order(name: str) -> tuple[int, int]:
    _, block, leaf = name.split(".", 2)
    return int(block), ORDER.index(leaf)


def _gives_scores(activations: Mapping[str, Tensor]) -> bool:
    """Whether scores were recorded before the softmax; some bridges give the pattern under their name."""
    scores = activations.get("blocks.0.attn.hook_attn_scores")
    if scores is None:
        return False
    floor = torch.finfo(scores.dtype).min / 2
    weights = scores.double()
    is_pattern = bool((weights >= 0).all()) and bool(((weights.sum(-1) - 1).abs() < SUMS).all())
    if is_pattern and "blocks.0.attn.hook_pattern" not in activations:
        raise BadInput(
            "blocks.0.attn.hook_attn_scores", expected="scores before the softmax", received="rows that sum to 1",
            remedy="name them hook_pattern",
        )  # fmt: skip
    return not is_pattern and bool((weights > floor).any())


def _causal(attention: Tensor | None, stated: bool | None, *, scores: bool) -> bool:
    """As stated, or as the recorded attention shows; what contradicts it is refused."""
    if attention is None:
        return True if stated is None else stated
    seen = attention.double() > (torch.finfo(attention.dtype).min / 2 if scores else 0)
    ahead = bool(seen.triu(1).any())
    if not scores and not bool(((attention.double().sum(-1) - 1).abs() < SUMS).all()):
        raise BadInput(
            "hook_pattern", expected="rows that sum to 1 over the tokens of the prompt",
            received=f"sums down to {float(attention.double().sum(-1).min()):.3g}",
            remedy="run the model with its attention mask, and pass that mask",
        )  # fmt: skip
    if stated and ahead:
        raise BadInput(
            "hook_attn_scores" if scores else "hook_pattern", expected="no later key in any row of a causal model",
            received="later keys that are not masked", remedy="mask them with -inf, or pass causal=False",
        )  # fmt: skip
    return not ahead if stated is None else stated


def _no_model(name: str) -> NumericalRefusal:
    return NumericalRefusal(
        name, expected="a model to run again", received="activations that were recorded",
        remedy="load the model with rg.load for diagnostics that take passes of their own",
    )  # fmt: skip
