"""How the training loop builds and saves a gauge model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from rgprobe.errors import OptionError
from rgprobe.models.gauge.config import GaugeConfig
from rgprobe.models.gauge.transformer import GaugeTransformer

__all__ = ["build_gauge", "save_gauge"]

CODE = 8  # rank of the token table; 40 fits the training text better and others worse


def build_gauge(
    *, vocabulary: int, context: int, layers: int, width: int, heads: int, **switches: Any
) -> GaugeTransformer:
    """A freshly initialised gauge model; torch's global seed decides.

    The feed-forward part is a little narrower than the standard model's four widths: what frames, precisions and priors of
    the default switches cost is taken from it, so that both models have equally many parameters.

    Args:
        vocabulary: number of tokens V.
        context: longest input in tokens.
        layers: number of blocks.
        width: residual width.
        heads: beliefs per token and block; each has width / heads dimensions.
        **switches: fields of `GaugeConfig` other than these sizes.

    Raises:
        OptionError: `width` is not an even multiple of `heads`; an unknown switch, or a value outside its domain.

    Example:
        >>> model = build_gauge(vocabulary=2048, context=256, layers=6, width=128, heads=8)
        >>> sum(parameter.numel() for parameter in model.parameters())  # the standard model has 1,836,672
        1836784
    """
    if width % (2 * heads):
        raise OptionError(
            "--width",
            expected=f"a multiple of 2 x heads = {2 * heads}, so that rotary positions have planes",
            received=str(width),
            remedy="change --width or --heads",
        )
    sizes = {"n_layers": layers, "n_heads": heads, "d_model": width, "d_vocab": vocabulary, "n_ctx": context}
    geometry = CODE * (vocabulary + width * width // (2 * heads * heads) + width) + layers * width * heads
    d_mlp = max(width, 4 * width - round(geometry / (3 * width * layers)))
    return GaugeTransformer(GaugeConfig.from_dict({"d_code": CODE, "d_mlp": d_mlp, **switches, **sizes}))


def save_gauge(model: nn.Module, directory: Path) -> None:
    """Write config.json and model.safetensors."""
    if not isinstance(model, GaugeTransformer):
        raise TypeError(f"expected a GaugeTransformer, received {type(model).__name__}")
    model.save_pretrained(directory)
