"""What position does to states: its Fourier modes followed through the layers, and symmetries broken by moving tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Float64, Int
from torch import Tensor

from rgprobe.errors import NumericalRefusal
from rgprobe.probe.displacement import displaced, has_phases
from rgprobe.probe.gains import SHORTEST, input_states, log_lengths, unit_length
from rgprobe.probe.model import Hook, Probe
from rgprobe.probe.prompts import EncodedPrompt, prompt_seed
from rgprobe.probe.tangents import pushed_forward

__all__ = ["MOVES", "PERIODS", "SHIFT", "fourier_modes", "moved", "position_table", "positions", "positions_cost"]

PERIODS = (64, 16, 4)  # tokens
SHIFT = 8  # tokens
SHUFFLES = 4
STEP = 0.01  # tokens; of central differences in the phase: small against sharp attention, large against float32 cosines
FLAT = 1e-4  # relative size below which input states do not depend on position
MOVES = ("translation", "offset", "filler", "permutation")


def positions(probe: Probe, prompt: EncodedPrompt, recorded: Int[Tensor, " positions"], sink: str) -> xr.Dataset:
    """How one prompt's states answer to changes of position.

    Returns:
        mode (period, state), nats: ln of the root mean square length per token of a Fourier mode of the position embeddings, of
        unit length at state 0; NaN where positions are not added.
        phase (period, state), nats: the same for a modulation of the positions themselves, per token of root mean square
        displacement; NaN where positions are no phases.
        translation, offset, filler, permutation (state): root mean square change of states, see `moved`.
    """
    first = 1 if sink == "exclude" else 0
    states = probe.n_blocks + 1
    modes, phases = np.full((2, len(PERIODS), states), np.nan)
    moves = np.full((len(MOVES), states), np.nan)
    if len(prompt) - first >= SHORTEST:
        table = position_table(probe, len(prompt), int(prompt.ids[-1]))
        if table is not None:
            modes = _mode_lengths(probe, prompt.ids, table, first)
        if has_phases(probe):
            phases = _phase_lengths(probe, prompt.ids, first)
        moves = moved(probe, prompt.ids, first=first, additive=table is not None)
    return xr.Dataset(
        {
            "mode": (("period", "state"), modes),
            "phase": (("period", "state"), phases),
            **{name: ("state", row) for name, row in zip(MOVES, moves, strict=True)},
        },
        coords={"period": list(PERIODS)},
    )


def positions_cost(probe: Probe) -> float:
    """Forward passes for one prompt."""
    # phases: two waves of each period, forward and back; modes: see `pushed_forward`
    return 5.0 + SHUFFLES + (4.0 * len(PERIODS) if has_phases(probe) else 7.0 + len(PERIODS))


def position_table(probe: Probe, tokens: int, token: int) -> Float[Tensor, "tokens width"] | None:
    """What position adds to the input state, mean taken out: one token repeated at all places; None where that adds nothing.

    Found by looking, so that learned tables, sinusoids and whatever else is added are treated alike. Where a norm stands
    between the sum and state 0 (BERT) it is what the norm leaves of it, for this token.
    """
    states = input_states(probe, torch.full((1, tokens), token))[0]
    table = states - states.mean(0)
    return table if float(table.square().mean()) > FLAT**2 * float(states.square().mean()) else None


def fourier_modes(count: int, period: int) -> Float64[Tensor, "tokens 2"]:
    """cos and sin of 2 pi i / period at i = 0 ... count - 1, mean taken out, orthonormal.

    Example:
        >>> modes = fourier_modes(12, 4)
        >>> (modes.T @ modes).round(decimals=6).abs().tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    angle = 2 * torch.pi * torch.arange(count, dtype=torch.float64) / period
    waves = torch.stack([angle.cos(), angle.sin()], -1)
    return torch.linalg.qr(waves - waves.mean(0)).Q


def moved(
    probe: Probe, ids: Int[Tensor, " tokens"], *, first: int, additive: bool
) -> Float64[np.ndarray, "moves states"]:
    """Root mean square change of states, over tokens from `first` on, when tokens are told to stand elsewhere.

    - translation: all tokens stand `SHIFT` places further on; changes below the square root of the precision, relative to the
      states, are rounding and count as 0. Rotary positions enter by their differences only, and give 0;
    - offset: all but the first token do, so that the place relative to the beginning of the text changes;
    - filler: `SHIFT` copies of the first token stand before the prompt, states of the same tokens are compared;
    - permutation: the tokens between the first and the last one in random order, change of the last token's state.

    NaN where it is not defined: no known position to move, or no room in the context.
    """
    room = (probe.context or len(ids) + SHIFT) - SHIFT
    kept = ids[:room]
    out = np.full((len(MOVES), probe.n_blocks + 1), np.nan)
    out[3] = _shuffled(probe, ids)
    if len(kept) - first < SHORTEST:
        return out
    reference = _states(probe, kept)
    longer = torch.cat([kept[:1].expand(SHIFT), kept])
    out[2] = _length(_states(probe, longer)[:, SHIFT:] - reference, first)
    phases = has_phases(probe)
    if additive or phases:
        entering = input_states(probe, longer[None])[0, SHIFT:] if additive else None
        for row, fixed in ((0, 0), (1, 1)):
            shift = torch.full((len(kept),), float(SHIFT))
            shift[:fixed] = 0
            begin = None if entering is None else torch.cat([reference[0, :fixed], entering[fixed:]])
            out[row] = _length(_states(probe, kept, shift if phases else None, begin) - reference, first)
        # cosines of positions are float32 at best
        rounding = max(torch.finfo(probe.dtype).eps, torch.finfo(torch.float32).eps) ** 0.5
        out[0][out[0] < rounding * _length(reference, first)] = 0
    return out


def _mode_lengths(
    probe: Probe, ids: Tensor, table: Float[Tensor, "tokens width"], first: int
) -> Float64[np.ndarray, "periods states"]:
    out = np.full((len(PERIODS), probe.n_blocks + 1), np.nan)
    count = len(ids) - first
    fitting = [row for row, period in enumerate(PERIODS) if period <= count]
    if not fitting:
        return out
    u = table.new_zeros(len(fitting), *table.shape)
    for direction, row in zip(u, fitting, strict=True):
        basis = fourier_modes(count, PERIODS[row]).to(table)
        direction[first:] = basis @ (basis.T @ table[first:])
    try:
        pushed = pushed_forward(probe, ids, unit_length(u, first=first))
    except NumericalRefusal:  # blocks that are no maps of the residual stream alone have no such products
        return out
    out[fitting] = log_lengths(pushed[:, :, first:]).T.cpu().numpy()
    return out


def _phase_lengths(probe: Probe, ids: Tensor, first: int) -> Float64[np.ndarray, "periods states"]:
    out = np.full((len(PERIODS), probe.n_blocks + 1), np.nan)
    count = len(ids) - first
    for row, period in enumerate(PERIODS):
        if period > count:
            continue
        squares = np.zeros(probe.n_blocks + 1)
        for wave in fourier_modes(count, period).T:
            shift = torch.zeros(len(ids), dtype=torch.float64)
            shift[first:] = STEP * wave * count**0.5  # of root mean square STEP
            change = _states(probe, ids, shift) - _states(probe, ids, -shift)
            squares += _length(change / (2 * STEP), first) ** 2 / 2
        squares[squares == 0] = np.nan  # nothing has changed yet at the input end
        out[row] = 0.5 * np.log(squares)
    return out


def _shuffled(probe: Probe, ids: Tensor) -> Float64[np.ndarray, "states"]:
    generator = torch.Generator().manual_seed(prompt_seed(ids))
    rows = [ids]
    for _ in range(SHUFFLES):
        order = 1 + torch.randperm(len(ids) - 2, generator=generator)
        rows.append(torch.cat([ids[:1], ids[order], ids[-1:]]))
    last = torch.stack([_states(probe, row)[:, -1] for row in rows]).double()
    return (last[1:] - last[0]).square().sum(-1).mean(0).sqrt().cpu().numpy()


def _states(
    probe: Probe, ids: Tensor, displacement: Tensor | None = None, begin: Tensor | None = None
) -> Float[Tensor, "states tokens width"]:
    """All states of one prompt, with tokens displaced, or another state 0."""
    seen: list[Tensor] = []

    def enter(tensor: Tensor, hook: Any) -> Tensor:
        return tensor if begin is None else begin[None].to(tensor)

    def keep(tensor: Tensor, hook: Any) -> None:
        seen.append(tensor[0])

    hooks: list[tuple[str, Hook]] = [(probe.state_hook(0), enter)]
    hooks += [(probe.state_hook(state), keep) for state in range(probe.n_blocks + 1)]
    with torch.no_grad():
        if displacement is None:
            probe.rows_to_last_state(ids[None], hooks)
        else:
            with displaced(probe, displacement):
                probe.rows_to_last_state(ids[None], hooks)
    return torch.stack(seen)


def _length(change: Float[Tensor, "states tokens width"], first: int) -> Float64[np.ndarray, "states"]:
    return change[:, first:].double().square().sum(-1).mean(-1).sqrt().cpu().numpy()
