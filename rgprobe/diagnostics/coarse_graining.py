"""D32: does attention look like its own coarse-graining? Block-averaged patterns of one block against the next, by scale.

Take head-averaged attention A among the recorded tokens, merge b neighbouring tokens into one (mean over queries, sum over
keys), and compare with the next block in two ways, as a correlation over pairs that the mask allows:

    same_b      coarse A_l with coarse A_(l+1): do the blocks share structure at this scale?
    rescaled_b  coarse A_l with A_(l+1) itself on as many neighbouring tokens: is b tokens of one block one of the next?

The second is what a renormalization step would do. Anything that falls with distance correlates with anything else that does:
rows of the next block with permuted keys are the null.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float64

from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity
from rgprobe.diagnostics.row_permutations import generator_of, permuted_rows
from rgprobe.tracing import BeliefTrace

__all__ = [
    "DIAGNOSTIC",
    "SCALES",
    "coarse_grained",
    "coarse_graining",
    "correlation",
    "rescaled",
    "same",
]

SCALES = (2, 4)
DRAWS = 8
SMALLEST = 4  # tokens of a coarse pattern; fewer leave too few pairs for a correlation


def coarse_graining(trace: BeliefTrace) -> Measurement:
    """Both similarities at each scale, indexed by the later block; the null draws permute keys within its rows."""
    shape = (1 + DRAWS, trace.n_prompts, trace.graph.sizes["block"])
    names = [f"{kind}_{scale}" for kind in ("same", "rescaled") for scale in SCALES]
    found = {name: np.full(shape, np.nan) for name in names}
    for prompt in range(trace.n_prompts):
        count = len(trace.recorded(prompt))
        patterns = _normalised(trace.graph.values[prompt, :, :count, :count])
        generator, allowed = generator_of(trace, prompt), _allowed(count, trace.causal)
        for draw in range(1 + DRAWS):
            later = patterns if draw == 0 else permuted_rows(patterns, generator, allowed=allowed)
            for block in range(1, shape[-1]):
                for scale in SCALES:
                    pair = patterns[block - 1], later[block], scale
                    found[f"same_{scale}"][draw, prompt, block] = same(*pair, causal=trace.causal)
                    found[f"rescaled_{scale}"][draw, prompt, block] = rescaled(*pair, causal=trace.causal)
    dims = ("prompt", "block")
    values = xr.Dataset({name: (dims, array[0]) for name, array in found.items()})
    null = xr.Dataset({name: (("draw", *dims), array[1:]) for name, array in found.items()})
    return Measurement(values, internal_nulls={"permuted_rows": null})


def coarse_grained(pattern: Float64[np.ndarray, "n n"], scale: int) -> Float64[np.ndarray, "m m"]:
    """A pattern among groups of `scale` neighbouring tokens: mean over queries, sum over keys; rows still sum to 1.

    What does not fill a group is left out at the start, where rows are short, and rows are normalised again.

    Example:
        >>> coarse_grained(np.eye(4), 2)
        array([[1., 0.],
               [0., 1.]])
    """
    size = len(pattern) // scale
    kept = pattern[len(pattern) - size * scale :, len(pattern) - size * scale :]
    return _normalised(kept.reshape(size, scale, size, scale).sum(3).mean(1))


def same(
    earlier: Float64[np.ndarray, "n n"], later: Float64[np.ndarray, "n n"], scale: int, *, causal: bool = True
) -> float:
    """Correlation of both patterns, coarse-grained; NaN below `SMALLEST` groups."""
    return correlation(coarse_grained(earlier, scale), coarse_grained(later, scale), causal=causal)


def rescaled(
    earlier: Float64[np.ndarray, "n n"], later: Float64[np.ndarray, "n n"], scale: int, *, causal: bool = True
) -> float:
    """Mean correlation of the coarse earlier pattern with the later one on consecutive windows of as many tokens."""
    coarse = coarse_grained(earlier, scale)
    size = len(coarse)
    starts = range(len(later) - size * scale, len(later), max(size, 1)) if size else []
    windows = [_normalised(later[start : start + size, start : start + size]) for start in starts]
    found = [correlation(coarse, window, causal=causal) for window in windows]
    defined = [value for value in found if np.isfinite(value)]
    return float(np.mean(defined)) if defined else np.nan


def correlation(a: Float64[np.ndarray, "n n"], b: Float64[np.ndarray, "n n"], *, causal: bool) -> float:
    """Pearson correlation over the pairs that a mask allows; NaN for fewer than `SMALLEST` tokens or a flat pattern."""
    if len(a) < SMALLEST:
        return np.nan
    allowed = _allowed(len(a), causal)
    x, y = a[allowed] - a[allowed].mean(), b[allowed] - b[allowed].mean()
    scale = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / scale) if scale > 0 else np.nan


def _allowed(size: int, causal: bool) -> Bool[np.ndarray, "size size"]:
    return np.tri(size, dtype=bool) if causal else np.ones((size, size), dtype=bool)


def _normalised(pattern: np.ndarray) -> np.ndarray:
    total = pattern.sum(-1, keepdims=True)
    return np.divide(pattern, total, out=np.zeros_like(pattern), where=total > 0)


DIAGNOSTIC = Diagnostic(
    name="coarse_graining",
    catalogue="D32",
    title="Attention against its own coarse-graining",
    depth="block",
    quantities=(
        *(
            Quantity(
                f"same_{scale}", "1", f"correlation with the block before, both in groups of {scale} recorded tokens"
            )
            for scale in SCALES
        ),
        *(
            Quantity(
                f"rescaled_{scale}",
                "1",
                f"correlation of the block before in groups of {scale} with this one token by token",
            )
            for scale in SCALES
        ),
    ),
    requires=frozenset({"attention"}),
    measure=coarse_graining,
    assumption="heads are averaged; attention among the recorded tokens only, rows renormalised; groups are of neighbouring "
    "recorded tokens, so a scale counts recorded tokens, not tokens",
    reading="What two patterns that fall with distance share is not self-similarity: compare with random initialisations and "
    "permuted rows, and `rescaled` with `same`.",
    undefined=f"the first block; fewer than {SMALLEST} groups",
    default=False,
)
