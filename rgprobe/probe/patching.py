"""Patched passes: what becomes of the predictions when the states of some tokens are replaced halfway."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from rgprobe import categorical
from rgprobe.checks import one_of, whole_number
from rgprobe.errors import OptionError
from rgprobe.probe.block_maps import SAME, BlockMap, block_maps, relative_error
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
    if not len(patches):
        return torch.empty(0, dtype=torch.float64)
    names = [probe.state_hook(state)] if place == "residual" else _key_and_value(probe, state)
    here = _standing(probe, ids, names)
    # the unpatched pass is the first row; all batches are equally large, because arguments of blocks belong to a batch
    each = [lambda states: states, *patches]
    size = min(BATCH, len(each))
    each += [each[0]] * (-len(each) % size)
    predicted = _Predicted(probe, ids.expand(size, -1), score, tail=state if place == "residual" else None)
    found: list[Tensor] = []
    whole: Tensor | None = None
    for start in range(0, len(each), size):
        part = each[start : start + size]
        log_p = predicted(
            {name: torch.stack([_patched(here[name], len(ids), patch) for patch in part]) for name in names}
        )
        whole = log_p[0] if whole is None else whole
        found.append(categorical.kl(whole, log_p).mean(-1))
    return torch.cat(found)[1 : len(patches) + 1].cpu()


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


class _Predicted:
    """Log-probabilities at the scored tokens, given what stands at the patched place.

    What comes before a patched state is the same in every pass. So after the first one only the blocks behind it are called,
    where they are maps of the residual stream.
    """

    def __init__(self, probe: Probe, rows: Int[Tensor, "rows tokens"], score: Tensor, *, tail: int | None) -> None:
        self.probe, self.rows, self.score, self.state = probe, rows, score, tail
        self.blocks: tuple[BlockMap, ...] | None = None

    @torch.inference_mode()
    def __call__(self, standing: dict[str, Tensor]) -> Float64[Tensor, "rows scored vocabulary"]:
        if self.blocks is not None:
            (x,) = standing.values()
            last = self._behind(x, self.blocks)
        else:
            last = self._whole(standing)
        return self.probe.readout(last[:, self.score]).double().log_softmax(-1)

    def _whole(self, standing: dict[str, Tensor]) -> Tensor:
        seen: list[Tensor] = []
        hooks = [(name, _putting(rows)) for name, rows in standing.items()]
        ending = (self.probe.state_hook(self.probe.n_blocks), lambda tensor, hook: seen.append(tensor))
        blocks = block_maps(self.probe, self.rows, [*hooks, ending])
        if self.state is not None:
            (x,) = standing.values()
            if relative_error(self._behind(x, blocks), seen[0]) <= SAME:
                self.blocks = blocks
        return seen[0]

    def _behind(self, x: Tensor, blocks: tuple[BlockMap, ...]) -> Tensor:
        for block in blocks[self.state :]:
            x = block(x)
        return x


def require_place(probe: Probe, state: int, score: Int[Tensor, " scored"], place: str) -> None:
    """Refuse what cannot be patched or scored.

    Raises:
        OptionError: an unknown place, a layer that does not exist, or no scored token.
    """
    one_of("place", place, PLACES)
    highest = probe.n_blocks if place == "residual" else probe.n_blocks - 1
    whole_number("layer", state, least=0, most=highest, remedy="count from the input end")
    if len(score) == 0:
        raise OptionError(
            "score", expected="at least one token", received="none", remedy="score tokens behind the merged"
        )
