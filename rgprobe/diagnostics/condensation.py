"""D17: condensation trees of the recorded tokens, one per prompt and depth, and what condensing them loses.

A tree always exists, for noise too. So its loss at a quarter of the tokens is set against partitions with the same
cluster sizes whose members are drawn at random, and against the tree of *another* prompt at the same depth: that one
knows where in a text tokens tend to condense, and nothing of what this text says.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from rgprobe.checks import whole_number
from rgprobe.condensation import CondensationTree, condense, partition_loss
from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity
from rgprobe.errors import OptionError
from rgprobe.gaussian import Gaussian
from rgprobe.tracing import BeliefTrace

__all__ = ["DIAGNOSTIC", "condensation", "tree_of"]

DRAWS = 3
QUANTITIES = ("information", "effective_fraction", "quarter_loss")


def condensation(trace: BeliefTrace) -> Measurement:
    """Trees by moment matching over any pair, and the losses read off them.

    With N recorded tokens: information = D(1), nats per token, which for lens beliefs is the mutual information between
    token and prediction; effective_fraction = m / N for the smallest m with D(m) <= D(1) / 2; quarter_loss =
    D(ceil(N / 4)) / D(1).
    """
    trees = [[tree_of(trace, p, d) for d in range(trace.n_depths)] for p in range(trace.n_prompts)]
    dims = ("prompt", trace.depth_dim)
    measured = np.array([[_losses(tree) for tree in row] for row in trees])
    values = xr.Dataset({name: (dims, measured[..., i]) for i, name in enumerate(QUANTITIES)})
    return Measurement(values, _stored(trees, dims), _partition_nulls(trace, trees, dims))


def tree_of(trace: BeliefTrace, prompt: int, depth: int, *, head: int | None = None) -> CondensationTree:
    """Condensation tree of the recorded tokens of one prompt at one depth, labelled with their texts.

    Args:
        trace: with beliefs.
        prompt: its number.
        depth: state or block, as the beliefs are indexed.
        head: of Gaussian beliefs, this head alone; by default a token's belief is the product over heads.

    Raises:
        OptionError: a head that the beliefs do not have.
    """
    beliefs = _rows(trace.beliefs(prompt, depth))
    if head is not None:
        beliefs = _one_head(beliefs, head)
    return condense(beliefs, labels=trace.recorded_tokens(prompt))


def _one_head(beliefs: np.ndarray | Gaussian, head: int) -> Gaussian:
    if not isinstance(beliefs, Gaussian):
        raise OptionError("head", expected="thermal or native beliefs", received="lens beliefs, which have no heads",
                          remedy="leave it out")  # fmt: skip
    whole_number("head", head, least=0, most=beliefs.batch_shape[1] - 1, remedy="leave it out for all heads")
    return beliefs[:, head]


def _rows(beliefs: np.ndarray | Gaussian) -> np.ndarray | Gaussian:
    return beliefs if isinstance(beliefs, Gaussian) else np.exp(beliefs)


def _losses(tree: CondensationTree) -> tuple[float, float, float]:
    n, total = tree.n_leaves, tree.loss(1)
    if n < 4 or not total > 0:
        return (total if n > 1 else np.nan, np.nan, np.nan)
    return total, tree.effective_clusters() / n, tree.loss(_quarter(n)) / total


def _quarter(n: int) -> int:
    return -(-n // 4)


def _partition_nulls(
    trace: BeliefTrace, trees: list[list[CondensationTree]], dims: tuple[str, str]
) -> dict[str, xr.Dataset]:
    """quarter_loss of partitions that do not know the content, (draw, prompt, depth)."""
    shape = (DRAWS, trace.n_prompts, trace.n_depths)
    losses = {"random_partition": np.full(shape, np.nan), "position_matched": np.full(shape, np.nan)}
    for prompt in range(trace.n_prompts):
        rng = np.random.default_rng([prompt, trace.n_prompts])
        others = [other for other in range(trace.n_prompts) if trees[other][0].n_leaves == trees[prompt][0].n_leaves
                  and other != prompt]  # fmt: skip
        chosen = rng.permutation(others)[:DRAWS]
        for depth, tree in enumerate(trees[prompt]):
            n, total = tree.n_leaves, tree.loss(1)
            if n < 4 or not total > 0:
                continue
            beliefs = _rows(trace.beliefs(prompt, depth))
            labels = tree.cut(n_clusters=_quarter(n))
            partitions = {
                "random_partition": [rng.permutation(labels) for _ in range(DRAWS)],
                "position_matched": [trees[other][depth].cut(n_clusters=_quarter(n)) for other in chosen],
            }
            for name, drawn in partitions.items():
                for draw, partition in enumerate(drawn):
                    losses[name][draw, prompt, depth] = partition_loss(beliefs, partition) / total
    return {
        name: xr.Dataset({"quarter_loss": (("draw", *dims), values)})
        for name, values in losses.items()
        if np.isfinite(values).any()
    }


def _stored(trees: list[list[CondensationTree]], dims: tuple[str, str]) -> xr.Dataset:
    """Parent arrays and merge costs, padded with -2 and NaN, and the number of tied merges."""
    largest = max(tree.n_leaves for row in trees for tree in row)
    parents = np.full((len(trees), len(trees[0]), 2 * largest - 1), -2, dtype=np.int32)
    costs = np.full((len(trees), len(trees[0]), largest - 1), np.nan)
    for p, row in enumerate(trees):
        for d, tree in enumerate(row):
            parents[p, d, : 2 * tree.n_leaves - 1] = tree.parents
            costs[p, d, : tree.n_leaves - 1] = tree.merge_costs
    n_ties = np.array([[tree.n_ties for tree in row] for row in trees], dtype=np.int32)
    return xr.Dataset(
        {"parents": ((*dims, "node"), parents), "merge_costs": ((*dims, "merge"), costs), "n_ties": (dims, n_ties)}
    )


DIAGNOSTIC = Diagnostic(
    name="condensation",
    catalogue="D17",
    title="Condensation of tokens into meta-tokens",
    depth="state",
    quantities=(
        Quantity("information", "nats", "D(1): information lost by merging all recorded tokens, per token"),
        Quantity("effective_fraction", "1", "smallest share of meta-tokens that loses at most half of it"),
        Quantity("quarter_loss", "1", "share of it lost at a quarter as many meta-tokens as tokens"),
    ),
    requires=frozenset({"beliefs"}),
    measure=condensation,
    assumption="greedy merging by moment matching; equal token weights; lens beliefs in the trace's reduced basis, "
    "thermal and native ones as products over heads",
    reading="Tokens condense where few meta-tokens lose little, and less than partitions that do not know the content.",
    undefined="fewer than four recorded tokens; no other prompt with as many recorded tokens (position-matched null)",
)
