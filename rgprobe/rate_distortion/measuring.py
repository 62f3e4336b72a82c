"""D18: do meta-tokens keep what the model computes? Replace tokens by them at a layer, and compare the predictions behind."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor

from rgprobe.checks import checked_seed, whole_number, whole_numbers
from rgprobe.condensation import CondensationTree, condense
from rgprobe.errors import OptionError
from rgprobe.gaussian import Gaussian
from rgprobe.probe.loading import load
from rgprobe.probe.merge_metric import directions, state_metrics
from rgprobe.probe.model import Probe
from rgprobe.probe.patching import Patch, patched_divergence, require_place, states_at
from rgprobe.probe.prompts import unpadded
from rgprobe.rate_distortion.baselines import BASELINES, rolled
from rgprobe.rate_distortion.record import RateDistortion
from rgprobe.tracing import trace

__all__ = ["cluster_means", "faithfulness", "meta_states"]

DRAWS = 3  # of the methods that draw at random
DAMPING = 5.0  # of precision-weighted means, in units of the mean precision
DRAWN = ("random", "contiguous", "rolled")
Labels = Int[np.ndarray, " tokens"]


def faithfulness(
    model: Any,
    prompt: Any,
    *,
    layer: int,
    tree: CondensationTree | None = None,
    merge: slice | None = None,
    score: slice | None = None,
    sizes: Sequence[int] | None = None,
    baselines: Sequence[str] = (*BASELINES, "rolled"),
    partitions: Mapping[str, Labels] | None = None,
    reconstructions: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
    place: str = "residual",
    belief: str = "downstream",
    seed: int = 0,
) -> RateDistortion:
    """Rate-distortion of condensation: nats that predictions lose when tokens are replaced by m meta-tokens at a layer.

    The states of the merged tokens are replaced by their cluster's meta-token, the pass goes on, and predictions at later
    tokens are compared. Averaging over a cluster carries states of its later tokens to its earlier ones, so predictions are
    scored behind the last merged token only: nothing leaks into them. A meta-token's state is the mean over the cluster, or the
    precision-weighted mean where the tree was grown with one (see `meta_states`).

    Args:
        model: anything `rgprobe.load` takes.
        prompt: one text, or its token ids.
        layer: residual state that is patched, 0 (input end) to L; with `place="keys_values"` the block.
        tree: a condensation tree with the merged tokens as leaves; None grows one from `belief` at this layer.
        merge: which tokens may be merged; by default the first half, without token 0, which is an attention sink.
        score: where predictions are compared; by default all tokens behind the merged ones.
        sizes: numbers of meta-tokens; by default 1, 2, 4, ... and a quarter, a half and all of the tokens.
        baselines: other partitions, among `rgprobe.rate_distortion.baselines.BASELINES` and "rolled" (the tree's own, moved
            along the text). Those that draw at random are averaged over three draws.
        partitions: further partitions by name: labels of the merged tokens (sentences, say); one point each.
        reconstructions: encoders and decoders by name, from the merged tokens' states to what replaces them; they have no
            number of clusters, and are reported as if they had as many as there are tokens.
        place: "residual", or "keys_values" of one block, see `rgprobe.probe.patching`.
        belief: of the tree that is grown where none is given. "downstream" merges in the metric of what the scored
            predictions notice (`rgprobe.probe.merge_metric`, `centroid="shift"`); any other is what `rgprobe.trace` takes.
        seed: of the random draws.

    Raises:
        OptionError: unknown names, empty or overlapping ranges, a tree or a partition of other tokens, a layer or sizes
            that are no whole numbers in range.
        PromptError: no single text or row of token ids.
    """
    layer, seed = whole_number("layer", layer, least=0), checked_seed(seed)
    probe = load(model)
    (encoded,) = probe.encode([prompt])
    merged, scored = _ranges(probe, len(encoded), merge, score)
    require_place(probe, layer, scored, place)
    counts = _sizes(sizes, len(merged))
    unknown = sorted(set(baselines) - {*BASELINES, "rolled"})
    if unknown:
        raise OptionError("baselines", expected=f"among {', '.join((*BASELINES, 'rolled'))}", received=", ".join(unknown),
                          remedy="correct the name")  # fmt: skip
    given = {name: _clusters(name, labels, len(merged)) for name, labels in (partitions or {}).items()}
    grown = tree if tree is not None else _tree(probe, encoded.ids, merged, scored, layer, belief)
    if grown.n_leaves != len(merged):
        raise OptionError("tree", expected=f"{len(merged)} leaves, one per merged token", received=str(grown.n_leaves),
                          remedy="condense the tokens of `merge`, or pass the `merge` of the tree")  # fmt: skip
    states = states_at(probe, encoded.ids, layer)[merged].double().cpu().numpy()
    cuts = {count: grown.cut(n_clusters=count) for count in counts}
    methods: dict[str, list[tuple[int, Labels]]] = {"tree": list(cuts.items())}
    for name in baselines:
        draws = range(seed, seed + (DRAWS if name in DRAWN else 1))
        methods[name] = [
            (count, rolled(cuts[count], draw) if name == "rolled" else BASELINES[name](states, count, draw))
            for count in counts
            for draw in draws
        ]
    for name, labels in given.items():
        methods[name] = [(int(labels.max()) + 1, labels)]
    own = _own_meta_states(grown) if place == "residual" else cluster_means
    # all in one go: the unpatched pass is made once, and patches of all partitions fill its batches
    points = [("", 1, _merging(merged, np.zeros(len(merged), dtype=np.int64), cluster_means))]
    for name, each in methods.items():
        meta = own if name == "tree" else cluster_means
        points += [(name, count, _merging(merged, labels, meta)) for count, labels in each]
    points += [(name, len(merged), _at(merged, change)) for name, change in (reconstructions or {}).items()]
    patches = [patch for _, _, patch in points]
    lost = patched_divergence(probe, encoded.ids, patches, state=layer, score=scored, place=place).tolist()
    whole, measured = lost[0], [(name, count, nats) for (name, count, _), nats in zip(points, lost, strict=True)][1:]
    options = {"layer": layer, "place": place, "belief": belief if tree is None else None, "seed": seed,
               "merge": [int(merged[0]), int(merged[-1]) + 1], "score": [int(scored[0]), int(scored[-1]) + 1]}  # fmt: skip
    return RateDistortion(_dataset(measured, len(merged), whole, probe, encoded.text, options))


def cluster_means(
    states: Float[Tensor, "tokens features"], labels: Int[Tensor, " tokens"]
) -> Float[Tensor, "tokens features"]:
    """Every token's state replaced by the mean over its cluster.

    Example:
        >>> cluster_means(torch.tensor([[0.0], [2.0], [5.0]]), torch.tensor([0, 0, 1]))
        tensor([[1.],
                [1.],
                [5.]])
    """
    count = int(labels.max()) + 1
    sums = states.new_zeros(count, states.shape[1], dtype=torch.float64).index_add_(0, labels, states.double())
    members = torch.bincount(labels, minlength=count).clamp_min(1)
    return (sums / members[:, None])[labels].to(states.dtype)


def meta_states(
    states: Float[Tensor, "tokens features"], labels: Int[Tensor, " tokens"], beliefs: Gaussian
) -> Float[Tensor, "tokens features"]:
    """Every token's state replaced by its cluster's: the precision-weighted mean direction, with the mean length.

    The beliefs' means z are linear in the directions u of the states, u = a + B z + rest: the meta-token has the
    precision-weighted mean of z and the plain mean of the rest. Precisions that were estimated from few gradients would send
    it far outside of its cluster, along directions that none of them saw, so `DAMPING` times their mean is added to all.

    Args:
        states: of the merged tokens.
        labels: cluster of each, 0 ... m - 1.
        beliefs: of each, batch shape (tokens,) or (tokens, 1).
    """
    units, lengths = directions(states.double().cpu())
    labels = labels.cpu()
    z = beliefs.mean.reshape(len(states), -1).double()
    slope = torch.linalg.lstsq(z - z.mean(0), units - units.mean(0), driver="gelsd").solution
    precision = beliefs.reshape(len(states)).precision.double()
    scale = DAMPING * precision.diagonal(dim1=-2, dim2=-1).mean()
    precision = precision + scale * torch.eye(z.shape[1], dtype=z.dtype)
    count = int(labels.max()) + 1
    total = precision.new_zeros(count, *precision.shape[1:]).index_add_(0, labels, precision)
    pull = z.new_zeros(count, z.shape[1]).index_add_(0, labels, (precision @ z[..., None])[..., 0])
    centres = torch.linalg.solve(total, pull)[labels]
    moved = cluster_means(units, labels) + (centres - cluster_means(z, labels)) @ slope
    return (cluster_means(lengths, labels) * moved).to(states)


def _own_meta_states(tree: CondensationTree) -> Callable[[Tensor, Tensor], Tensor]:
    """How the meta-tokens of this tree come by their states."""
    beliefs = tree.beliefs
    if tree.centroid == "moment" or not isinstance(beliefs, Gaussian) or beliefs.batch_shape.numel() != tree.n_leaves:
        return cluster_means
    return lambda states, labels: meta_states(states, labels, beliefs)


def _merging(merged: Tensor, labels: Labels, meta: Callable[[Tensor, Tensor], Tensor]) -> Patch:
    """The merged tokens' states become those of their clusters' meta-tokens."""
    clusters = torch.from_numpy(np.asarray(labels, dtype=np.int64))
    return _at(merged, lambda states: meta(states, clusters.to(states.device)))


def _at(merged: Tensor, change: Callable[[Tensor], Tensor]) -> Patch:
    """A change of the merged tokens' states alone."""

    def patch(here: Tensor) -> Tensor:
        row = here.clone()
        row[merged] = change(here[merged]).to(here)
        return row

    return patch


def _tree(probe: Probe, ids: Tensor, merged: Tensor, scored: Tensor, layer: int, belief: str) -> CondensationTree:
    if belief == "downstream":
        return condense(state_metrics(probe, ids, merged, scored=scored)[layer], centroid="shift")
    traced = trace(
        probe, unpadded([ids]), belief=belief, positions=merged.tolist(), sink="include", collect=["beliefs"]
    )
    if layer >= traced.n_depths:  # beliefs of blocks are those that enter them
        raise OptionError("belief", expected=f"one that exists at state {layer}, such as lens", received=repr(belief),
                          remedy="choose another belief, or an earlier layer")  # fmt: skip
    return condense(_probabilities(traced.beliefs(0, layer)), labels=traced.recorded_tokens(0))


def _probabilities(beliefs: Any) -> Any:
    """Lens beliefs are kept as logarithms."""
    return np.exp(beliefs) if isinstance(beliefs, np.ndarray) else beliefs


def _ranges(probe: Probe, length: int, merge: slice | None, score: slice | None) -> tuple[Tensor, Tensor]:
    merged = _tokens("merge", merge if merge is not None else slice(min(1, length - 1), max(length // 2, 1)), length)
    scored = _tokens("score", score if score is not None else slice(int(merged[-1]) + 1, None), length)
    if probe.causal and int(scored[0]) <= int(merged[-1]):
        raise OptionError(
            "score", expected=f"tokens behind the last merged one, {int(merged[-1])}", received=f"token {int(scored[0])}",
            remedy="score later tokens: meta-tokens carry the future of their earlier members",
        )  # fmt: skip
    return merged, scored


def _tokens(name: str, chosen: slice, length: int) -> Tensor:
    """Indices of the tokens in a slice, in order."""
    try:
        found = sorted(range(length)[chosen]) if isinstance(chosen, slice) else []
    except (TypeError, ValueError):  # bounds that are no whole numbers; a step of zero
        found = []
    if not found:
        raise OptionError(name, expected=f"a slice that holds at least one token of {length}", received=repr(chosen),
                          remedy="such as merge=slice(1, 17), score=slice(17, None)")  # fmt: skip
    return torch.tensor(found)


def _clusters(name: str, labels: Any, tokens: int) -> Labels:
    """Labels of a partition that was given, as 0 ... m - 1."""
    kept = labels if isinstance(labels, np.ndarray) else np.array(whole_numbers(f"partitions[{name!r}]", labels))
    if kept.shape != (tokens,) or kept.dtype.kind not in "iu":
        raise OptionError(f"partitions[{name!r}]", expected=f"{tokens} whole numbers, one per merged token",
                          received=f"{kept.dtype} of shape {kept.shape}", remedy="label the tokens of `merge`")  # fmt: skip
    return np.unique(kept, return_inverse=True)[1]


def _sizes(sizes: Sequence[int] | None, tokens: int) -> list[int]:
    if sizes is None:
        doubling = [2**power for power in range(tokens.bit_length())]
        return sorted({*(size for size in doubling if size < tokens), max(tokens // 4, 1), max(tokens // 2, 1), tokens})
    counts = whole_numbers("sizes", sizes, least=1, most=tokens, remedy="leave out the others")
    if not counts:
        raise OptionError("sizes", expected=f"numbers from 1 to {tokens}", received="none", remedy="leave sizes out")
    return sorted(set(counts))


def _dataset(
    measured: Sequence[tuple[str, int, float]],
    tokens: int,
    whole: float,
    probe: Probe,
    text: str,
    options: dict[str, Any],
) -> xr.Dataset:
    names = list(dict.fromkeys(name for name, _, _ in measured))
    counts = sorted({count for _, count, _ in measured})
    distortion = np.full((len(names), len(counts)), np.nan)
    for row, name in enumerate(names):
        for column, count in enumerate(counts):
            values = [nats for at, size, nats in measured if (at, size) == (name, count)]
            distortion[row, column] = np.mean(values) if values else np.nan
    relative = distortion / whole if whole > 0 else np.full_like(distortion, np.nan)
    share = np.array(counts) / tokens
    area = [
        float(np.trapezoid(row[known], share[known])) if (known := np.isfinite(row)).sum() > 1 else np.nan
        for row in relative
    ]
    provenance = {"source": {"name": probe.name, "sha256": probe.source.sha256}, "prompt": text, "options": options}
    return xr.Dataset(
        {
            "distortion": (("partition", "clusters"), distortion, {"units": "nats per scored token"}),
            "relative": (("partition", "clusters"), relative, {"units": "1"}),
            "area": ("partition", area, {"units": "1"}),
        },
        coords={"partition": names, "clusters": counts},
        attrs={"tokens": tokens, "provenance": json.dumps(provenance, sort_keys=True)},
    )
