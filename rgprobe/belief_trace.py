"""`BeliefTrace`: what one model made of some prompts, and how the parts of single prompts become one record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import numpy as np
import xarray as xr

from rgprobe.gathering import gathered
from rgprobe.gaussian import Gaussian
from rgprobe.probe.estimators import Estimator, estimator_of
from rgprobe.probe.model import Probe
from rgprobe.probe.normalising import norm_kind
from rgprobe.probe.prompt_trace import PromptTrace
from rgprobe.probe.prompts import EncodedPrompt
from rgprobe.probe.ragged import stack_ragged

__all__ = ["BeliefTrace", "assemble", "library_versions"]

PACKAGES = ("rgprobe", "torch", "transformers", "transformer_lens", "numpy", "scipy", "xarray")


@dataclass(frozen=True)
class BeliefTrace:
    """What one model made of some prompts: token beliefs, attention moments and state geometry, with provenance.

    Ragged prompts share one array: `token_mask` says which entries exist, absent ones are NaN. What was not collected is
    empty.

    Attributes:
        belief: name of the estimator, see `rgprobe.probe.estimators`.
        prompts: texts.
        tokens: the text of each token of each prompt.
        token_ids: (prompt, token), -1 where absent.
        token_mask: (prompt, token), True where a token exists.
        positions: (prompt, position) indices of the recorded tokens, -1 where absent.
        attention: means over attention rows, dims (sink, prompt, block, head); keys that each row sees, (sink, prompt, block,
            token); functions of every row, (prompt, block, head, token), under the first policy of `sink`. See
            `rgprobe.probe.row_statistics`.
        graph: head-averaged attention among recorded tokens, (prompt, block, position, source).
        geometry: collapse of tokens, dims (sink, prompt, state).
        states: residual states of the recorded tokens, (prompt, state, position, width).
        lens: predictions at the recorded tokens, dims (prompt, state, position).
        log_probabilities: lens beliefs per prompt, (state, position, class), float64; the last class is the rest.
        classes: vocabulary ids of those classes per prompt, (state, class), -1 for the rest.
        gaussians: Gaussian beliefs per prompt: one Gaussian per block or state with batch shape (position, head).
        causal: whether the model is.
        vocabulary: V.
        provenance: JSON-ready description of how this came about.
        couplings: of gauge attention, dims (prompt, block, head, token): tau, and the mean over coordinates of a key's
            precisions and of their squares; empty for standard models.
        sketches: all tokens in a few random coordinates, (prompt, state, site, coordinate), see `rgprobe.probe.sketches`.
        units: sparsity of feed-forward units, dims (sink, prompt, block).
        reductions: by collection, what `rgprobe.probe.reductions` or `rgprobe.probe.passes` made, with a dimension prompt.
        groups: a label per prompt, "" for none; empty where prompts are not grouped.
    """

    belief: str
    prompts: tuple[str, ...]
    tokens: tuple[tuple[str, ...], ...]
    token_ids: np.ndarray
    token_mask: np.ndarray
    positions: np.ndarray
    attention: xr.Dataset
    graph: xr.DataArray
    geometry: xr.Dataset
    states: xr.DataArray
    lens: xr.Dataset
    log_probabilities: tuple[np.ndarray, ...]
    classes: tuple[np.ndarray, ...]
    gaussians: tuple[tuple[Gaussian, ...], ...]
    causal: bool
    vocabulary: int
    provenance: dict[str, Any]
    couplings: xr.Dataset = field(default_factory=xr.Dataset)
    sketches: xr.DataArray = field(default_factory=lambda: xr.DataArray(np.empty(0)))
    units: xr.Dataset = field(default_factory=xr.Dataset)
    reductions: dict[str, xr.Dataset] = field(default_factory=dict)
    groups: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """What was measured of what; the arrays themselves would fill pages."""
        name = self.provenance.get("source", {}).get("name", "no source")
        depths = f", {self.depth_dim}s={self.n_depths}" if self._beliefs else ""
        return (
            f"BeliefTrace({name!r}, beliefs={self.belief}, prompts={self.n_prompts}, tokens={int(self.token_mask.sum())}, "
            f"recorded={int((self.positions >= 0).sum())}{depths})"
        )

    @property
    def n_prompts(self) -> int:
        """Number of prompts P."""
        return len(self.prompts)

    @property
    def estimator(self) -> Estimator:
        """What a token's belief was taken to be."""
        return estimator_of(self.belief)

    @property
    def depth_dim(self) -> str:
        """What beliefs are indexed by: "block" (L) for thermal and native beliefs, "state" (L + 1) for the others."""
        return self.estimator.depth_dim

    @property
    def n_depths(self) -> int:
        """Length of `depth_dim`."""
        return len(self._beliefs[0])

    @property
    def _beliefs(self) -> Sequence[Any]:
        return self.gaussians if self.estimator.gaussian else self.log_probabilities

    def bare(self) -> BeliefTrace:
        """Prompts, tokens and provenance alone: what a result needs once everything has been measured."""
        nothing = xr.DataArray(np.empty(0))
        return replace(
            self, attention=xr.Dataset(), graph=nothing, geometry=xr.Dataset(), states=nothing, lens=xr.Dataset(),
            log_probabilities=(), classes=(), gaussians=(), couplings=xr.Dataset(), sketches=nothing, units=xr.Dataset(),
            reductions={},
        )  # fmt: skip

    def recorded(self, prompt: int) -> np.ndarray:
        """Token indices of the recorded tokens of a prompt."""
        row = self.positions[prompt]
        return row[row >= 0]

    def recorded_tokens(self, prompt: int) -> tuple[str, ...]:
        """Texts of the recorded tokens of a prompt."""
        return tuple(self.tokens[prompt][index] for index in self.recorded(prompt))

    def beliefs(self, prompt: int, depth: int) -> np.ndarray | Gaussian:
        """Beliefs of the recorded tokens of one prompt at one depth.

        Returns:
            Log-probabilities (position, class) in the reduced basis for the lens; a Gaussian of batch shape (position, head)
            for the others, where a token's belief is the product over heads, so divergences add.
        """
        return self._beliefs[prompt][depth]


def assemble(
    probe: Probe,
    encoded: Sequence[EncodedPrompt],
    recorded: Sequence[np.ndarray],
    parts: Iterable[PromptTrace],
    options: dict[str, Any],
) -> BeliefTrace:
    """One record of all prompts.

    Args:
        probe: the model.
        encoded: prompts as token ids.
        recorded: token indices recorded of each prompt.
        parts: what was collected of each prompt, one at a time.
        options: of `rgprobe.trace`, as they go into the provenance.
    """
    longest = max(len(prompt) for prompt in encoded)
    fields, ways = gathered(parts, len(encoded), sink=options["sink"])
    return BeliefTrace(
        belief=options["belief"],
        prompts=tuple(prompt.text for prompt in encoded),
        tokens=tuple(prompt.tokens for prompt in encoded),
        token_ids=stack_ragged([prompt.ids.numpy() for prompt in encoded], -1),
        token_mask=np.array([np.arange(longest) < len(prompt) for prompt in encoded]),
        positions=stack_ragged(recorded, -1),
        causal=probe.causal,
        vocabulary=probe.vocabulary,
        groups=tuple(options.get("groups") or ()),
        provenance={**_provenance(probe, encoded, options), "attention_from": ways},
        **fields,
    )


def library_versions() -> dict[str, str]:
    """Versions of the libraries on which numbers may depend, as results record them."""
    return dict(_versions())


@lru_cache
def _versions() -> tuple[tuple[str, str], ...]:
    """Read once: metadata of seven packages take longer to parse than a small item of a sweep."""
    return tuple((name, version(name)) for name in PACKAGES)


def _provenance(probe: Probe, encoded: Sequence[EncodedPrompt], options: dict[str, Any]) -> dict[str, Any]:
    source = probe.source
    return {
        "source": {"kind": source.kind, "name": source.name, "sha256": source.sha256},
        "family": probe.family,
        "norm": norm_kind(probe),
        "config": source.config,
        "tokenizer": type(probe.tokenizer).__name__ if probe.tokenizer is not None else None,
        "n_parameters": probe.n_parameters,
        "dtype": str(probe.dtype).removeprefix("torch."),
        "device": probe.device.type,
        "versions": library_versions(),
        "belief": options["belief"],
        "assumption": estimator_of(options["belief"]).assumption,
        "belief_noise_nats": estimator_of(options["belief"]).noise(options["belief_options"]),
        "options": options,
        "truncated_tokens": [prompt.truncated for prompt in encoded],
    }
