"""Many checkpoints: `sweep` runs them on whatever workers there are, `open_sweep` reads what they left.

Names are resolved on first use: a local worker imports this package before it knows what it will have to do.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rgprobe.sweeping.driving import sweep as sweep
    from rgprobe.sweeping.motion import attention_displacement as attention_displacement
    from rgprobe.sweeping.motion import weight_displacement as weight_displacement
    from rgprobe.sweeping.record import Sweep as Sweep
    from rgprobe.sweeping.record import open_sweep as open_sweep
    from rgprobe.sweeping.trajectory import changes as changes
    from rgprobe.sweeping.trajectory import trajectories as trajectories
    from rgprobe.sweeping.updates import alignment_with_gradients as alignment_with_gradients

_HOMES = {
    "Sweep": "record",
    "alignment_with_gradients": "updates",
    "attention_displacement": "motion",
    "changes": "trajectory",
    "open_sweep": "record",
    "sweep": "driving",
    "trajectories": "trajectory",
    "weight_displacement": "motion",
}

__all__ = [
    "Sweep",
    "alignment_with_gradients",
    "attention_displacement",
    "changes",
    "open_sweep",
    "sweep",
    "trajectories",
    "weight_displacement",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
