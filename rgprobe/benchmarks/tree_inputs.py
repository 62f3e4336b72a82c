"""Pinned beliefs that trees are timed on: those of the shipped models over the shipped texts, and random ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Float64

from rgprobe.data import load_prompts
from rgprobe.gaussian import Gaussian
from rgprobe.probe.loading import load
from rgprobe.probe.model import Probe
from rgprobe.tracing import BeliefTrace, trace

__all__ = ["CASES", "Beliefs", "TreeCase", "distances", "sample"]

Beliefs = Gaussian | np.ndarray
# Classes kept apart; the others are one.
CLASSES = 1024
STATE, BLOCK, HEAD = 3, 4, 0
# Tokens recorded per text at most: all of them.
TOKENS = 256
DIM = 16
# Beliefs drawn at most: as many as the largest tree takes.
LARGEST = 4096


@dataclass(frozen=True)
class TreeCase:
    """Beliefs and how they are condensed.

    Args:
        name: short, unique.
        title: what the beliefs are.
        beliefs: makes at least as many as `largest`, from a seed.
        centroid: as in `rgprobe.condense`.
        largest: most tokens that are condensed.
    """

    name: str
    title: str
    beliefs: Callable[[int], Beliefs]
    centroid: str
    largest: int = LARGEST


def sample(beliefs: Beliefs, count: int, seed: int) -> Beliefs:
    """``count`` of the beliefs, drawn without replacement."""
    chosen = np.random.default_rng(seed).permutation(len(beliefs))[:count]
    return beliefs[torch.from_numpy(chosen)] if isinstance(beliefs, Gaussian) else beliefs[chosen]


def distances(beliefs: Beliefs) -> Float64[np.ndarray, "pairs"]:
    """Condensed distances for SciPy's linkage: Hellinger's (times sqrt 2) of rows, Euclidean ones of Gaussian means."""
    points = beliefs.mean.double().numpy() if isinstance(beliefs, Gaussian) else np.sqrt(beliefs)
    squares = np.einsum("nv,nv->n", points, points)
    first, second = np.triu_indices(len(points), 1)
    squared = (squares[:, None] + squares - 2 * points @ points.T)[first, second]
    return np.sqrt(np.maximum(squared, 0.0))


def _traced(probe: Probe, belief: str, collection: str) -> BeliefTrace:
    """All tokens of the shipped texts."""
    texts = load_prompts("held_out") + load_prompts("passages")
    return trace(probe, texts, belief=belief, positions=TOKENS, sink="include", truncate=True, collect=(collection,))


@cache
def _predictions(seed: int) -> Float64[np.ndarray, "N V"]:
    """Lens beliefs of standard-small, all tokens of the texts at one state, in the basis of their likeliest classes."""
    probe = load("standard-small")
    states = _traced(probe, "lens", "states").states.values[:, STATE]
    present = torch.from_numpy(states[np.isfinite(states).all(axis=-1)])
    with torch.inference_mode():
        p = torch.softmax(probe.readout(present).double(), dim=-1).numpy()
    kept = np.sort(np.argsort(-p.mean(axis=0), kind="stable")[:CLASSES])
    rest = np.delete(p, kept, axis=1).sum(axis=1, keepdims=True)
    rows = np.hstack([p[:, kept], rest])
    return rows / rows.sum(axis=1, keepdims=True)


@cache
def _native(seed: int) -> Gaussian:
    """Native beliefs of one head of gauge-small, all tokens of the texts at one block."""
    probe = load("gauge-small")
    parts = [blocks[BLOCK][:, HEAD] for blocks in _traced(probe, "native", "beliefs").gaussians]
    return Gaussian.from_covariance(torch.cat([g.mean for g in parts]), torch.cat([g.covariance for g in parts]))


def _dirichlet(seed: int) -> Float64[np.ndarray, "N V"]:
    return np.random.default_rng(seed).dirichlet(np.ones(CLASSES + 1), size=LARGEST)


def _isotropic(seed: int) -> Gaussian:
    """Means N(0, 1), covariances Wishart with 2 K samples: no direction, and no group, stands out."""
    generator = np.random.default_rng(seed)
    root = generator.normal(size=(LARGEST, DIM, 2 * DIM)) / np.sqrt(2 * DIM)
    mean = generator.normal(size=(LARGEST, DIM))
    return Gaussian.from_covariance(torch.from_numpy(mean), torch.from_numpy(root @ root.transpose(0, 2, 1)))


CASES = (
    *(
        TreeCase(
            f"lens-{c}", f"lens beliefs of standard-small, state {STATE}, {CLASSES + 1:,} classes", _predictions, c
        )
        for c in ("moment", "pool")
    ),
    *(
        TreeCase(f"native-{c}", f"native beliefs of gauge-small, block {BLOCK}, one head, K = {DIM}", _native, c)
        for c in ("moment", "pool", "shift")
    ),
    *(
        TreeCase(f"dirichlet-{c}", f"uniform on the simplex, {CLASSES + 1:,} classes", _dirichlet, c, 2048)
        for c in ("moment", "pool")
    ),
    *(
        TreeCase(f"isotropic-{c}", f"random means and covariances, K = {DIM}", _isotropic, c, 2048)
        for c in ("moment", "pool", "shift")
    ),
)
