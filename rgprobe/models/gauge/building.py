"""How the training loop builds and saves a gauge model."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from rgprobe.errors import OptionError
from rgprobe.models.gauge.config import GaugeConfig
from rgprobe.models.gauge.transformer import GaugeTransformer

__all__ = ["build_gauge", "save_gauge"]


def build_gauge(*, vocabulary: int, context: int, layers: int, width: int, heads: int) -> GaugeTransformer:
    """A freshly initialised gauge model; torch's global seed decides.

    The feed-forward part is 11/3 times as wide: a little less than in the standard model, to pay for frames and precisions.

    Args:
        vocabulary: number of tokens V.
        context: longest input in tokens.
        layers: number of blocks.
        width: residual width.
        heads: beliefs per token and block; each has width / heads dimensions.

    Raises:
        OptionError: `width` is not an even multiple of `heads`.

    Example:
        >>> model = build_gauge(vocabulary=2048, context=256, layers=6, width=128, heads=8)
        >>> sum(parameter.numel() for parameter in model.parameters())  # the standard model has 1,836,672
        1838064
    """
    if width % (2 * heads):
        raise OptionError(
            "--width",
            expected=f"a multiple of 2 x heads = {2 * heads}, so that rotary positions have planes",
            received=str(width),
            remedy="change --width or --heads",
        )
    return GaugeTransformer(
        GaugeConfig(
            n_layers=layers,
            n_heads=heads,
            d_model=width,
            d_vocab=vocabulary,
            n_ctx=context,
            d_mlp=4 * width - width // 3,
        )
    )


def save_gauge(model: nn.Module, directory: Path) -> None:
    """Write config.json and model.safetensors."""
    if not isinstance(model, GaugeTransformer):
        raise TypeError(f"expected a GaugeTransformer, received {type(model).__name__}")
    model.save_pretrained(directory)
