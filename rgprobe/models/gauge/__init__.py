"""The gauge-KL transformer: attention by the divergence of transported Gaussian beliefs, no queries and no keys.

Read `transformer`, then `block`, `attention`, `beliefs` and `frames`. Importing this package imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rgprobe.models.gauge.config import GaugeConfig

if TYPE_CHECKING:
    from rgprobe.models.gauge.transformer import GaugeTransformer as GaugeTransformer

__all__ = ["GaugeConfig", "GaugeTransformer"]


def __getattr__(name: str) -> Any:
    if name != "GaugeTransformer":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module("rgprobe.models.gauge.transformer").GaugeTransformer
