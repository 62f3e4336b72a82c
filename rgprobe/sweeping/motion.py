"""How far the checkpoints of a training run have moved from the first: in weights, and in attention on given prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from safetensors import safe_open
from torch import Tensor

from rgprobe.errors import BadInput
from rgprobe.probe.checkpoint import inspect_directory
from rgprobe.probe.loading import load
from rgprobe.probe.model import Probe
from rgprobe.probe.patterns import attention_patterns
from rgprobe.sweeping.items import Place, places_of

__all__ = ["attention_displacement", "one_run", "weight_displacement"]


def weight_displacement(sources: str | Path | Sequence[str | Path]) -> xr.Dataset:
    """Squared distance of every tensor from the first checkpoint, |W_t - W_0|^2, in float64.

    Two checkpoints are open at a time, and one tensor of each in memory. `displacement_exponent` of
    `rgprobe.diagnostics.displacement` takes `steps[1:]` and `squared[1:]`.

    Args:
        sources: the folder of one training run, or its checkpoints, as safetensors.

    Returns:
        `squared` (step, tensor), and the number of `coordinates` of each tensor.

    Raises:
        BadInput: checkpoints of several runs, without steps, or with other tensors than the first.
        CheckpointError: one of them cannot be read.
    """
    first, *others = one_run(sources)
    with _tensors(first) as start:
        names = sorted(name for name in start if start[name].get_slice(name).get_dtype().startswith(("F", "BF")))
        sizes = [start[name].get_tensor(name).numel() for name in names]
        squared = [np.zeros(len(names)), *(_distances(start, names, place) for place in others)]
    steps = [place.step for place in (first, *others)]
    return xr.Dataset(
        {"squared": (("step", "tensor"), np.stack(squared)), "coordinates": ("tensor", sizes)},
        {"step": steps, "tensor": names},
    )


def attention_displacement(
    sources: str | Path | Sequence[str | Path], prompts: Sequence[str], *, device: str = "auto", seed: int = 0
) -> xr.Dataset:
    """Squared distance of every head's attention weights from the first checkpoint, sum over keys, mean over queries.

    Args:
        sources: the folder of one training run, or its checkpoints.
        prompts: texts of at most 256 tokens.
        device: see `rgprobe.load`.
        seed: of the random initialisations of the null.

    Returns:
        `squared` (step, block, head); and `independent` (block, head), the same between two random initialisations: what
        displacement saturates at if nothing of the first pattern is left.

    Raises:
        BadInput, CheckpointError: as above.
    """
    places = one_run(sources)
    start: list[Tensor] = []
    squared = []
    for place in places:
        probe = load(place.location, device=device)
        found = _patterns(probe, prompts)
        start = start or found
        squared.append(_mean_square(start, found))
        if place is places[0]:
            drawn = []
            for null_seed in (seed, seed + 1):
                with probe.randomised(null_seed) as null:
                    drawn.append(_patterns(null, prompts))
            independent = _mean_square(*drawn)
        del probe
    return xr.Dataset(
        {"squared": (("step", "block", "head"), np.stack(squared)), "independent": (("block", "head"), independent)},
        {"step": [place.step for place in places]},
    )


def one_run(sources: str | Path | Sequence[str | Path]) -> list[Place]:
    """The checkpoints of one training run, in the order of steps.

    Raises:
        BadInput: checkpoints of several runs, without steps, or a single one.
    """
    places = places_of([sources] if isinstance(sources, str | Path) else sources)
    if len({place.run for place in places}) > 1 or any(place.step is None for place in places) or len(places) < 2:
        raise BadInput(", ".join(place.label for place in places[:3]), expected="two or more checkpoints of one run",
                       received=f"{len(places)} of {len({place.run for place in places})}",
                       remedy="pass the folder of one training run")  # fmt: skip
    return sorted(places, key=lambda place: place.step or 0)


@contextmanager
def _tensors(place: Place) -> Iterator[dict[str, Any]]:
    """The open file of each tensor, by its name."""
    with ExitStack() as files:
        opened = [
            files.enter_context(safe_open(path, framework="pt"))
            for path in inspect_directory(Path(place.location)).weights
        ]
        yield {name: file for file in opened for name in file.keys()}  # noqa: SIM118 (not a dictionary)


def _distances(start: dict[str, Any], names: Sequence[str], place: Place) -> np.ndarray:
    with _tensors(place) as here:
        missing = [name for name in names if name not in here]
        if missing:
            raise BadInput(place.label, expected="the tensors of the first checkpoint", received=f"none called {missing[0]}",
                           remedy="pass checkpoints of one run")  # fmt: skip
        moved = (here[name].get_tensor(name).double() - start[name].get_tensor(name).double() for name in names)
        return np.array([float(each.square().sum()) for each in moved])


def _patterns(probe: Probe, prompts: Sequence[str]) -> list[Tensor]:
    return [attention_patterns(probe, prompt.ids) for prompt in probe.encode(list(prompts))]


def _mean_square(first: Sequence[Tensor], second: Sequence[Tensor]) -> np.ndarray:
    return torch.stack([(b - a).square().sum(-1).mean(-1) for a, b in zip(first, second, strict=True)]).mean(0).numpy()
