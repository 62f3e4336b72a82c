"""Many checkpoints: `sweep` runs them on whatever workers there are, `open_sweep` reads what they left.

Names are resolved on first use: a local worker imports this package before it knows what it will have to do.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rgprobe.sweeping.driving import sweep as sweep
    from rgprobe.sweeping.record import Sweep as Sweep
    from rgprobe.sweeping.record import open_sweep as open_sweep

_HOMES = {"Sweep": "record", "open_sweep": "record", "sweep": "driving"}

__all__ = ["Sweep", "open_sweep", "sweep"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
