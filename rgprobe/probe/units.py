"""Feed-forward units: how many of them carry a token, and how many are silent throughout a prompt."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from rgprobe.probe.model import Hook, Probe

__all__ = ["SILENT", "UNITS", "UnitCollector", "unit_sparsity"]

UNITS = ("participation", "silent", "decimated")
SILENT = 0.01  # share of the mean power below which a unit counts as silent


class UnitCollector:
    """Sparsity of the activations that enter the last linear map of each feed-forward part, for one prompt.

    Blocks without that hook point (a mixture of experts, free-energy descent) stay NaN.
    """

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self._found: dict[int, Tensor] = {}  # left on their device until the pass is over

    def hooks(self) -> list[tuple[str, Hook]]:
        """What to attach; nothing where the model shows no such activations."""
        names = {f"blocks.{block}.mlp.hook_post" for block in range(self.probe.n_blocks)}
        return [(name, self._reduce) for name in sorted(names & set(self.probe.bridge.hook_dict))]

    @property
    def sparsity(self) -> Float64[Tensor, "sink quantity block"]:
        """In the order of `UNITS`, excluded first, after the pass."""
        sparsity = torch.full((2, len(UNITS), self.probe.n_blocks), torch.nan, dtype=torch.float64)
        for block, found in self._found.items():
            sparsity[:, :, block] = found
        return sparsity

    def _reduce(self, tensor: Tensor, hook: Any) -> None:
        power = tensor.reshape(-1, tensor.shape[-1]).float().square()  # some architectures flatten the batch away
        self._found[int(hook.name.split(".")[1])] = unit_sparsity(power)


def unit_sparsity(power: Float[Tensor, "tokens units"]) -> Float64[Tensor, "2 3"]:
    """Three shares of the units, without the first token and with it; NaN without a token.

    - participation: mean over tokens of (sum_u a_u^2)^2 / (n sum_u a_u^4), between 1/n (one unit) and 1 (all alike);
    - silent: mean over tokens of the share of units whose power a_u^2 is below 1% of the token's mean power;
    - decimated: share of units whose power, averaged over the tokens of the prompt, is below 1% of the mean over units.

    Args:
        power: squared activations.

    Example:
        >>> two_of_eight = torch.tensor([[1.0, 1, 0, 0, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0, 0, 0]])
        >>> unit_sparsity(two_of_eight).tolist()
        [[0.25, 0.75, 0.75], [0.25, 0.75, 0.5]]
    """
    tokens, units = power.shape
    # few passes over all units, because this runs in every block; the sink is added, never subtracted
    mean = power.mean(-1, keepdim=True)
    participation = ((units * mean.squeeze(-1) ** 2) / torch.linalg.vecdot(power, power)).double()
    silent = (power < SILENT * mean).sum(-1).double() / units
    rest = power[1:].sum(0)
    rows = []
    for first, by_unit in ((1, rest), (0, rest + power[0])):
        decimated = (by_unit < SILENT * by_unit.mean()).double().mean()
        rows.append(torch.stack([participation[first:].nanmean(), silent[first:].mean(), decimated]))
    return torch.stack([rows[0] if tokens > 1 else torch.full_like(rows[0], torch.nan), rows[1]])
