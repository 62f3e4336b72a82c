"""Where in the context one model is better than another: losses of test windows by place, models of equal seed paired."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from crossed_intervals import crossed_interval
from tokenizers import Tokenizer

from rgprobe.models.corpus import load_corpus
from rgprobe.models.evaluation import windows
from rgprobe.models.tokenizer import BOS_ID, encode
from rgprobe.probe.plain import plain_forward

__all__ = ["by_position", "window_losses"]

EDGES = (0, 8, 16, 32, 64, 128, 192, 256)  # tokens of the window before the one that is predicted


def by_position(checkpoints: Mapping[str, Sequence[Path]], *, edges: Sequence[int] = EDGES) -> dict[str, Any]:
    """Mean loss of the first group, and the difference of every other to it, with intervals over seeds and windows.

    Args:
        checkpoints: by group, those of seeds 0, 1, ... in this order; groups are compared over the seeds that both have.
        edges: of the places in a window, the last is its length.
    """
    documents = load_corpus().test
    found = {name: np.stack([window_losses(path, documents, edges) for path in paths])
             for name, paths in checkpoints.items() if paths}  # fmt: skip
    first, *others = found
    differences = {}
    for name in others:
        seeds = min(len(found[first]), len(found[name]))
        differences[name] = [
            crossed_interval(found[name][:seeds, :, k], found[first][:seeds, :, k], paired=True)
            for k in range(len(edges) - 1)
        ]
    return {
        "edges": list(edges),
        "windows": int(found[first].shape[1]),
        "baseline": first,
        "nats": [round(float(x), 4) for x in found[first].mean((0, 1))],
        "seeds": {name: len(values) for name, values in found.items()},
        "differences": differences,
    }


def window_losses(path: Path, documents: Sequence[Any], edges: Sequence[int]) -> np.ndarray:
    """Mean loss of every whole window between the edges, (windows, places), nats per token."""
    forward, _ = plain_forward(path)
    tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
    return np.array([
        [nats[start:stop].mean() for start, stop in pairwise(edges)]
        for document in documents
        for nats in _windows(forward, encode(tokenizer, document.text), edges[-1])
    ])  # fmt: skip


def _windows(forward: Any, ids: Sequence[int], length: int) -> Iterator[np.ndarray]:
    """-log p of every token of each window that is whole; windows as in `rgprobe.models.evaluation`."""
    for targets in windows(ids, length):
        if len(targets) == length:
            inputs = torch.cat([torch.tensor([BOS_ID]), targets[:-1]])
            log_p = forward(inputs)[0].double().log_softmax(-1)
            yield -log_p.gather(-1, targets[:, None])[:, 0].numpy()
