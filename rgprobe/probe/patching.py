"""Patched passes: what becomes of the predictions when the states of some tokens are replaced halfway."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from rgprobe import categorical
from rgprobe.errors import OptionError
from rgprobe.probe.model import Hook, Probe

__all__ = ["PLACES", "Patch", "patched_divergence", "require_place", "states_at"]

Patch = Callable[[Tensor], Tensor]
PLACES = ("residual", "keys_values")
BATCH = 8  # patched copies of the prompt that run at once


def states_at(probe: Probe, ids: Int[Tensor, " tokens"], state: int) -> Float[Tensor, "tokens width"]:
    """Residual state 0 (input end) to L (output end) of every token."""
    seen: list[Tensor] = []
    probe.stream(ids, [(probe.state_hook(state), lambda tensor, hook: seen.append(tensor[0]))])
    return seen[0]


def patched_divergence(
    probe: Probe,
    ids: Int[Tensor, " tokens"],
    patches: Sequence[Patch],
    *,
    state: int,
    score: Int[Tensor, " scored"],
    place: str = "residual",
) -> Float64[Tensor, " patches"]:
    """KL(predictions || predictions of the patched pass), nats per scored token, for each of several patches.

    Args:
        probe: the model.
        ids: the prompt.
        patches: functions from what stands at the patched place, (tokens, features), to what stands there instead.
        state: residual state that is patched; with `place="keys_values"` the block that reads it.
        score: tokens at which predictions are compared; a patch should move nothing that these tokens see of themselves.
        place: "residual" replaces states, and with them everything that later blocks make of these tokens; "keys_values"
            replaces the keys and the values that one block's attention reads, each by the patch, and nothing else. Equal keys
            and values of the members of a cluster act as one key with a bias of ln |c|: their weights add up.

    Raises:
        OptionError: an unknown place, no scored token, or keys and values of the output end.
    """
    require_place(probe, state, score, place)
    whole = _log_probabilities(probe, ids[None], [], score)[0]
    names = [probe.state_hook(state)] if place == "residual" else _key_and_value(probe, state)
    here = _standing(probe, ids, names)
    found = []
    for start in range(0, len(patches), BATCH):
        part = patches[start : start + BATCH]
        hooks = [
            (name, _putting(torch.stack([_patched(here[name], len(ids), patch) for patch in part]))) for name in names
        ]
        patched = _log_probabilities(probe, ids.expand(len(part), -1), hooks, score)
        found.append(categorical.kl(whole, patched).mean(-1))
    return torch.cat(found).cpu() if found else torch.empty(0, dtype=torch.float64)


def _key_and_value(probe: Probe, block: int) -> list[str]:
    """Hook points of what attention reads: keys after they were turned by their position, where they are."""
    points = probe.bridge.hook_dict
    for key in ("hook_rot_k", "hook_k"):
        names = [f"blocks.{block}.attn.{key}", f"blocks.{block}.attn.hook_v"]
        if all(name in points for name in names):
            return names
    raise OptionError(
        "place", expected="residual, for a model whose attention has no keys of its own", received="'keys_values'",
        remedy='use place="residual"',
    )  # fmt: skip


def _standing(probe: Probe, ids: Tensor, names: list[str]) -> dict[str, Tensor]:
    """By hook point, what stands there in the unpatched pass."""
    seen: dict[str, Tensor] = {}

    def keeping(name: str) -> Hook:
        # a point may go by several names, and tell another one
        return lambda tensor, hook: seen.update({name: tensor[0]})

    probe.stream(ids, [(name, keeping(name)) for name in names])
    return seen


def _patched(here: Tensor, tokens: int, patch: Patch) -> Tensor:
    """Rows of one token each for the patch, whatever axis tokens are on: keys turned by their position have heads first."""
    axis = 0 if here.shape[0] == tokens else 1
    moved = here.movedim(axis, 0)
    return patch(moved.reshape(tokens, -1)).reshape(moved.shape).movedim(0, axis).to(here)


def _putting(rows: Tensor) -> Hook:
    def put(tensor: Tensor, hook: Any) -> Tensor:
        return rows

    return put


@torch.inference_mode()
def _log_probabilities(
    probe: Probe, rows: Int[Tensor, "rows tokens"], hooks: list[tuple[str, Hook]], score: Tensor
) -> Float64[Tensor, "rows scored vocabulary"]:
    last: list[Tensor] = []
    hooks = [*hooks, (probe.state_hook(probe.n_blocks), lambda tensor, hook: last.append(tensor[:, score]))]
    probe.rows_to_last_state(rows, hooks)
    return probe.readout(last[0]).double().log_softmax(-1)


def require_place(probe: Probe, state: int, score: Int[Tensor, " scored"], place: str) -> None:
    """Refuse what cannot be patched or scored.

    Raises:
        OptionError: an unknown place, a layer that does not exist, or no scored token.
    """
    if place not in PLACES:
        raise OptionError("place", expected=" | ".join(PLACES), received=repr(place), remedy="choose one of these")
    highest = probe.n_blocks if place == "residual" else probe.n_blocks - 1
    if not 0 <= state <= highest:
        raise OptionError("layer", expected=f"0 to {highest}", received=str(state), remedy="count from the input end")
    if len(score) == 0:
        raise OptionError(
            "score", expected="at least one token", received="none", remedy="score tokens behind the merged"
        )
