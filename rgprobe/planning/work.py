"""What a run is made of, counted from sizes: the amounts that time, memory and disk are proportional to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from rgprobe.probe.attention import LARGEST_WHOLE
from rgprobe.probe.outline import Outline
from rgprobe.probe.scores import TILE

__all__ = ["RECORDED", "Job", "forward_flops"]

RECORDED = 32  # tokens per prompt whose beliefs are kept


@dataclass(frozen=True)
class Job:
    """One model on so many prompts of equal length.

    Args:
        outline: sizes of the model.
        tokens: per prompt N.
        prompts: P.
        tiles: whether queries and keys can be had, so that long prompts go through tiles of scores.
    """

    outline: Outline
    tokens: int
    prompts: int
    tiles: bool = True

    @property
    def recorded(self) -> int:
        """Recorded tokens per prompt R."""
        return min(RECORDED, max(self.tokens - 1, 1))

    @property
    def scores(self) -> float:
        """Attention scores of a pass over one prompt: L H N^2."""
        return float(self.outline.blocks * self.outline.heads * self.tokens**2)

    @property
    def tiled(self) -> bool:
        """Whether scores are made in tiles, or as a whole."""
        return self.tiles and 4 * self.outline.heads * self.tokens**2 > LARGEST_WHOLE

    @property
    def classes(self) -> float:
        """Class probabilities that the lens of one prompt makes: (L + 1) R V."""
        return float((self.outline.blocks + 1) * self.recorded * self.outline.vocabulary)

    @property
    def products(self) -> float:
        """FLOPs of the matrix products of all blocks, one prompt."""
        o = self.outline
        return 2.0 * o.matrices * self.tokens + 4.0 * o.width * self.scores / o.heads

    def of_a_pass(self) -> Float64[np.ndarray, " 6"]:
        """Amounts of one prompt: 1, blocks, FLOPs (blocks and lens), scores as a whole, scores in tiles, classes."""
        products = self.products + 2.0 * self.outline.width * self.classes
        whole, tiled = (0.0, self.scores) if self.tiled else (self.scores, 0.0)
        return np.array([1.0, self.outline.blocks, products, whole, tiled, self.classes])

    def of_a_forward(self) -> Float64[np.ndarray, " 4"]:
        """Amounts of one prompt where nothing is reduced and scores are spelled out: 1, blocks, FLOPs, scores."""
        return np.array([1.0, self.outline.blocks, self.products, self.scores])

    def held(self, device: str = "cpu") -> Float64[np.ndarray, " 4"]:
        """What a pass of one block holds: classes of one state, widths, one block's scores as a whole, or those of a tile."""
        o = self.outline
        rows, most = TILE[device]
        scores = (0.0, min(o.heads * min(rows, self.tokens) * self.tokens, most)) if self.tiled else (
            o.heads * self.tokens**2, 0.0)  # fmt: skip
        return np.array([self.recorded * o.vocabulary, o.width * self.tokens, *scores], dtype=float)

    def of_measurements(self) -> Float64[np.ndarray, " 4"]:
        """Amounts of all diagnostics of one trace: 1, blocks, and for each prompt blocks and rows of attention."""
        o, p = self.outline, self.prompts
        return np.array([1.0, o.blocks, p * o.blocks, p * o.blocks * o.heads * self.tokens], dtype=float)

    def of_arrays(self) -> Float64[np.ndarray, " 7"]:
        """Amounts that arrays kept are proportional to: 1, blocks, and for each prompt 1, blocks, heads, tokens, rows."""
        o, p = self.outline, self.prompts
        heads = o.blocks * o.heads
        return np.array(
            [1.0, o.blocks, p, p * o.blocks, p * heads, p * self.tokens, p * heads * self.tokens], dtype=float
        )


def forward_flops(outline: Outline, tokens: int) -> float:
    """FLOPs of a plain forward pass over one prompt, logits of every token included.

    2 per parameter of the blocks' matrices and token, 4 d N per token for attention (both products, whole square), 2 d V per
    token for the unembedding.

    Source: Kaplan et al. (2020), section 2.1.
    """
    return (2.0 * outline.matrices + 4.0 * outline.blocks * outline.width * tokens
            + 2.0 * outline.width * outline.vocabulary) * tokens  # fmt: skip
