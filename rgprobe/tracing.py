"""`trace`: one streaming pass of a model over prompts, reduced layer by layer into a `BeliefTrace`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
import xarray as xr

from rgprobe.errors import OptionError
from rgprobe.gaussian import Gaussian
from rgprobe.probe.attention import SINK_POLICIES
from rgprobe.probe.couplings import COUPLINGS
from rgprobe.probe.estimators import Estimator, estimator_of
from rgprobe.probe.lens import LENS_QUANTITIES
from rgprobe.probe.loading import load
from rgprobe.probe.model import Probe
from rgprobe.probe.moments import RowMoments
from rgprobe.probe.prompt_trace import COLLECTIONS, REDUCTIONS, PromptTrace, trace_prompt
from rgprobe.probe.prompts import EncodedPrompt
from rgprobe.probe.ragged import stack_ragged
from rgprobe.probe.states import GEOMETRY
from rgprobe.probe.units import UNITS

__all__ = ["COLLECTIONS", "BeliefTrace", "trace"]


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
        attention: row moments, dims (sink, prompt, block, head, token).
        graph: head-averaged attention among recorded tokens, (prompt, block, position, source).
        geometry: collapse of tokens, dims (sink, prompt, state).
        states: residual states of the recorded tokens, (prompt, state, position, width).
        lens: predictions at the recorded tokens, dims (prompt, state, position).
        log_probabilities: lens beliefs per prompt, (state, position, class), float64; the last class is the rest.
        classes: vocabulary ids of those classes per prompt, (state, class), -1 for the rest.
        gaussians: thermal or native beliefs per prompt: one Gaussian per block with batch shape (position, head).
        causal: whether the model is.
        vocabulary: V.
        provenance: JSON-ready description of how this came about.
        couplings: of gauge attention, dims (prompt, block, head, token): tau, and the mean over coordinates of a key's
            precisions and of their squares; empty for standard models.
        sketches: all tokens in a few random coordinates, (prompt, state, site, coordinate), see `rgprobe.probe.sketches`.
        units: sparsity of feed-forward units, dims (sink, prompt, block).
        reductions: by collection, what `rgprobe.probe.reductions` made of attention, with a dimension prompt.
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
    provenance: dict[str, Any] = field(repr=False)
    couplings: xr.Dataset = field(default_factory=xr.Dataset)
    sketches: xr.DataArray = field(default_factory=lambda: xr.DataArray(np.empty(0)))
    units: xr.Dataset = field(default_factory=xr.Dataset)
    reductions: dict[str, xr.Dataset] = field(default_factory=dict)

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
        """What beliefs are indexed by: "state" (L + 1) for the lens, "block" (L) for thermal and native beliefs."""
        return self.estimator.depth_dim

    @property
    def n_depths(self) -> int:
        """Length of `depth_dim`."""
        return len(self._beliefs[0])

    @property
    def _beliefs(self) -> Sequence[Any]:
        return self.gaussians if self.estimator.gaussian else self.log_probabilities

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


def trace(
    model: Any,
    prompts: Any,
    *,
    belief: str = "lens",
    positions: int | Sequence[int] = 32,
    sink: str = "exclude",
    bos: str = "model",
    truncate: bool = False,
    attention_mask: Any = None,
    basis: int = 1024,
    answers: Sequence[str | Sequence[str]] | None = None,
    collect: Sequence[str] = COLLECTIONS,
    on_prompt: Callable[[int], None] | None = None,
) -> BeliefTrace:
    """Stream a model over prompts and keep what the diagnostics need.

    Each prompt runs alone and unpadded. Attention statistics cover every token; beliefs and states are kept at the
    recorded tokens only, because a readout of every token at every layer costs several forward passes.

    Args:
        model: anything `rgprobe.load` takes.
        prompts: texts, token ids, or a tokenizer's output with its attention mask.
        belief: "lens", "thermal" or, for gauge models, "native"; see `rgprobe.probe.estimators` for what each assumes.
        positions: how many evenly spaced tokens to record, or which.
        sink: "exclude" renormalises attention rows without key 0 and leaves token 0 out of the recorded ones; "include"
            keeps it. Attention and geometry are always reported both ways; the policy says which one is read first.
        bos: "model" (as its tokenizer does), "always" or "never".
        truncate: cut prompts over the context length instead of refusing them.
        attention_mask: for a padded (B, N) batch of ids.
        basis: classes kept apart in the reduced basis of lens beliefs; divergences there are lower bounds, exact when
            the vocabulary fits.
        answers: per prompt, a text or several: the rank and probability of the first one's first token, and the total
            probability of all their first tokens, are followed at the prompt's last token. Texts are tokenised as they are
            given, a leading space included. By default the prompt's own next token is followed, at every recorded token.
        collect: what to collect, among `COLLECTIONS` (all by default) and `REDUCTIONS`; the rest costs nothing.
        on_prompt: called with the number of prompts done.

    Raises:
        OptionError: an unknown policy, belief or collection, or beliefs that the model does not have.
        PromptError: see `rgprobe.probe.prompts.encode_prompts`.

    Example:
        >>> import rgprobe as rg
        >>> t = rg.trace("standard-small", ["Now is the winter of our discontent"], positions=4)
        >>> t.depth_dim, t.recorded(0).shape
        ('state', (4,))
    """
    estimator = estimator_of(belief)
    _check("sink", sink, SINK_POLICIES)
    for name in collect:
        _check("collect", name, (*COLLECTIONS, *REDUCTIONS))
    probe = load(model)
    estimator.check(probe)
    encoded = probe.encode(prompts, bos=bos, truncate=truncate, attention_mask=attention_mask)
    recorded = [_recorded_positions(len(prompt), positions, sink) for prompt in encoded]
    wanted = _answer_ids(probe, answers, len(encoded))
    parts = []
    for index, (prompt, chosen) in enumerate(zip(encoded, recorded, strict=True)):
        at, follow = torch.from_numpy(chosen), wanted[index]
        parts.append(
            trace_prompt(probe, prompt, at, belief=belief, sink=sink, basis=basis, collect=collect, answers=follow)
        )
        if on_prompt is not None:
            on_prompt(index + 1)
    options = {"belief": belief, "positions": positions if isinstance(positions, int) else list(positions), "sink": sink,
               "bos": bos, "truncate": truncate, "basis": basis, "collect": list(collect), "answers": answers}  # fmt: skip
    return _assemble(probe, encoded, recorded, parts, options)


def _recorded_positions(length: int, positions: int | Sequence[int], sink: str) -> np.ndarray:
    """Evenly spaced token indices; without the sink where there is any other token."""
    first = 1 if sink == "exclude" and length > 1 else 0
    if not isinstance(positions, int):
        chosen = np.array(sorted({int(position) for position in positions}), dtype=np.int64)
        if len(chosen) == 0 or chosen[0] < 0 or chosen[-1] >= length:
            raise OptionError("positions", expected=f"token indices in 0..{length - 1}", received=str(list(chosen)),
                              remedy="leave out those past the end of the prompt")  # fmt: skip
        return chosen
    if positions < 1:
        raise OptionError("positions", expected="at least 1", received=str(positions), remedy="use 32")
    return np.unique(np.linspace(first, length - 1, min(positions, length - first)).round().astype(np.int64))


def _answer_ids(probe: Probe, answers: Sequence[str | Sequence[str]] | None, count: int) -> list[tuple[int, ...]]:
    """First token ids of the answers of each prompt."""
    if answers is None:
        return [()] * count
    if len(answers) != count:
        raise OptionError("answers", expected=f"one entry for each of {count} prompts", received=str(len(answers)),
                          remedy="give a text, or a list of texts, per prompt")  # fmt: skip
    texts = [[answer] if isinstance(answer, str) else list(answer) for answer in answers]
    return [tuple(int(prompt.ids[0]) for prompt in probe.encode(row, bos="never")) for row in texts]


def _assemble(
    probe: Probe,
    encoded: Sequence[EncodedPrompt],
    recorded: Sequence[np.ndarray],
    parts: Sequence[PromptTrace],
    options: dict[str, Any],
) -> BeliefTrace:
    longest = max(len(prompt) for prompt in encoded)
    token_mask = np.array([np.arange(longest) < len(prompt) for prompt in encoded])
    token_ids = stack_ragged([prompt.ids.numpy() for prompt in encoded], -1)
    sinks = ["excluded", "included"] if options["sink"] == "exclude" else ["included", "excluded"]

    def dataset(name: str, quantities: Sequence[str], dims: Sequence[str], axis: int) -> xr.Dataset:
        arrays = _collected(parts, name)
        if not arrays:
            return xr.Dataset()
        stacked = stack_ragged(arrays, np.nan)  # prompt first
        found = xr.Dataset({q: (("prompt", *dims), np.take(stacked, i, axis)) for i, q in enumerate(quantities)})
        if "sink" not in dims:
            return found
        return found.assign_coords(sink=["excluded", "included"]).sel(sink=sinks).transpose("sink", ...)

    def array(name: str, dims: Sequence[str]) -> xr.DataArray:
        if not (arrays := _collected(parts, name)):
            return xr.DataArray(np.empty(0))
        return xr.DataArray(stack_ragged(arrays, np.nan), dims=("prompt", *dims))

    return BeliefTrace(
        belief=options["belief"],
        prompts=tuple(prompt.text for prompt in encoded),
        tokens=tuple(prompt.tokens for prompt in encoded),
        token_ids=token_ids,
        token_mask=token_mask,
        positions=stack_ragged(list(recorded), -1),
        attention=dataset("attention", list(RowMoments.__dataclass_fields__), ("sink", "block", "head", "token"), 2),
        graph=array("graph", ("block", "position", "source")),
        geometry=dataset("geometry", GEOMETRY, ("sink", "state"), 2),
        states=array("states", ("state", "position", "width")),
        lens=dataset("lens", LENS_QUANTITIES, ("state", "position"), 1),
        log_probabilities=tuple(_collected(parts, "log_probabilities")),
        classes=tuple(_collected(parts, "classes")),
        gaussians=tuple(_collected(parts, "gaussians")),
        couplings=dataset("couplings", COUPLINGS, ("block", "head", "token"), 1),
        sketches=array("sketches", ("state", "site", "coordinate")),
        units=dataset("units", UNITS, ("sink", "block"), 2),
        reductions={name: xr.concat([p.reductions[name] for p in parts], "prompt") for name in parts[0].reductions},
        causal=probe.causal,
        vocabulary=probe.vocabulary,
        provenance=_provenance(probe, encoded, options),
    )


def _collected(parts: Sequence[PromptTrace], name: str) -> list[Any]:
    """One collected thing of every prompt; empty where it was not asked for."""
    return [getattr(part, name) for part in parts if getattr(part, name) is not None]


def _provenance(probe: Probe, encoded: Sequence[EncodedPrompt], options: dict[str, Any]) -> dict[str, Any]:
    source = probe.source
    packages = ("rgprobe", "torch", "transformers", "transformer_lens", "numpy", "scipy", "xarray")
    return {
        "source": {"kind": source.kind, "name": source.name, "sha256": source.sha256},
        "family": probe.family,
        "config": source.config,
        "tokenizer": type(probe.tokenizer).__name__ if probe.tokenizer is not None else None,
        "n_parameters": probe.n_parameters,
        "dtype": str(probe.dtype).removeprefix("torch."),
        "device": probe.device.type,
        "versions": {name: version(name) for name in packages},
        "belief": options["belief"],
        "assumption": estimator_of(options["belief"]).assumption,
        "options": options,
        "truncated_tokens": [prompt.truncated for prompt in encoded],
    }


def _check(option: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise OptionError(option, expected=" | ".join(allowed), received=repr(value), remedy="choose one of these")
