"""D19: modularity of attention among the recorded tokens, with nulls that know the mask and the search.

The textbook null, k_i k_j / 2m, ignores that a causal mask forbids half of the pairs: uniform causal attention then has
modularity 0.134 and two "communities". Here the expected weight is the maximum-entropy one with the same row and column
sums *on the allowed pairs*, P_ij = a_i b_j M_ij; uniform causal attention is of that form, and scores exactly zero.

That is the null of one partition that was given beforehand. The one that is reported was sought, and a search finds something
in any pattern that is not of that form: independent Gaussian scores of standard deviation 0.5, 1, 2, 4 among 32 tokens score
0.06, 0.11, 0.25, 0.38, in five or six "communities". So the same search runs on patterns whose rows have their keys exchanged.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float64, Int

from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity, nearest_key
from rgprobe.diagnostics.row_permutations import generator_of, permuted_rows
from rgprobe.tracing import BeliefTrace

__all__ = ["DIAGNOSTIC", "expected_weights", "modularity", "spectral_communities"]

DRAWS = 4


def modularity(trace: BeliefTrace) -> Measurement:
    """Newman modularity of head-averaged attention, Q = sum_ij (W_ij - P_ij) [c_i = c_j] / sum W, at the partition found
    spectrally; the null draws (`permuted_rows`) exchange the keys of each row, and expected weights and partition are theirs.
    """
    scores = np.full((1 + DRAWS, trace.n_prompts, trace.graph.sizes["block"]), np.nan)
    for prompt in range(trace.n_prompts):
        count = len(trace.recorded(prompt))
        if count < 4:
            continue
        mask = _allowed(trace, prompt)
        weights = trace.graph.values[prompt, :, :count, :count]
        generator = generator_of(trace, prompt)
        drawn = np.stack([permuted_rows(weights, generator, allowed=mask) for _ in range(DRAWS)])
        scores[0, prompt] = _scores(weights, mask)
        scores[1:, prompt] = _scores(drawn, mask)
    dims = ("prompt", "block")
    null = xr.Dataset({"modularity": (("draw", *dims), scores[1:])})
    return Measurement(xr.Dataset({"modularity": (dims, scores[0])}), internal_nulls={"permuted_rows": null})


def _scores(
    weights: Float64[np.ndarray, "*batch n n"], mask: Bool[np.ndarray, "blocks n n"]
) -> Float64[np.ndarray, "*batch"]:
    """Q of each pattern; NaN where there is no attention among the tokens."""
    gaps, totals = weights - expected_weights(weights, mask), weights.sum((-1, -2))
    scores = np.full(totals.shape, np.nan)
    for index in zip(*np.nonzero(totals > 0), strict=True):
        scores[index] = spectral_communities(gaps[index] / totals[index])[1]
    return scores


def _allowed(trace: BeliefTrace, prompt: int) -> Bool[np.ndarray, "blocks n n"]:
    """Which recorded tokens each recorded token may attend to, block by block.

    Sliding windows see the last keys only, and tokens of some models do not see themselves.
    """
    recorded = trace.recorded(prompt)
    # the first token sees itself, because there is nothing else
    nearest = nearest_key(trace.attention).values[prompt][:, None, None] * (recorded > 0)[:, None]
    keys = trace.attention["keys"].isel(sink=0, prompt=prompt).values[:, recorded]
    back = recorded[:, None] - recorded
    return (
        (back >= nearest) & (back < nearest + keys[..., None])
        if trace.causal
        else np.ones((len(keys), *back.shape), dtype=bool)
    )


def expected_weights(
    weights: Float64[np.ndarray, "*batch n n"],
    mask: Bool[np.ndarray, "*#batch n n"],
    *,
    sweeps: int = 2000,
    tolerance: float = 1e-9,
) -> Float64[np.ndarray, "*batch n n"]:
    """a_i b_j M_ij with the row and column sums of `weights`, by iterative proportional fitting (Sinkhorn).

    Args:
        weights: non-negative, zero where the mask is False.
        mask: allowed pairs.
        sweeps: at most so many.
        tolerance: stop once no row sum is off by more than this, relatively.

    Example:
        >>> uniform = np.tri(5) / np.arange(1, 6)[:, None]
        >>> bool(np.abs(expected_weights(uniform, np.tri(5, dtype=bool)) - uniform).max() < 1e-9)
        True
    """
    rows, columns = weights.sum(-1), weights.sum(-2)
    fitted = mask * (rows / np.maximum(mask.sum(-1), 1))[..., None]
    for _ in range(sweeps):
        fitted = fitted * _ratio(columns, fitted.sum(-2))[..., None, :]
        ratio = _ratio(rows, fitted.sum(-1))
        fitted = fitted * ratio[..., None]
        if np.abs(ratio[rows > 0] - 1).max(initial=0) < tolerance:
            break
    return fitted


def spectral_communities(gap: Float64[np.ndarray, "n n"]) -> tuple[Int[np.ndarray, "n"], float]:
    """Partition by repeated bisection along the leading eigenvector of the modularity matrix.

    Args:
        gap: (W - P) / sum W, weights less expected weights.

    Returns:
        labels, and Q = sum_ij gap_ij [c_i = c_j].

    Source: Newman, PNAS 103, 8577 (2006).
    """
    gap = (gap + gap.T) / 2
    labels = np.zeros(len(gap), dtype=np.int64)
    queue = [(np.arange(len(gap)), gap)]
    while queue:
        members, own = queue.pop()
        split = _bisect(own)
        if split is not None:
            labels[members[split]] = labels.max() + 1
            queue += [(members[side], own[side][:, side]) for side in (split, ~split)]
    return labels, float(gap[labels[:, None] == labels].sum())


def _bisect(gap: np.ndarray) -> np.ndarray | None:
    """The split that raises modularity, or None."""
    if len(gap) < 2:
        return None
    generalised = gap.copy()
    generalised.flat[:: len(gap) + 1] -= gap.sum(1)
    split = np.linalg.eigh(generalised)[1][:, -1] > 0
    gain = -2 * gap[split][:, ~split].sum()
    return split if gain > 1e-12 and 0 < split.sum() < len(split) else None


def _ratio(wanted: np.ndarray, present: np.ndarray) -> np.ndarray:
    return np.divide(wanted, present, out=np.zeros_like(wanted), where=present > 0)


DIAGNOSTIC = Diagnostic(
    name="modularity",
    catalogue="D19",
    title="Modularity of attention under the mask",
    depth="block",
    quantities=(
        Quantity(
            "modularity", "1", "excess attention within communities of tokens over what rows, columns and mask make"
        ),
    ),
    requires=frozenset({"attention"}),
    measure=modularity,
    assumption="heads are averaged; expected weights keep row and column sums on the pairs that the mask allows",
    reading="Uneven weights alone score above 0, because the partition is sought: only what exceeds permuted rows is community "
    "structure.",
    undefined="fewer than four recorded tokens",
)
