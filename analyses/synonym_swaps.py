"""Are exchanges of synonyms at lower levels of a grammar suppressed more than those at upper ones, towards the output end?

    python analyses/synonym_swaps.py RUNS [--depth 3] [--sentences 200] [--nulls 5]
    python analyses/synonym_swaps.py RUNS --tables [--figure FILE.png]

On the runs of `random_hierarchy.py train`. One expansion per sentence, at a random place of a given height, is exchanged for a
synonym; the distance between the two states, over that between random sentences, is measured at every height and state, in
the trained model and in untrained ones of the same architecture. Two readings: the state that predicts the label ("readout")
and those of all leaves side by side ("all leaves"). RUNS/depth-3/swaps.json holds, by family,

- distance: means over sentences and training seeds, and the same of the untrained models;
- difference: trained - untrained, with an interval over training seeds and null seeds (Welch's t);
- contrast: ln (d_top / d_leaf), trained - untrained, with such an interval: above 0, training suppressed lower levels more.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from random_hierarchy import GRAMMAR, TEST_SEED, markdown, measured, states_of
from scipy import stats

from rgprobe.diagnostics import synonym_suppression
from rgprobe.testbeds import hierarchy_language, random_hierarchy

READINGS = ("readout", "all leaves")


def main() -> None:
    """Measure, or print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, metavar="RUNS")
    for name, default in (("depth", 3), ("sentences", 200), ("nulls", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--tables", action="store_true", help="print what was measured before")
    parser.add_argument("--figure", type=Path, help="draw it, too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    path = options.runs / f"depth-{options.depth}" / "swaps.json"
    if not options.tables:
        swaps = exchanges(options.depth, options.sentences)
        found = measured(
            options.runs,
            depth=options.depth,
            nulls=options.nulls,
            name=f"swaps-{options.sentences}",
            measure=lambda probe: distances(probe, swaps),
        )
        families = {family: summary(trained, untrained) for family, trained, untrained in found}
        measurement = {"sentences": options.sentences, "nulls": options.nulls, "families": families}
        path.write_text(json.dumps(measurement, indent=1) + "\n", encoding="utf-8")
    result = json.loads(path.read_text("utf-8"))
    print("\n\n".join(tables(result)))
    if options.figure is not None:
        draw(result, options.figure)


def exchanges(depth: int, sentences: int) -> list[np.ndarray]:
    """Token ids of the sentences, and of their exchanged twins from the leaves' level to the root's."""
    rules = random_hierarchy.grammar(depth=depth, **GRAMMAR)
    drawn = random_hierarchy.sample(rules, samples=sentences, seed=TEST_SEED + 1)
    twins = [random_hierarchy.swap_synonyms(rules, drawn, height=h, seed=TEST_SEED + h) for h in range(1, depth + 1)]
    # the label is not shown: the last leaf is where it is predicted
    return [hierarchy_language.token_ids(rules, each)[:, :-1] for each in (drawn, *twins)]


def distances(probe: Any, swaps: list[np.ndarray]) -> np.ndarray:
    """Mean over sentences of the distance over the random-pair spread: (reading, height, state)."""
    states, *twins = (readings(states_of(probe, ids)) for ids in swaps)
    return np.array(
        [[synonym_suppression.swap_distances(states[name], twin[name]).mean(0) for twin in twins] for name in READINGS]
    )


def readings(states: np.ndarray) -> dict[str, np.ndarray]:
    """(sentences, states, features): the last token, and all leaves side by side."""
    leaves = states[:, :, 1:]
    return {"readout": leaves[:, :, -1], "all leaves": leaves.reshape(*leaves.shape[:2], -1)}


def summary(trained: np.ndarray, untrained: np.ndarray) -> dict[str, Any]:
    """Means, differences and contrasts from arrays (seed, reading, height, state)."""
    difference, low, high = against(trained, untrained)
    contrasts = against(*(np.log(runs[:, :, -1] / runs[:, :, 0]) for runs in (trained, untrained)))
    named = zip(READINGS, range(len(READINGS)), strict=True)
    return {
        "training_seeds": len(trained),
        "readings": {
            name: {
                "distance": trained[:, i].mean(0).round(4).tolist(),
                "untrained": untrained[:, i].mean(0).round(4).tolist(),
                "difference": difference[i].round(4).tolist(),
                "difference_interval": np.stack([low[i], high[i]], -1).round(4).tolist(),
                "contrast": contrasts[0][i].round(3).tolist(),
                "contrast_interval": np.stack([contrasts[1][i], contrasts[2][i]], -1).round(3).tolist(),
            }
            for name, i in named
        },
    }


def against(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Difference of means over the first axis with its 95% interval: Welch's, or for a single run a prediction interval.

    A single run is compared with one more draw of the initialiser, t of S - 1 degrees of freedom over S of them.
    """
    gap, count = one.mean(0) - other.mean(0), len(other)
    if len(one) > 1:
        interval = stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
        return gap, np.asarray(interval.low), np.asarray(interval.high)
    half = stats.t.ppf(0.975, count - 1) * other.std(0, ddof=1) * np.sqrt(1 + 1 / count)
    return gap, gap - half, gap + half


def tables(result: dict[str, Any]) -> list[str]:
    """Markdown: distances by height and state, and the contrast between top and leaf."""
    found = []
    for family, entry in result["families"].items():
        for name, reading in entry["readings"].items():
            depth = len(reading["distance"])
            rows = [_height_row(reading, height, depth) for height in range(depth)]
            rows += [_difference_row(reading, height, depth) for height in range(depth)]
            contrast = zip(reading["contrast"], reading["contrast_interval"], strict=True)
            rows.append(
                [
                    "ln (top / leaf), less untrained",
                    *(f"{value:+.2f} [{low:+.2f}, {high:+.2f}]" for value, (low, high) in contrast),
                ]
            )
            head = [f"{family}, {name} (seeds: {entry['training_seeds']})", *map(_state, range(len(rows[0]) - 1))]
            found.append(markdown(head, rows))
    return found


def draw(result: dict[str, Any], path: Path) -> None:
    """Distance against state at the readout, a panel per family; dashed lines are the untrained models."""
    families = result["families"]
    figure, axes = plt.subplots(1, len(families), figsize=(4 * len(families), 3.2), sharey=True, squeeze=False)
    for axis, (family, entry) in zip(axes[0], families.items(), strict=True):
        reading = entry["readings"]["readout"]
        depth = len(reading["distance"])
        for height in range(depth):
            states = range(len(reading["distance"][height]))
            axis.plot(states, reading["distance"][height], "o-", color=f"C{height}", label=_level(height, depth))
            axis.plot(states, reading["untrained"][height], "--", color=f"C{height}")
        axis.set(title=family, xlabel="state (0: input end)", ylim=(0, 1.05), xticks=list(states))
    axes[0, 0].set_ylabel("distance / random-pair spread")
    axes[0, 0].plot([], [], "--", color="gray", label="untrained")
    figure.tight_layout()
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(), title="exchanged at", loc="center left", bbox_to_anchor=(1, 0.55)
    )
    figure.savefig(path, dpi=110, bbox_inches="tight")


def _level(height: int, depth: int) -> str:
    return {0: "leaf", depth - 1: "top"}.get(height, f"height {height + 1}")


def _height_row(reading: dict[str, Any], height: int, depth: int) -> list[str]:
    pairs = zip(reading["distance"][height], reading["untrained"][height], strict=True)
    return [_level(height, depth), *(f"{value:.3f} ({null:.3f})" for value, null in pairs)]


def _difference_row(reading: dict[str, Any], height: int, depth: int) -> list[str]:
    found = zip(reading["difference"][height], reading["difference_interval"][height], strict=True)
    cells = (f"{value:+.2f} [{low:+.2f}, {high:+.2f}]" for value, (low, high) in found)
    return [f"{_level(height, depth)}, less untrained", *cells]


def _state(index: int) -> str:
    return f"state {index}"


if __name__ == "__main__":
    main()
