"""D19: modularity of attention among the recorded tokens, with a null that knows the mask.

The textbook null, k_i k_j / 2m, ignores that a causal mask forbids half of the pairs: uniform causal attention then has
modularity 0.134 and two "communities". Here the expected weight is the maximum-entropy one with the same row and column
sums *on the allowed pairs*, P_ij = a_i b_j M_ij; uniform causal attention is of that form, and scores exactly zero.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float64, Int

from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity, nearest_key
from rgprobe.tracing import BeliefTrace

__all__ = ["DIAGNOSTIC", "expected_weights", "modularity", "spectral_communities"]


def modularity(trace: BeliefTrace) -> Measurement:
    """Newman modularity of head-averaged attention under the masked null, at the partition found spectrally."""
    scores = np.full((trace.n_prompts, trace.graph.sizes["block"]), np.nan)
    for prompt in range(trace.n_prompts):
        count = len(trace.recorded(prompt))
        if count < 4:
            continue
        mask = _allowed(trace, prompt)
        weights = trace.graph.values[prompt, :, :count, :count]
        gaps = weights - expected_weights(weights, mask)
        totals = weights.sum((-1, -2))
        for block in np.flatnonzero(totals > 0):
            scores[prompt, block] = spectral_communities(gaps[block] / totals[block])[1]
    return Measurement(xr.Dataset({"modularity": (("prompt", "block"), scores)}))


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
    queue = [np.arange(len(gap))]
    while queue:
        members = queue.pop()
        split = _bisect(gap[np.ix_(members, members)])
        if split is not None:
            labels[members[split]] = labels.max() + 1
            queue += [members[split], members[~split]]
    return labels, float(gap[labels[:, None] == labels].sum())


def _bisect(gap: np.ndarray) -> np.ndarray | None:
    """The split that raises modularity, or None."""
    if len(gap) < 2:
        return None
    generalised = gap - np.diag(gap.sum(1))
    split = np.linalg.eigh(generalised)[1][:, -1] > 0
    gain = -2 * gap[np.ix_(split, ~split)].sum()
    return split if gain > 1e-12 and 0 < split.sum() < len(split) else None


def _ratio(wanted: np.ndarray, present: np.ndarray) -> np.ndarray:
    return np.divide(wanted, present, out=np.zeros_like(wanted), where=present > 0)


DIAGNOSTIC = Diagnostic(
    name="modularity",
    catalogue="D19",
    title="Modularity of attention under the mask",
    depth="block",
    quantities=(Quantity("modularity", "1", "excess attention within communities of tokens over the masked null"),),
    requires=frozenset({"attention"}),
    measure=modularity,
    assumption="heads are averaged; the null keeps row and column sums on the pairs that the mask allows",
    reading="0 is no community structure beyond the mask and the popularity of keys.",
    undefined="fewer than four recorded tokens",
)
