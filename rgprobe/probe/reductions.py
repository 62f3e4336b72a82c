"""What may be collected of attention beyond its row moments: dearer reductions, each made only when a diagnostic asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import xarray as xr
from jaxtyping import Int
from torch import Tensor

from rgprobe.probe.attention import AttentionCollector
from rgprobe.probe.fisher import FisherCollector
from rgprobe.probe.mixing import MixingCollector
from rgprobe.probe.model import Hook, Probe
from rgprobe.probe.prompts import prompt_seed
from rgprobe.probe.response import ResponseCollector
from rgprobe.probe.rotations import RotationCollector

__all__ = ["REDUCTIONS", "Reduction", "reductions_of"]


@runtime_checkable
class Reduction(Protocol):
    """Reduces attention while one prompt streams through."""

    def hooks(self) -> list[tuple[str, Hook]]:
        """What to attach besides the hooks of the attention collector; they fire before its own."""

    def dataset(self) -> xr.Dataset:
        """Arrays of fixed size, whatever the length of the prompt."""


REDUCTIONS: dict[str, Callable[[Probe, AttentionCollector, int], Reduction]] = {
    "fisher": FisherCollector,
    "mixing": MixingCollector,
    "response": ResponseCollector,
    "rotations": RotationCollector,
}


def reductions_of(
    probe: Probe, attention: AttentionCollector, ids: Int[Tensor, " tokens"], collect: Sequence[str]
) -> dict[str, Reduction]:
    """Those among `collect`, ready to listen."""
    seed = prompt_seed(ids)
    return {name: make(probe, attention, seed) for name, make in REDUCTIONS.items() if name in collect}
