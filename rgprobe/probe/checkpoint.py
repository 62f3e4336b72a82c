"""What a checkpoint directory holds, checked before anything in it is trusted.

Nothing here imports torch or runs code from the checkpoint: configurations are JSON, weights are safetensors, and a
directory that asks for more (remote code, pickles, paths that leave it) is refused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rgprobe.errors import CheckpointError
from rgprobe.files import sha256_of

__all__ = ["CheckpointDirectory", "inspect_directory"]

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "special_tokens_map.json",
)


@dataclass(frozen=True)
class CheckpointDirectory:
    """A directory that passed inspection.

    Attributes:
        path: the directory.
        config: its config.json, parsed.
        weights: weight files in name order, safetensors unless pickles were asked for.
        sha256: digest of the configuration, every weight file and every tokenizer file, by file name.
    """

    path: Path
    config: dict[str, Any]
    weights: tuple[Path, ...]
    sha256: dict[str, str]

    @property
    def has_tokenizer(self) -> bool:
        """Whether any tokenizer file is there."""
        return any(
            (self.path / name).exists() for name in ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model")
        )


def inspect_directory(path: Path, *, allow_pickle: bool = False) -> CheckpointDirectory:
    """Check a local checkpoint and take its digests.

    Args:
        path: a directory in Hugging Face format.
        allow_pickle: accept pickled weights; they are then read with torch's `weights_only=True`.

    Raises:
        CheckpointError: the directory, its config.json or its weights are missing, malformed or unsafe.
    """
    config = _read_config(path)
    weights = _weight_files(path, allow_pickle=allow_pickle)
    digested = ["config.json", *(w.name for w in weights), *(n for n in TOKENIZER_FILES if (path / n).is_file())]
    return CheckpointDirectory(path, config, weights, {name: sha256_of(path / name) for name in digested})


def _read_config(path: Path) -> dict[str, Any]:
    file = path / "config.json"
    if not file.is_file():
        raise CheckpointError(
            str(path),
            expected="a checkpoint directory with a config.json",
            received="a directory without one" if path.is_dir() else "a file" if path.exists() else "no such directory",
            remedy="pass the directory that save_pretrained wrote",
        )
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise CheckpointError(
            str(file), expected="valid JSON", received=str(error), remedy="download or save the checkpoint again"
        ) from error
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise CheckpointError(
            str(file),
            expected='an object with a "model_type" string',
            received=f"{type(config).__name__} without one",
            remedy="save the checkpoint with save_pretrained",
        )
    for key in ("auto_map", "trust_remote_code"):
        if config.get(key):
            raise CheckpointError(
                str(file),
                expected="an architecture that transformers itself defines",
                received=f"{key!r}, which asks to run code from the checkpoint",
                remedy="load the model yourself and pass the object, if you trust it",
            )
    return config


def _weight_files(path: Path, *, allow_pickle: bool) -> tuple[Path, ...]:
    index = path / "model.safetensors.index.json"
    if index.is_file():
        return _indexed_files(index)
    found = tuple(sorted(path.glob("*.safetensors")))
    if found:
        return found
    pickles = tuple(sorted(file for pattern in PICKLES for file in path.glob(pattern)))
    if pickles and allow_pickle:
        return pickles
    received = f"only pickled weights ({pickles[0].name}), which can run code" if pickles else "no weight file"
    remedy = (
        "convert them to safetensors, or pass allow_pickle=True" if pickles else "save the model with save_pretrained"
    )
    raise CheckpointError(str(path), expected="model.safetensors", received=received, remedy=remedy)


def _indexed_files(index: Path) -> tuple[Path, ...]:
    try:
        names = sorted({str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()})
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(
            str(index), expected='JSON with a "weight_map" object', received=repr(error), remedy="save the model again"
        ) from error
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise CheckpointError(
                str(index),
                expected="plain names of .safetensors files beside the index",
                received=repr(name),
                remedy="do not use this checkpoint",
            )
        if not (index.parent / name).is_file():
            raise CheckpointError(
                str(index.parent / name), expected="a weight file named in the index", received="no such file",
                remedy="download the missing shard",
            )  # fmt: skip
    return tuple(index.parent / name for name in names)
