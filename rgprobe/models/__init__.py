"""Models that rgprobe trains and ships: corpus, tokenizer, families, the training loop, checkpoints, KL
attention and the gauge transformer.

Importing this package imports no torch; the submodules do where they need it, and the names below on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rgprobe.models.attention import kl_attention as kl_attention
    from rgprobe.models.gauge import GaugeConfig as GaugeConfig
    from rgprobe.models.gauge import GaugeTransformer as GaugeTransformer

_HOMES = {
    "GaugeConfig": "rgprobe.models.gauge",
    "GaugeTransformer": "rgprobe.models.gauge",
    "kl_attention": "rgprobe.models.attention",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
