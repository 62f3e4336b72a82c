"""The families that the training loop can build, by name.

The loop knows a model only as a torch module that maps token ids (B, N) to logits (B, N, V); whatever else a family
needs, its options and its file format, stays behind `Family`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from rgprobe.checks import one_of
from rgprobe.errors import OptionError
from rgprobe.models.standard import build_standard, save_standard

__all__ = ["FAMILIES", "Family", "get_family"]


@dataclass(frozen=True)
class Family:
    """How one family is built and saved.

    Args:
        name: what `--family` takes.
        build: keyword arguments `vocabulary, context, layers, width, heads`, and switches that the family has, to a module
            from ids (B, N) to logits (B, N, V).
        save: writes config.json and model.safetensors of such a module into a directory.
    """

    name: str
    build: Callable[..., nn.Module]
    save: Callable[[nn.Module, Path], None]


def _build_standard(
    *, vocabulary: int, context: int, layers: int, width: int, heads: int, **switches: object
) -> nn.Module:
    for name in switches:
        raise OptionError("--set", expected="nothing: the standard family has no switches", received=name,
                          remedy="pass --family gauge")  # fmt: skip
    return build_standard(vocabulary=vocabulary, context=context, layers=layers, width=width, heads=heads)


def _build_gauge(**sizes: Any) -> nn.Module:
    # imported when called: transformer_lens, which the gauge model stands on, takes seconds to import
    from rgprobe.models.gauge.building import build_gauge

    return build_gauge(**sizes)


def _save_gauge(model: nn.Module, directory: Path) -> None:
    from rgprobe.models.gauge.building import save_gauge

    save_gauge(model, directory)


FAMILIES = {
    family.name: family
    for family in (Family("standard", _build_standard, save_standard), Family("gauge", _build_gauge, _save_gauge))
}


def get_family(name: str) -> Family:
    """The family called `name`.

    Raises:
        OptionError: there is none; the message lists those that exist.

    Example:
        >>> get_family("standard").name
        'standard'
    """
    return FAMILIES[one_of("--family", name, sorted(FAMILIES), remedy="pass a family that exists")]
