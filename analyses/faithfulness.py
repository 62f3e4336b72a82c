"""Do meta-tokens keep what a model computes better than any obvious grouping of its tokens, and at which layers?

    python analyses/faithfulness.py SOURCE... --out DIR [--prompts SET|FILE ...] [--texts 30] [--layers 1 3 5] [--draws 50]
        [--floor 0.5] [--unseen] [--greedy]

The first half of each text is merged to a half and to a quarter of its tokens, at one layer at a time, and the predictions of
the second half are compared with those of the unpatched model. The tree is grown in the metric of what those predictions
notice (`rgprobe.probe.merge_metric`); with `--unseen`, of what every other one of them notices, and all partitions are scored
by the rest. `--greedy` adds a partition that goes on from the tree's half to the quarter by trying all pairs of clusters: the
two whose merging loses least, measured by a patched pass, are merged. Written to DIR: faithfulness.json, a row per model,
layer and size with the distortion of every partition in units of merging everything; faithfulness.md, the tree against the
best of the groupings by activations (Ward's tree, k-means, bipartite matching: whichever has the least mean), with a bootstrap
interval over texts for the ratio of the means; and faithfulness.svg, both over depth.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from artefacts import save_figure
from jaxtyping import Int
from torch import Tensor

import rgprobe as rg
from rgprobe.cli.prompt_file import read_prompts
from rgprobe.condensation import condense
from rgprobe.models.shipped import prompts_unseen_by
from rgprobe.probe.merge_metric import DRAWS, FLOOR, state_metrics
from rgprobe.probe.model import Probe
from rgprobe.probe.patching import Patch, patched_divergence
from rgprobe.rate_distortion.measuring import cluster_means

ACTIVATIONS = ("ward", "k_means", "bipartite")
BASELINES = (*ACTIVATIONS, "windows", "contiguous", "random", "rolled")
LONGEST = 96  # tokens of a text; the first half is merged
SHARES = (2, 4)


def main() -> None:
    """Measure every source, write table and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", metavar="SOURCE")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--prompts", nargs="+", help="held_out for shipped models, else passages")
    parser.add_argument("--texts", type=int, default=30)
    parser.add_argument("--layers", type=int, nargs="+")
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--floor", type=float, default=FLOOR, help="isotropic part of the metric, in units of its mean")
    parser.add_argument("--unseen", action="store_true", help="score predictions that the tree has not seen")
    parser.add_argument("--greedy", action="store_true", help="also merge by measured losses, from the half on: dear")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    rows = [row for source in options.sources for row in measured(source, options)]
    (options.out / "faithfulness.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    (options.out / "faithfulness.md").write_text("\n".join(table(rows)) + "\n", encoding="utf-8")
    draw(rows, options.out / "faithfulness.svg")
    print("\n".join(table(rows)))


def measured(source: str, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row per layer and size: relative distortions by partition, one per text."""
    model = rg.load(source)
    chosen = options.prompts or [prompts_unseen_by(source)]
    texts = [text for name in chosen for text in read_prompts(name)][: options.texts]
    layers = options.layers or list(range(1, model.n_blocks))
    found: dict[tuple[int, int], dict[str, list[float]]] = {}
    for text in texts:
        (prompt,) = model.encode([text], truncate=True)
        ids = prompt.ids[:LONGEST]
        half, step = len(ids) // 2, 2 if options.unseen else 1
        merged, seen = torch.arange(1, half), torch.arange(half, len(ids), step)
        metrics = state_metrics(model, ids, merged, scored=seen, draws=options.draws, floor=options.floor)
        sizes = {share: max(len(merged) // share, 1) for share in SHARES}
        for layer in layers:
            tree = condense(metrics[layer], centroid="shift")
            greedy = {}
            if options.greedy:
                start, end = tree.cut(n_clusters=sizes[SHARES[0]]), sizes[SHARES[-1]]
                greedy["greedy"] = merged_by_measured_loss(model, ids, merged, seen, layer, start, end)
            curve = rg.faithfulness(
                model, ids, layer=layer, tree=tree, merge=slice(1, half), score=slice(half + step - 1, None, step),
                sizes=tuple(sizes.values()), baselines=BASELINES, partitions=greedy,
            )  # fmt: skip
            for share, size in sizes.items():
                cell = found.setdefault((layer, share), {name: [] for name in curve.partitions})
                for name in curve.partitions:
                    cell[name].append(float(curve.data["relative"].sel(partition=name, clusters=size)))
    for (layer, share), cell in found.items():
        known = {name: values for name, values in cell.items() if np.isfinite(values).all()}
        yield {
            "model": model.name, "layer": layer, "depth": layer / model.n_blocks, "share": share, "relative": known,
            "scored": "unseen" if options.unseen else "seen",
        }  # fmt: skip


def merged_by_measured_loss(
    model: Probe,
    ids: Int[Tensor, " tokens"],
    merged: Int[Tensor, " merged"],
    scored: Int[Tensor, " scored"],
    layer: int,
    labels: Int[np.ndarray, " merged"],
    size: int,
) -> Int[np.ndarray, " merged"]:
    """Go on from ``labels`` to ``size`` clusters by the pair whose merging loses least when it is tried.

    A pair that has been tried keeps what it added, whatever was merged elsewhere since.
    """

    def patch(grouped: np.ndarray) -> Patch:
        clusters = torch.from_numpy(np.unique(grouped, return_inverse=True)[1])

        def means(states: Tensor) -> Tensor:
            row = states.clone()
            row[merged] = cluster_means(states[merged], clusters.to(states.device))
            return row

        return means

    added: dict[frozenset[int], float] = {}  # by a pair of clusters, each known by a label that no other ever has
    labels, fresh = labels.copy(), len(labels)
    while len(clusters := np.unique(labels)) > size:
        pairs = [(a, b) for a, b in combinations(clusters.tolist(), 2) if frozenset((a, b)) not in added]
        tried = [labels, *(np.where(labels == b, a, labels) for a, b in pairs)]
        whole, *each = patched_divergence(model, ids, [patch(x) for x in tried], state=layer, score=scored).tolist()
        added |= {frozenset(pair): loss - whole for pair, loss in zip(pairs, each, strict=True)}
        best = min((frozenset(pair) for pair in combinations(clusters.tolist(), 2)), key=added.__getitem__)
        labels[np.isin(labels, list(best))] = fresh
        fresh += 1
    return np.unique(labels, return_inverse=True)[1]


def compared(row: dict[str, Any]) -> tuple[str, float, float, float]:
    """The best grouping by activations, and the ratio of the tree's mean to its mean with a 95% interval over texts."""
    means = {name: float(np.mean(row["relative"][name])) for name in ACTIVATIONS}
    best = min(means, key=means.__getitem__)
    tree, other = (np.array(row["relative"][name]) for name in ("tree", best))
    draws = np.random.default_rng(0).integers(len(tree), size=(2000, len(tree)))
    low, high = np.percentile(tree[draws].mean(1) / other[draws].mean(1), [2.5, 97.5])
    return best, float(tree.mean() / other.mean()), float(low), float(high)


def table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Markdown: a line per model, layer and size."""
    yield "| model | layer | tokens kept | tree | best grouping by activations | windows | random | tree / best (95%) |"
    yield "|---|---|---|---|---|---|---|---|"
    for row in rows:
        best, ratio, low, high = compared(row)
        mean = {name: float(np.mean(values)) for name, values in row["relative"].items()}
        cells = (
            row["model"], str(row["layer"]), f"1/{row['share']}", f"{mean['tree']:.3f}", f"{mean[best]:.3f} ({best})",
            f"{mean['windows']:.3f}", f"{mean['random']:.3f}", f"{ratio:.2f} ({low:.2f} to {high:.2f})",
        )  # fmt: skip
        yield f"| {' | '.join(cells)} |"


def unseen_table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Markdown: a line per model, layer, size and kind of prediction, with merging by measured loss where it was tried."""
    yield (
        "| model | layer | tokens kept | predictions | texts | tree / best (95%) | by measured loss / best | best grouping |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for row in rows:
        best, ratio, low, high = compared(row)
        mean = {name: float(np.mean(values)) for name, values in row["relative"].items()}
        cells = (
            row["model"], str(row["layer"]), f"1/{row['share']}", row["scored"], str(len(row["relative"]["tree"])),
            f"{ratio:.2f} ({low:.2f} to {high:.2f})",
            f"{mean['greedy'] / mean[best]:.2f}" if "greedy" in mean else "", f"{mean[best]:.3f} ({best})",
        )  # fmt: skip
        yield f"| {' | '.join(cells)} |"


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Relative distortion over depth: a panel per model and size."""
    from matplotlib.figure import Figure
    from matplotlib.style import context

    colours = {"tree": "#2b7bba", "ward": "#d1662c", "bipartite": "#16907a", "k_means": "#b0609a", "windows": "#868b93"}
    models = list(dict.fromkeys(row["model"] for row in rows))
    style = {"font.size": 7.5, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "rgprobe"}
    with context(style):
        figure = Figure(figsize=(6.9, 1.9 * len(models) + 0.4), layout="constrained")
        panels = figure.subplots(len(models), len(SHARES), squeeze=False, sharex=True)
        for line, model in zip(panels, models, strict=True):
            for panel, share in zip(line, SHARES, strict=True):
                cells = [row for row in rows if (row["model"], row["share"]) == (model, share)]
                for name, colour in colours.items():
                    means = [np.mean(cell["relative"][name]) for cell in cells]
                    width = 1.8 if name == "tree" else 1.0
                    panel.plot([cell["depth"] for cell in cells], means, color=colour, lw=width, label=name, marker=".")
                panel.set_yscale("log")
                panel.set_title(f"{Path(model).name}, 1/{share} of the tokens kept", fontsize=7.5, loc="left")
                panel.set_ylabel("distortion / that of one")
        for panel in panels[-1]:
            panel.set_xlabel("relative depth of the patched layer")
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
        save_figure(figure, path)


if __name__ == "__main__":
    main()
