"""Sizes of a model from its configuration alone, without its weights, and small random models of the same architecture."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from rgprobe.errors import CheckpointError, is_out_of_memory
from rgprobe.models.building import seeded
from rgprobe.models.gauge.config import MODEL_TYPE
from rgprobe.models.shipped import shipped_names, shipped_path
from rgprobe.probe.loading import load
from rgprobe.probe.model import Probe

__all__ = ["Outline", "miniature", "outline_of"]

# parameters of a miniature at most: it is drawn, and for a moment held twice
LARGEST = 200_000_000
WIDTHS = ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads")


@dataclass(frozen=True)
class Outline:
    """What a configuration says of a model.

    Attributes:
        name: what to call it.
        family: "standard" or "gauge".
        blocks, heads, width, vocabulary: L, H, d, V.
        context: longest prompt, tokens, where it is stated.
        parameters: of the whole model.
        matrices: of its blocks alone: each takes one multiplication and one addition per token.
        settings: the configuration.
    """

    name: str
    family: str
    blocks: int
    heads: int
    width: int
    vocabulary: int
    context: int | None
    parameters: int
    matrices: int
    settings: Any


def outline_of(source: str | Path) -> Outline:
    """Read a configuration and build the model without storage (torch's meta device), to count what it is made of.

    Args:
        source: a shipped name, a directory with a config.json (weights need not be there), such a file, or a hub id.

    Raises:
        CheckpointError: there is no configuration, or none of a known architecture.

    Example:
        >>> outline = outline_of("standard-small")
        >>> outline.family, outline.blocks, outline.vocabulary
        ('standard', 6, 2048)
    """
    path = shipped_path(str(source)) if str(source) in shipped_names() else Path(source).expanduser()
    file = path / "config.json" if path.is_dir() else path
    if file.is_file():
        try:
            settings = json.loads(file.read_text("utf-8"))
        except ValueError as error:
            raise _unusable(source, "what is no JSON") from error
        if isinstance(settings, dict) and settings.get("model_type") == MODEL_TYPE:
            from rgprobe.models.gauge.checkpoint import read_config

            return _gauge(file.parent.name, read_config(file.parent))
    elif path.exists() or str(source).startswith((".", "/", "~")):
        raise _unusable(source, "no config.json")
    import transformers

    try:
        config = transformers.AutoConfig.from_pretrained(
            str(file if file.is_file() else source), trust_remote_code=False
        )
        return _standard(path.name if path.is_dir() else str(source), config)
    except Exception as error:  # transformers and torch raise a dozen unrelated types for odd configurations
        if is_out_of_memory(error):
            raise
        raise _unusable(source, (str(error).splitlines() or [type(error).__name__])[0][:200]) from error


def miniature(outline: Outline, blocks: int, *, seed: int = 0) -> tuple[Probe, Outline]:
    """A random model of this architecture with few blocks, and of less width where its own would not fit, with its outline.

    Args:
        outline: of the model that is meant.
        blocks: how many of them.
        seed: of the weights.
    """
    with seeded(seed):
        if outline.family == "gauge":
            from rgprobe.models.gauge import GaugeTransformer

            config = replace(outline.settings, n_layers=blocks)
            return load(GaugeTransformer(config).eval()), _gauge(outline.name, config)
        config = _fitting(outline.settings, blocks)
        # a bridge that splits a fused matrix draws the parts before it fills them
        probe = load(_architecture(config)(config).float().eval())
    return probe, _standard(outline.name, config)


def _fitting(settings: Any, blocks: int) -> Any:
    """The configuration with so many blocks, its widths halved until the model is small enough."""
    config = copy.deepcopy(settings)
    config.num_hidden_layers = blocks
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:blocks]
    if getattr(config, "dtype", None) is not None:
        config.dtype = torch.float32
    while _standard("", config).parameters > LARGEST:
        if not all(hasattr(config, name) for name in WIDTHS[:3]) or config.num_attention_heads % 2:
            raise _unusable("rehearsal", "a width that cannot be halved")
        for name in WIDTHS:
            if hasattr(config, name):
                setattr(config, name, max(1, getattr(config, name) // 2))
        config.vocab_size = max(1024, config.vocab_size // 2)
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            setattr(config, name, None)
    return config


def _standard(name: str, config: Any) -> Outline:
    with torch.device("meta"):
        model = _architecture(config)(copy.deepcopy(config))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    tables = [model.get_input_embeddings(), model.get_output_embeddings()]
    embedded = sum({id(table.weight): table.weight.numel() for table in tables if table is not None}.values())
    return Outline(
        name=name, family="standard", blocks=int(config.num_hidden_layers), heads=int(config.num_attention_heads),
        width=int(config.hidden_size), vocabulary=int(config.vocab_size),
        context=getattr(config, "max_position_embeddings", None), parameters=parameters, matrices=parameters - embedded,
        settings=config,
    )  # fmt: skip


def _gauge(name: str, config: Any) -> Outline:
    from rgprobe.models.gauge import GaugeTransformer

    with torch.device("meta"):
        model = GaugeTransformer(config)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    in_blocks = sum(parameter.numel() for parameter in model.blocks.parameters())
    return Outline(
        name=name, family="gauge", blocks=config.n_layers, heads=config.n_heads, width=config.d_model,
        vocabulary=config.d_vocab, context=config.n_ctx, parameters=parameters, matrices=in_blocks, settings=config,
    )  # fmt: skip


def _architecture(config: Any) -> Any:
    import transformers

    name = (getattr(config, "architectures", None) or ["none"])[0]
    found = getattr(transformers, str(name), None)
    if not (isinstance(found, type) and issubclass(found, transformers.PreTrainedModel)):
        raise ValueError(f"architecture {name!r}")
    return found


def _unusable(source: Any, received: str) -> CheckpointError:
    return CheckpointError(
        str(source), expected="the configuration of a known architecture", received=received,
        remedy="pass a shipped name, a directory with config.json, that file, or a hub id",
    )  # fmt: skip
