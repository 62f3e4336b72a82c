"""Pinned models and prompts that runs are timed on: random weights in the shape of a known model, and random tokens."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from rgprobe.models.shipped import shipped_names, shipped_path
from rgprobe.models.standard import build_standard, save_standard

__all__ = ["SMALL", "SMOLLM2", "Shape", "directory_of", "pinned_checkpoint", "token_ids"]


@dataclass(frozen=True)
class Shape:
    """Sizes of a Llama decoder."""

    blocks: int
    heads: int
    width: int
    vocabulary: int
    context: int = 8192


# Costs depend on sizes, hardly on weights: no download is needed. (Its feed-forward part is 4 widths, not 2.7.)
SMOLLM2 = Shape(blocks=30, heads=9, width=576, vocabulary=49_152)
SMALL = Shape(blocks=4, heads=4, width=64, vocabulary=2048)


@contextmanager
def pinned_checkpoint(shape: Shape, seed: int) -> Iterator[Path]:
    """A folder with such a model, weights drawn under the seed, gone after the block."""
    with tempfile.TemporaryDirectory(prefix="rgprobe-bench-") as name:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = build_standard(
                vocabulary=shape.vocabulary, context=shape.context, layers=shape.blocks, width=shape.width,
                heads=shape.heads,
            )  # fmt: skip
        save_standard(model, Path(name))
        del model
        yield Path(name)


def directory_of(source: str | Path) -> Path:
    """Where a shipped name or a path has its files."""
    return shipped_path(str(source)) if str(source) in shipped_names() else Path(source)


def token_ids(count: int, vocabulary: int, seed: int) -> Int[Tensor, " tokens"]:
    """Random ids past the special ones: costs do not depend on them."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(min(1000, vocabulary // 2), vocabulary, (count,), generator=generator)
