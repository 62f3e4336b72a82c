"""Hooked models that are no bridges: transformer_lens's `HookedTransformer` of versions before 4, or what behaves like it."""

from __future__ import annotations

from typing import Any

from torch import nn

__all__ = ["Hooked", "is_hooked", "settings_of"]

PARTS = ("cfg", "blocks", "hook_dict", "run_with_hooks", "unembed")
SIZES = ("n_layers", "n_heads", "d_model", "d_vocab")


def is_hooked(source: Any) -> bool:
    """Whether a module has the hooks and sizes by which transformer_lens's models are known, whatever its class.

    Example:
        >>> is_hooked(nn.Linear(2, 2))
        False
    """
    return (
        isinstance(source, nn.Module)
        and all(hasattr(source, name) for name in PARTS)
        and all(hasattr(source.cfg, name) for name in SIZES)
    )


class Hooked:
    """A hooked model with the one attribute of a bridge that it lacks: the model inside, which here is itself."""

    def __init__(self, model: nn.Module) -> None:
        self.original_model = model

    def __getattr__(self, name: str) -> Any:
        if name == "original_model":  # while a copy is being made there is none yet
            raise AttributeError(name)
        return getattr(self.original_model, name)

    def __call__(self, *args: Any, **options: Any) -> Any:
        """As the model itself."""
        return self.original_model(*args, **options)


def settings_of(model: Any) -> dict[str, Any]:
    """The configuration, as far as it can be written down."""
    config = model.cfg.to_dict() if hasattr(model.cfg, "to_dict") else vars(model.cfg)
    return {name: value for name, value in config.items() if isinstance(value, (str, int, float, bool, type(None)))}
