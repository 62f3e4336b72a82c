"""`Probe`: one model, either family, with the handles that measurements need and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rgprobe.checks import one_of
from rgprobe.errors import NumericalRefusal, OptionError
from rgprobe.probe.prompts import EncodedPrompt, encode_one, encode_prompts
from rgprobe.probe.readout import find_readout

__all__ = ["Probe", "Source"]

Hook = Callable[..., Tensor | None]


@dataclass(frozen=True)
class Source:
    """Where a model came from.

    Attributes:
        kind: "shipped", "directory", "hub", "module", "bridge", "hooked" or "activations".
        name: what to call it.
        sha256: digests by file name, or of the state dict of a model that was in memory.
        config: the model's configuration.
        path: the directory, where there is one.
    """

    kind: str
    name: str
    sha256: dict[str, str]
    config: dict[str, Any] = field(repr=False)
    path: Path | None = None


class Probe:
    """A transformer ready to be measured, by one thread at a time (nulls are drawn into its weights); see `rgprobe.load`.

    Attributes:
        family: "standard" or "gauge".
        name: what the source is called.
        source: provenance of the weights.
        bridge: the hooked model: a `TransformerBridge`, or a `GaugeTransformer`, which needs none.
        tokenizer: or None, for a model that takes token ids.
    """

    def __init__(
        self, bridge: Any, tokenizer: Any, source: Source, *, owned: bool, n_parameters: int | None = None
    ) -> None:
        self.bridge = bridge
        self.tokenizer = tokenizer
        self.source = source
        self.name = source.name
        # only a model that rgprobe made itself may be re-initialised in place
        self.owned = owned
        self.n_parameters = n_parameters if n_parameters is not None else _distinct_parameters(bridge.original_model)

    def __repr__(self) -> str:
        return (
            f"Probe({self.name!r}, family={self.family!r}, blocks={self.n_blocks}, heads={self.n_heads}, "
            f"width={self.width}, vocabulary={self.vocabulary}, parameters={self.n_parameters:,})"
        )

    @property
    def family(self) -> str:
        """ "gauge" for a `GaugeTransformer`, "standard" for everything that transformer_lens bridges."""
        return str(getattr(self.bridge, "family", "standard"))

    @property
    def n_blocks(self) -> int:
        """Number of transformer blocks L; there are L + 1 states."""
        return int(self.bridge.cfg.n_layers)

    @property
    def n_heads(self) -> int:
        """Query heads per block."""
        return int(self.bridge.cfg.n_heads)

    @property
    def width(self) -> int:
        """Residual width d."""
        return int(self.bridge.cfg.d_model)

    @property
    def vocabulary(self) -> int:
        """Number of token embeddings V."""
        return int(self.bridge.cfg.d_vocab)

    @property
    def context(self) -> int | None:
        """Longest prompt, tokens."""
        return int(self.bridge.cfg.n_ctx) if getattr(self.bridge.cfg, "n_ctx", None) else None

    @property
    def causal(self) -> bool:
        """Whether a token sees only itself and earlier tokens."""
        return getattr(self.bridge.cfg, "attention_dir", "causal") != "bidirectional"

    @property
    def device(self) -> torch.device:
        """Where prompts go and statistics are gathered: the first device with weights, or the CPU where all are on disk."""
        devices = (parameter.device for parameter in self.bridge.original_model.parameters())
        return next((device for device in devices if device.type != "meta"), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights."""
        return next(self.bridge.original_model.parameters()).dtype

    def encode(self, prompts: Any, **options: Any) -> tuple[EncodedPrompt, ...]:
        """Unpadded token ids of prompts; see `rgprobe.probe.prompts.encode_prompts`."""
        return encode_prompts(
            prompts, tokenizer=self.tokenizer, vocabulary=self.vocabulary, context=self.context, **options
        )

    @torch.inference_mode()
    def stream(self, ids: Int[Tensor, "tokens"], hooks: list[tuple[str, Hook]]) -> None:
        """One forward pass up to the last state, calling `hook(tensor, hook=...)` at each named point.

        The pass ends there: the unembedding of every token, a fifth of a small model's work, is never needed, because
        measurements read out the positions that they record.
        """
        self.rows_to_last_state(ids[None], hooks)

    def rows_to_last_state(self, rows: Int[Tensor, "rows tokens"], hooks: list[tuple[str, Hook]]) -> None:
        """Like `stream`, for several rows of ids of one length; gradients are recorded if the caller records them."""
        # after the given hooks, on the same point: stop_at_layer can only stop before a block, and there is none after the last
        ending = [*hooks, (self.state_hook(self.n_blocks), _end_of_pass)]
        with self.evaluating(), suppress(_EndOfPassError):
            self.bridge.run_with_hooks(rows.to(self.device), fwd_hooks=ending, return_type=None)

    @torch.inference_mode()
    def logits(self, ids: Int[Tensor, "tokens"]) -> Float[Tensor, "tokens vocabulary"]:
        """The model's own logits of one prompt."""
        with self.evaluating():
            return self.bridge(ids[None].to(self.device), return_type="logits")[0]

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """No dropout meanwhile; a bridge that a person trains keeps training afterwards."""
        modules = {*self.bridge.modules(), *self.bridge.original_model.modules()}
        training = [module for module in modules if module.training]
        try:
            for module in training:
                module.training = False
            yield
        finally:
            for module in training:
                module.training = True

    @torch.inference_mode()
    def readout(self, states: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows vocabulary"]:
        """Logits of residual states through the model's own final norm and unembedding.

        Raises:
            NumericalRefusal: no known readout reproduces this model's own logits from its last state.
        """
        return self.differentiable_readout(states)

    def differentiable_readout(self, states: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows vocabulary"]:
        """What `readout` gives, with derivatives where they are recorded.

        Raises:
            NumericalRefusal: as `readout`.
        """
        if self._readout is None:
            raise NumericalRefusal(
                f"readout of {self.name}",
                expected="a final norm and unembedding that reproduce the model's own logits",
                received="an output head of unknown form",
                remedy="ask for diagnostics of attention and states only",
            )
        return self._readout(states.to(self.dtype)[None])[0]

    @property
    def knows_readout(self) -> bool:
        """Whether the readout was found; where it was not, `readout` refuses."""
        return self._readout is not None

    @cached_property
    @torch.inference_mode()
    def _readout(self) -> Any:
        ids = self._few_ids()
        states: list[Tensor] = []
        self.stream(ids, [(self.state_hook(self.n_blocks), lambda tensor, hook: states.append(tensor))])
        return find_readout(self.bridge, states[0], self.logits(ids)[None])

    @cached_property
    @torch.inference_mode()
    def hook_gives_scores(self) -> bool:
        """Whether `hook_attn_scores` fires before the softmax.

        In bridges that delegate attention to the wrapped model it carries the pattern; that is found out, not assumed.
        """
        seen: dict[str, Tensor] = {}

        def keep(tensor: Tensor, hook: Any) -> None:
            seen.setdefault(hook.name.rsplit(".", 1)[-1], tensor)

        names = ("hook_attn_scores", "hook_pattern")
        self.stream(self._few_ids(), [(f"blocks.0.attn.{name}", keep) for name in names])
        scores, pattern = seen["hook_attn_scores"].float(), seen["hook_pattern"].float()
        return bool((scores.softmax(-1) - pattern).abs().max() < 1e-3) and bool((scores - pattern).abs().max() > 1e-3)

    def _few_ids(self) -> Tensor:
        return torch.arange(min(8, self.vocabulary, self.context or 8))

    def calibrate(self) -> None:
        """Find out now, on eight tokens, what the hooks carry and how the model reads out its last state."""
        _ = self.hook_gives_scores, self._readout

    def adopt_calibration(self, other: Probe) -> None:
        """Take over what another probe of the same architecture found out about its hooks and its readout."""
        self.hook_gives_scores = other.hook_gives_scores
        if self.bridge is other.bridge:
            self._readout = other._readout

    def state_hook(self, state: int) -> str:
        """Name of the hook point of residual state 0 (input end) to L (output end)."""
        return "blocks.0.hook_resid_pre" if state == 0 else f"blocks.{state - 1}.hook_resid_post"

    def loss(self, text: Any, *, per: str = "token", bos: str = "model") -> float:
        """Mean next-token cross-entropy of a text.

        A text longer than the context is cut into windows that overlap by half; each token is scored once, with at least
        half a context before it (fewer at the start).

        Args:
            text: a string or a sequence of token ids.
            per: "token" (nats per predicted token) or "character" (nats per character of the predicted tokens).
            bos: see `rgprobe.trace`.

        Raises:
            OptionError: unknown `per`, characters without a tokenizer, or a bidirectional model, which predicts no next token.
            PromptError: see `rgprobe.trace`.
        """
        one_of("per", per, ("token", "character"))
        if per == "character" and self.tokenizer is None:
            raise OptionError("per", expected="token, for a model without a tokenizer", received="'character'",
                              remedy="pass tokenizer= to load, or use per='token'")  # fmt: skip
        if not self.causal:
            raise OptionError(
                "loss",
                expected="a causal model",
                received=f"bidirectional {self.name}",
                remedy="score masked tokens instead",
            )
        options = {"tokenizer": self.tokenizer, "vocabulary": self.vocabulary, "context": None, "bos": bos}
        prompt = encode_one(text, **options)
        if len(prompt) < 2:
            return float("nan")
        total = sum(self._window_loss(prompt.ids, start, first) for start, first in self._windows(len(prompt)))
        if per == "token":
            return total / (len(prompt) - 1)
        return total / max(len(self.tokenizer.decode(prompt.ids[1:].tolist())), 1)

    def _windows(self, length: int) -> Iterator[tuple[int, int]]:
        """(start of window, first position to score) pairs."""
        context = self.context or length
        start, first = 0, 1
        while first < length:
            yield start, first
            start, first = start + max(context // 2, 1), start + context

    def _window_loss(self, ids: Tensor, start: int, first: int) -> float:
        window = ids[start : start + (self.context or len(ids))]
        log_p = self.logits(window).double().log_softmax(-1)
        targets = window[first - start :].to(log_p.device)
        rows = log_p[first - start - 1 : len(window) - 1]
        return -float(rows.gather(-1, targets[:, None]).sum())

    @contextmanager
    def randomised(self, seed: int) -> Iterator[Probe]:
        """This architecture with freshly initialised weights, inside a `with` block; see `rgprobe.probe.reinitialise`."""
        from rgprobe.probe.reinitialise import random_initialisation

        with random_initialisation(self, seed) as probe:
            yield probe


class _EndOfPassError(Exception):
    """The last state has been seen."""


def _end_of_pass(tensor: Tensor, hook: Any) -> None:
    raise _EndOfPassError


def _distinct_parameters(model: torch.nn.Module) -> int:
    return sum({p.untyped_storage().data_ptr(): p.numel() for p in model.parameters()}.values())
