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
from rgprobe.models.gauge.config import MODEL_TYPE
from rgprobe.probe.pickle_sizes import require_honest_size
from rgprobe.probe.weight_headers import read_shapes

__all__ = ["CheckpointDirectory", "inspect_directory"]

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
PICKLE = "pytorch_model.bin"
PICKLE_INDEX = f"{PICKLE}.index.json"
JSON_LIMIT = 64 * 2**20  # bytes: the index of a model of a trillion parameters is smaller
TOKENIZER_LIMIT = 2**30
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers")
SIZES = (
    *LAYERS,
    "hidden_size",
    "n_embd",
    "vocab_size",
    "max_position_embeddings",
    "n_positions",
    "num_attention_heads",
    "n_head",
)
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
            (self.path / name).is_file() for name in ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model")
        )


def inspect_directory(path: Path, *, allow_pickle: bool = False) -> CheckpointDirectory:
    """Check a local checkpoint and take its digests.

    Args:
        path: a directory in Hugging Face format.
        allow_pickle: accept pickled weights, pytorch_model.bin or the files of its index; they are then read with torch's
            `weights_only=True`. Gauge checkpoints are never read from pickles.

    Raises:
        CheckpointError: the directory, its config.json or its weights are missing, malformed or unsafe.
    """
    config = _read_config(path)
    weights = _weight_files(path, config, allow_pickle=allow_pickle)
    _check_weight_files(path, config, weights)
    _check_companions(path)
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
    config = _read_json(file)
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise CheckpointError(
            str(file),
            expected='an object with a "model_type" string',
            received=f"{type(config).__name__} without one",
            remedy="save the checkpoint with save_pretrained",
        )
    architectures = config.get("architectures") or []
    if not isinstance(architectures, list) or not all(isinstance(name, str) for name in architectures):
        raise CheckpointError(
            f"{file}: architectures", expected="a list of names", received=repr(architectures)[:80],
            remedy="save the checkpoint with save_pretrained",
        )  # fmt: skip
    _refuse_remote_code(file, config)
    _require_positive_sizes(file, config)
    return config


def _read_json(file: Path) -> Any:
    try:
        if (size := file.stat().st_size) > JSON_LIMIT:
            raise ValueError(f"{size:,} bytes")
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # ValueError: no UTF-8, no JSON, a number of too many digits
        raise CheckpointError(
            str(file), expected="valid JSON", received=str(error), remedy="download or save the checkpoint again"
        ) from error


def _require_positive_sizes(file: Path, config: dict[str, Any]) -> None:
    for key in SIZES:
        if isinstance(config.get(key), int) and config[key] < 1:
            raise _refusal(file, f"{key} >= 1", str(config[key]), "take config.json from where the weights come from")


def _refuse_remote_code(file: Path, record: dict[str, Any]) -> None:
    for key, value in record.items():
        # an implementation with a slash is a repository of kernels, which transformers would download and run
        downloaded = key.endswith("_implementation") and "/" in str(value)
        if (key in ("auto_map", "trust_remote_code") and value) or downloaded:
            raise CheckpointError(
                str(file),
                expected="an architecture that transformers itself defines",
                received=f"{key!r}, which asks to run code from the checkpoint",
                remedy="load the model yourself and pass the object, if you trust it",
            )


def _check_companions(path: Path) -> None:
    """What transformers would read beside configuration and weights."""
    for name in TOKENIZER_FILES:
        file = path / name
        if file.exists() and not file.is_file():
            raise _refusal(file, "a file", "something else", "do not use this checkpoint")
        if file.is_file() and (size := file.stat().st_size) > TOKENIZER_LIMIT:
            raise _refusal(file, f"a tokenizer below {TOKENIZER_LIMIT:,} bytes", f"{size:,} bytes", "use another one")
    settings = path / "tokenizer_config.json"
    if settings.is_file() and isinstance(record := _read_json(settings), dict):
        _refuse_remote_code(settings, record)
    # peft would have transformers load the model that an adapter names, wherever that is
    if (path / "adapter_config.json").exists():
        raise _refusal(path / "adapter_config.json", "a whole model", "an adapter", "merge it into its model first")


def _check_weight_files(path: Path, config: dict[str, Any], weights: tuple[Path, ...]) -> None:
    """Names, sizes and numbers of layers that the files themselves can bear out, before any memory is taken."""
    for file in weights:
        if not file.is_file():  # a device would be read for ever, and a pipe waited for
            raise _refusal(file, "a file", "something else", "do not use this checkpoint")
        if file.suffix != ".safetensors":
            require_honest_size(file)
    tensors = len(read_shapes([file for file in weights if file.suffix == ".safetensors"]))
    for key in LAYERS:
        layers = config.get(key)
        if tensors and isinstance(layers, int) and layers > tensors:
            raise _refusal(path / "config.json", f"at most {tensors} layers, the tensors in its files", f"{key} {layers}",
                           "use the config.json that was saved with these weights")  # fmt: skip


def _weight_files(path: Path, config: dict[str, Any], *, allow_pickle: bool) -> tuple[Path, ...]:
    index = path / "model.safetensors.index.json"
    if index.is_file():
        return _indexed_files(index, ".safetensors")
    found = tuple(sorted(path.glob("*.safetensors")))
    if found:
        return found
    pickles = sorted({file.name for pattern in PICKLES for file in path.glob(pattern)})
    if not pickles:
        raise _refusal(path, "model.safetensors", "no weight file", "save the model with save_pretrained")
    received = f"only pickled weights ({', '.join(pickles[:3])}), which can run code"
    if config["model_type"] == MODEL_TYPE:
        remedy = "save it with GaugeTransformer.save_pretrained: gauge checkpoints are never read from pickles"
        raise _refusal(path, "model.safetensors", received, remedy)
    if not (path / PICKLE_INDEX).is_file() and PICKLE not in pickles:  # transformers reads no other name
        remedy = f"convert the weights to safetensors, or name them {PICKLE} and pass allow_pickle=True"
        raise _refusal(path, f"model.safetensors, or {PICKLE} where pickles are allowed", received, remedy)
    if not allow_pickle:
        raise _refusal(path, "model.safetensors", received, "convert them to safetensors, or pass allow_pickle=True")
    if (path / PICKLE_INDEX).is_file():
        return _indexed_files(path / PICKLE_INDEX, ".bin")
    return (path / PICKLE,)  # what else is there belongs to its training


def _indexed_files(index: Path, suffix: str) -> tuple[Path, ...]:
    try:
        names = sorted({str(name) for name in _read_json(index)["weight_map"].values()})
    except (KeyError, AttributeError, TypeError) as error:
        raise _refusal(index, 'JSON with a "weight_map" object', repr(error), "save the model again") from error
    for name in names:
        if Path(name).name != name or not name.endswith(suffix):
            raise _refusal(
                index, f"plain names of {suffix} files beside the index", repr(name), "do not use this checkpoint"
            )
        if not (index.parent / name).is_file():
            raise _refusal(
                index.parent / name, "a weight file named in the index", "no such file", "download the missing shard"
            )
    if not names:
        raise _refusal(index, "names of weight files", "none", "save the model again")
    return tuple(index.parent / name for name in names)


def _refusal(culprit: Path, expected: str, received: str, remedy: str) -> CheckpointError:
    return CheckpointError(str(culprit), expected=expected, received=received, remedy=remedy)
