"""A `BeliefTrace` without a model: planted scores, states or beliefs where a forward pass would have left its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor

from rgprobe.belief_trace import BeliefTrace
from rgprobe.errors import OptionError
from rgprobe.gathering import gathered
from rgprobe.probe.attention import attention_moments
from rgprobe.probe.prompt_trace import PromptTrace
from rgprobe.probe.row_statistics import row_statistics
from rgprobe.probe.sketches import projection

__all__ = ["planted_trace", "sketched"]

_NOTHING = np.empty(0)


def planted_trace(
    *,
    scores: Sequence[Float[Tensor, "block head token token"]] = (),
    states: Float[np.ndarray, "prompt state token width"] | None = None,
    sketches: Float[np.ndarray, "prompt state token coordinate"] | None = None,
    graph: Float[np.ndarray, "prompt block token token"] | None = None,
    log_probabilities: Sequence[Float[np.ndarray, "state token class"]] = (),
    lens: xr.Dataset | None = None,
    token_ids: Int[np.ndarray, "prompt token"] | None = None,
    causal: bool = True,
) -> BeliefTrace:
    """What a diagnostic reads, made from arrays: a system whose answer is known, or activations from elsewhere.

    Args:
        scores: per prompt, attention scores before the softmax, nats; masked ones are -inf or the lowest number of their
            dtype (a causal model's later keys have to be).
        states: of every token of every prompt, from the input end to the output end.
        sketches: every token in few coordinates, for correlations between tokens; see `sketched`.
        graph: head-averaged attention between tokens.
        log_probabilities: per prompt, categorical beliefs of every token.
        lens: predictions, dims (prompt, state, position); see `rgprobe.probe.lens`.
        token_ids: which tokens of a vocabulary they are; by default one and the same everywhere.
        causal: whether a token sees only itself and earlier tokens.

    Returns:
        A trace of prompts of equal length whose recorded tokens are all tokens; what was not given is empty.

    Raises:
        OptionError: nothing given, or different numbers of prompts or tokens.

    Example:
        >>> planted_trace(scores=[torch.zeros(1, 2, 9, 9)], causal=False).attention["keys"].dims
        ('sink', 'prompt', 'block', 'token')
    """
    prompts, tokens = _size(scores, states, sketches, graph, log_probabilities, token_ids)
    attention = _attention(scores, causal) if len(scores) else xr.Dataset()
    if graph is not None and not len(scores):
        attention = _keys(graph, causal)
    return BeliefTrace(
        belief="lens",
        prompts=("",) * prompts,
        tokens=(tuple(map(str, range(tokens))),) * prompts,
        token_ids=np.zeros((prompts, tokens), dtype=np.int64) if token_ids is None else token_ids.astype(np.int64),
        token_mask=np.ones((prompts, tokens), dtype=bool),
        positions=np.tile(np.arange(tokens), (prompts, 1)),
        attention=attention,
        graph=_array(graph, ("prompt", "block", "position", "source")),
        geometry=xr.Dataset(),
        states=_array(states, ("prompt", "state", "position", "width")),
        lens=xr.Dataset() if lens is None else lens,
        log_probabilities=tuple(log_probabilities),
        classes=(),
        gaussians=(),
        causal=causal,
        vocabulary=log_probabilities[0].shape[-1] if len(log_probabilities) else 0,
        provenance={"options": {"sink": "include"}},
        sketches=_array(sketches, ("prompt", "state", "site", "coordinate")),
    )


def sketched(
    states: Float[np.ndarray, "prompt state token width"],
) -> Float[np.ndarray, "prompt state token coordinate"]:
    """States of unit norm in the coordinates that `rgprobe.trace` keeps; rotated only where they fit without loss.

    Example:
        >>> bool(np.allclose(np.linalg.norm(sketched(np.ones((1, 1, 3, 5))), axis=-1), 1))
        True
    """
    norms = np.linalg.norm(states, axis=-1, keepdims=True).clip(np.finfo(float).tiny)
    return states @ projection(states.shape[-1]).double().numpy() / norms


def _size(
    scores: Sequence[Tensor],
    states: np.ndarray | None,
    sketches: np.ndarray | None,
    graph: np.ndarray | None,
    log_probabilities: Sequence[np.ndarray],
    token_ids: np.ndarray | None,
) -> tuple[int, int]:
    sizes = {
        "scores": {(len(scores), one.shape[-1]) for one in scores},
        "states": set() if states is None else {(len(states), states.shape[2])},
        "sketches": set() if sketches is None else {(len(sketches), sketches.shape[2])},
        "graph": set() if graph is None else {(len(graph), graph.shape[-1])},
        "log_probabilities": {(len(log_probabilities), one.shape[1]) for one in log_probabilities},
        "token_ids": set() if token_ids is None else {token_ids.shape},
    }
    found = set().union(*sizes.values())
    if len(found) != 1:
        given = {name: sorted(size) for name, size in sizes.items() if size}
        raise OptionError(
            "planted_trace", expected="arrays of equally many prompts and tokens", received=str(given or "nothing"),
            remedy="give at least one array, and cut the others to its size",
        )  # fmt: skip
    return found.pop()


def _attention(scores: Sequence[Tensor], causal: bool) -> xr.Dataset:
    """As a trace of a model has it, single rows without the sink."""
    fields, _ = gathered((_part(one, causal) for one in scores), len(scores), sink="exclude")
    return fields["attention"]


def _part(scores: Tensor, causal: bool) -> PromptTrace:
    found = [row_statistics(*attention_moments(block, causal=causal), sink="exclude") for block in scores]
    means, keys = torch.stack([block.means for block in found], 2), torch.stack([block.keys for block in found], 1)
    rows = torch.stack([block.by_token for block in found], 1)
    return PromptTrace(attention=means.numpy(), keys=keys.numpy(), rows=rows.numpy())


def _keys(graph: np.ndarray, causal: bool) -> xr.Dataset:
    prompts, blocks, tokens = graph.shape[:3]
    keys = 1.0 + np.arange(tokens) if causal else np.full(tokens, float(tokens))
    return xr.Dataset({"keys": (("sink", "prompt", "block", "token"), np.tile(keys, (2, prompts, blocks, 1)))})


def _array(values: np.ndarray | None, dims: tuple[str, ...]) -> xr.DataArray:
    return xr.DataArray(_NOTHING) if values is None else xr.DataArray(values, dims=dims)
