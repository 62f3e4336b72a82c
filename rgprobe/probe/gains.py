"""Operator gains: perturbations put in at the input end, followed layer by layer to the output end.

A direction u is a perturbation of all tokens of a prompt but the sink at state 0, (tokens, width), of root mean square
length 1 per token. What is kept of it is the root mean square length of (J_(0->l) u)_i over those tokens, and at the end the
output-Fisher length, sqrt(dz^T (diag p - p p^T) dz) with dz the change of the logits.

Directions of a kind have independent random signs from token to token (from pair to pair for exchanges). Then
E ||J u||^2 is the sum over tokens of what each does alone: no conspiracy of tokens is assumed, and kinds differ in their
direction in state space only.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Float64, Int
from torch import Tensor

from rgprobe.errors import NumericalRefusal
from rgprobe.probe.model import Probe
from rgprobe.probe.prompts import EncodedPrompt, prompt_seed
from rgprobe.probe.tangents import linearized, pushed_forward

__all__ = [
    "DIRECTIONS",
    "SHORTEST",
    "direction_names",
    "fisher_lengths",
    "followed",
    "gains",
    "gains_cost",
    "input_states",
    "log_lengths",
    "perturbations",
    "unit_length",
]

DIRECTIONS = {"pca": 3, "token": 2, "order": 2, "random": 3}
SHORTEST = 6  # tokens besides the sink: fewer have no principal directions
AT_ONCE = 4096  # tokens of the directions that are followed together: bounds memory, states x tokens x width
GRAPHS = 9.0  # forward passes that following any directions takes: the graphs of all blocks, state 0, the readout


def gains(probe: Probe, prompt: EncodedPrompt, recorded: Int[Tensor, " positions"], sink: str) -> xr.Dataset:
    """What becomes of every kind of perturbation of one prompt.

    Returns:
        log_length (direction, state), nats: ln of the root mean square length, 0 at state 0; log_fisher (direction): ln of
        the output-Fisher length per recorded token. NaN where the prompt is too short, a direction does not exist in it, or
        the model's blocks are no maps of the residual stream alone.
    """
    first = 1 if sink == "exclude" else 0
    names = direction_names()
    lengths = np.full((len(names), probe.n_blocks + 1), np.nan)
    fisher = np.full(len(names), np.nan)
    if len(prompt) - first >= SHORTEST:
        directions = perturbations(probe, prompt.ids, first=first)
        there = directions.abs().amax((1, 2)) > 0
        with suppress(NumericalRefusal):  # blocks that are no maps of the residual stream alone have no such products
            found = followed(probe, prompt.ids, directions[there], recorded, first=first)
            lengths[there.numpy()], fisher[there.numpy()] = found
    return xr.Dataset(
        {"log_length": (("direction", "state"), lengths), "log_fisher": ("direction", fisher)},
        coords={"direction": list(names)},
    )


def gains_cost(probe: Probe) -> float:
    """Forward passes for one prompt."""
    return GRAPHS + len(direction_names())


def direction_names() -> tuple[str, ...]:
    """Every direction that is followed, kind by kind.

    Example:
        >>> direction_names()[:4]
        ('pca_1', 'pca_2', 'pca_3', 'token_1')
    """
    return tuple(f"{kind}_{number + 1}" for kind, count in DIRECTIONS.items() for number in range(count))


def perturbations(probe: Probe, ids: Int[Tensor, " tokens"], *, first: int) -> Float[Tensor, "directions tokens width"]:
    """Directions of every kind at the input end of one prompt, in the order of `direction_names`, each of unit length.

    - pca: a leading principal direction of the prompt's own input states, at every token;
    - token: at every token, the input state of another token of the prompt less its own;
    - order: neighbouring tokens exchanged, pair by pair;
    - random: independent normal numbers.

    A direction that does not exist, because all tokens are the same, is zero.

    Args:
        ids: one prompt, `SHORTEST` tokens or more besides the sink.
        first: 1 leaves token 0 alone, which many models treat as a sink.
    """
    generator = torch.Generator().manual_seed(prompt_seed(ids))
    # token 0 keeps its place in any case: a beginning-of-text token elsewhere is another prompt altogether
    others = [_replaced(ids, generator) for _ in range(DIRECTIONS["token"])]
    exchanged = [_exchanged(ids, 1 + number) for number in range(DIRECTIONS["order"])]
    rows = input_states(probe, torch.stack([ids, *others, *exchanged])).double().cpu()
    x, changed = rows[0], rows[1:]
    n, d = x.shape
    axes = torch.linalg.svd(x[first:] - x[first:].mean(0), full_matrices=False).Vh[: DIRECTIONS["pca"]]
    signs = _signs((len(axes) + len(others), n), generator)
    pairs = torch.stack([_pair_signs(n, 1 + number, generator) for number in range(DIRECTIONS["order"])])
    raw = [
        signs[: len(axes), :, None] * axes[:, None, :],
        x.new_zeros(DIRECTIONS["pca"] - len(axes), n, d),  # a model narrower than that
        torch.cat([signs[len(axes) :], pairs])[..., None] * (changed - x),
        torch.randn(DIRECTIONS["random"], n, d, generator=generator, dtype=torch.float64),
    ]
    return unit_length(torch.cat(raw), first=first).to(probe.dtype)


def input_states(probe: Probe, rows: Int[Tensor, "rows tokens"]) -> Float[Tensor, "rows tokens width"]:
    """State 0 of several rows of ids, without running any block."""
    seen: list[Tensor] = []

    def keep(tensor: Tensor, hook: Any) -> None:
        seen.append(tensor.clone())
        raise _SeenError

    with torch.no_grad(), suppress(_SeenError):
        probe.rows_to_last_state(rows, [(probe.state_hook(0), keep)])
    return seen[0]


def unit_length(
    directions: Float[Tensor, "directions tokens width"], *, first: int
) -> Float[Tensor, "directions tokens width"]:
    """Tokens before `first` set to zero, and the root mean square length of the others to 1; what is zero stays zero.

    Example:
        >>> unit_length(torch.ones(1, 3, 4), first=1)[0, :, 0].tolist()
        [0.0, 0.5, 0.5]
    """
    kept = directions.clone()
    kept[:, :first] = 0
    length = (kept.square().sum((1, 2)) / (kept.shape[1] - first)).sqrt()
    return kept / torch.where(length > 0, length, 1.0)[:, None, None]


def followed(
    probe: Probe,
    ids: Int[Tensor, " tokens"],
    directions: Float[Tensor, "directions tokens width"],
    recorded: Int[Tensor, " positions"],
    *,
    first: int,
) -> tuple[Float64[np.ndarray, "directions states"], Float64[np.ndarray, "directions"]]:
    """Log lengths of J_(0->l) u at every state, and log output-Fisher lengths at the end; directions of one's own too.

    Args:
        probe: a model of either family.
        ids: one prompt.
        directions: at state 0, any scale.
        recorded: tokens whose output counts.
        first: token from which on lengths are taken.
    """
    last, lengths = _last_state(probe, ids)[recorded], []
    fisher = []
    for some in directions.split(max(1, AT_ONCE // len(ids))):
        pushed = pushed_forward(probe, ids, some)
        lengths.append(log_lengths(pushed[:, :, first:]).T)
        fisher.append(_log_fisher(probe, last, pushed[-1][:, recorded]))
    return torch.cat(lengths).cpu().numpy(), torch.cat(fisher).cpu().numpy()


def log_lengths(vectors: Float[Tensor, "*batch tokens width"]) -> Float64[Tensor, "*batch"]:
    """ln of the root mean square over tokens of the length of a vector per token; -inf for zero.

    Example:
        >>> round(log_lengths(torch.tensor([[3.0, 4.0], [0.0, 5.0]])).exp().item(), 6)
        5.0
    """
    return 0.5 * vectors.double().square().sum(-1).mean(-1).log()


def fisher_lengths(
    logits: Float[Tensor, "*batch classes"], tangents: Float[Tensor, "*batch classes"]
) -> Float64[Tensor, "*batch"]:
    """sqrt(dz^T (diag p - p p^T) dz), p = softmax(z): the standard deviation of dz under p.

    To second order it is sqrt(2 KL(p || p')), p' the distribution of the logits z + dz: output distance in sqrt(nats).

    Example:
        >>> fisher_lengths(torch.zeros(2), torch.tensor([1.0, -1.0])).item()  # p = (1/2, 1/2)
        1.0
    """
    p, dz = logits.double().softmax(-1), tangents.double()
    centred = dz - (p * dz).sum(-1, keepdim=True)
    return (p * centred.square()).sum(-1).sqrt()


def _log_fisher(
    probe: Probe, last: Float[Tensor, "positions width"], tangents: Float[Tensor, "directions positions width"]
) -> Float64[Tensor, "directions"]:
    """ln of the root mean square output-Fisher length over tokens; NaN where the model's readout is of unknown form."""
    if not probe.knows_readout:
        return torch.full((len(tangents),), torch.nan, dtype=torch.float64)

    with probe.evaluating():
        flow = linearized(probe.differentiable_readout, last)
        change = flow.jvp(tangents)
        lengths = fisher_lengths(flow.value.expand_as(change), change)
    return 0.5 * lengths.square().mean(-1).log()


def _last_state(probe: Probe, ids: Tensor) -> Tensor:
    seen: list[Tensor] = []
    with torch.no_grad():
        probe.rows_to_last_state(ids[None], [(probe.state_hook(probe.n_blocks), lambda x, hook: seen.append(x[0]))])
    return seen[0].clone()


def _replaced(ids: Tensor, generator: torch.Generator) -> Tensor:
    """Every token but the first replaced by another one of the prompt: all moved on by the same random number of places."""
    step = int(torch.randint(1, len(ids) - 1, (), generator=generator))
    return torch.cat([ids[:1], ids[1:].roll(step)])


def _exchanged(ids: Tensor, start: int) -> Tensor:
    """Tokens start and start + 1 exchanged, start + 2 and start + 3, and so on; a last one without a partner stays."""
    moved = ids.clone()
    stop = len(ids) - (len(ids) - start) % 2
    moved[start:stop] = ids[start:stop].unflatten(0, (-1, 2)).flip(1).flatten()
    return moved


def _signs(shape: tuple[int, ...], generator: torch.Generator) -> Float64[Tensor, "*shape"]:
    return 2.0 * torch.randint(0, 2, shape, generator=generator).double() - 1.0


def _pair_signs(n: int, start: int, generator: torch.Generator) -> Float64[Tensor, " tokens"]:
    """One sign for both tokens of a pair."""
    signs = _signs(((n - start + 1) // 2,), generator).repeat_interleave(2)
    return torch.cat([torch.ones(start, dtype=torch.float64), signs])[:n]


class _SeenError(Exception):
    """State 0 has been seen."""
