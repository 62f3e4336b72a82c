"""Headers of safetensors files: what they name and how large it is, read before anything is built from a configuration."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rgprobe.errors import CheckpointError

__all__ = ["Shapes", "read_shapes"]

Shapes = dict[str, tuple[int, ...]]
LONGEST = 16 * 2**20  # bytes of a header; one of ten thousand tensors takes about one


def read_shapes(files: Sequence[Path]) -> Shapes:
    """Shape of every tensor in these files, by name; no weight is read.

    Raises:
        CheckpointError: no header, one that is no JSON object of tensors, or a name that occurs twice in a file.

    Example:
        >>> from rgprobe.models.shipped import shipped_path
        >>> read_shapes([shipped_path("gauge-small") / "model.safetensors"])["blocks.0.attn.value.weight"]
        (128, 128)
    """
    return {name: shape for file in files for name, shape in _header(file).items()}


def _header(file: Path) -> Shapes:
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(LONGEST, size - 8):
            raise _refusal(file, f"a header of {length:,} bytes in a file of {size:,}")
        text = stream.read(length)
    try:
        pairs = json.loads(text, object_pairs_hook=_unique)
        return {str(name): _shape(entry) for name, entry in pairs.items() if name != "__metadata__"}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _refusal(file, f"a damaged one ({type(error).__name__}: {error!s:.120})") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Python and safetensors would each keep one of two equal names, and neither would say so."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r:.80} twice")
    return found


def _shape(entry: dict[str, Any]) -> tuple[int, ...]:
    shape = entry["shape"]
    if not isinstance(shape, list) or any(type(n) is not int or n < 0 for n in shape):
        raise TypeError(f"shape {shape!r:.60}")
    if math.prod(shape) >= 2**62:
        raise ValueError(f"shape {shape!r:.60}")
    return tuple(shape)


def _refusal(file: Path, received: str) -> CheckpointError:
    return CheckpointError(
        str(file),
        expected="a safetensors file whose header names each tensor once",
        received=received,
        remedy="download or save the checkpoint again",
    )
