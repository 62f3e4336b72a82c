"""A gauge model on disk: a directory with config.json and model.safetensors, read with suspicion. Never pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from rgprobe.errors import CheckpointError, OptionError
from rgprobe.files import write_bytes, write_text
from rgprobe.models.gauge.config import MODEL_TYPE, GaugeConfig

__all__ = [
    "FORMAT_VERSION",
    "check_layers",
    "check_tensors",
    "read_config",
    "read_tensors",
    "write_checkpoint",
]

FORMAT_VERSION = 1
_REMEDY = "save the model again with save_pretrained"


def write_checkpoint(directory: Path, config: GaugeConfig, tensors: Mapping[str, Tensor]) -> None:
    """Write config.json and model.safetensors; each is whole or absent.

    Args:
        directory: made if it is not there.
        config: of the model.
        tensors: parameters by name, tied ones once.
    """
    directory.mkdir(parents=True, exist_ok=True)
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    record = {"model_type": MODEL_TYPE, "format_version": FORMAT_VERSION, **config.to_dict()}
    write_bytes(directory / "model.safetensors", save(plain, metadata={"format": "pt"}))
    write_text(directory / "config.json", json.dumps(record, indent=2) + "\n")


def read_config(directory: Path) -> GaugeConfig:
    """The configuration in a directory.

    Raises:
        CheckpointError: no config.json, not JSON, another model type or version, or fields that make no model.
    """
    path = directory / "config.json"
    try:
        record = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # ValueError: no UTF-8, no JSON, a number of too many digits
        raise CheckpointError(str(path), expected="valid JSON", received=str(error), remedy=_REMEDY) from error
    if not isinstance(record, dict):
        raise CheckpointError(str(path), expected="an object", received=type(record).__name__, remedy=_REMEDY)
    for name, expected in (("model_type", MODEL_TYPE), ("format_version", FORMAT_VERSION)):
        received = record.pop(name, None)
        if received != expected:
            raise CheckpointError(
                f"{path}: {name}",
                expected=repr(expected),
                received=repr(received),
                remedy="use the version of rgprobe that wrote it" if name == "format_version" else _REMEDY,
            )
    try:
        return GaugeConfig.from_dict(record)
    except OptionError as error:
        raise CheckpointError(
            f"{path}: {error.culprit}", expected=error.expected, received=error.received, remedy=_REMEDY
        ) from error


def read_tensors(directory: Path) -> dict[str, Tensor]:
    """The tensors in a directory.

    Raises:
        CheckpointError: no model.safetensors, or a truncated or corrupt one.
    """
    path = directory / "model.safetensors"
    try:
        return load(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            str(path), expected="a readable safetensors file", received=str(error), remedy=_REMEDY
        ) from error


def check_layers(path: Path, config: GaugeConfig, tensors: Mapping[str, Tensor]) -> None:
    """Refuse more layers than there are tensors, before that many are built.

    Args:
        path: of the configuration, named in the error.
        config: as read.
        tensors: as read.

    Raises:
        CheckpointError: n_layers is larger than the number of tensors.
    """
    if config.n_layers > len(tensors):
        _refuse(f"{path}: n_layers", f"at most {len(tensors)}, the number of tensors", str(config.n_layers))


def check_tensors(path: Path, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Refuse tensors that are missing, extra, of another shape or kind, or not finite.

    Args:
        path: named in the error.
        tensors: as read.
        expected: the model's own, by name.

    Raises:
        CheckpointError: with the names.
    """
    for kind, names in (("missing", expected.keys() - tensors.keys()), ("extra", tensors.keys() - expected.keys())):
        if names:
            _refuse(path, "exactly the tensors of the model", f"{len(names)} {kind}: {', '.join(sorted(names)[:5])}")
    for name, tensor in sorted(tensors.items()):
        if tensor.shape != expected[name].shape:
            _refuse(f"{path}: {name}", f"shape {tuple(expected[name].shape)}", f"shape {tuple(tensor.shape)}")
        if not tensor.is_floating_point():
            _refuse(f"{path}: {name}", "floating-point numbers", str(tensor.dtype))
        bad = tensor.numel() - int(torch.isfinite(tensor).sum())
        if bad:
            _refuse(f"{path}: {name}", "finite weights", f"{bad} NaN or infinite value(s)")


def _refuse(culprit: Any, expected: str, received: str) -> None:
    raise CheckpointError(
        str(culprit), expected=expected, received=received, remedy="use the files that were saved together"
    )
