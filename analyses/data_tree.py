"""Does the tree of a model's activations agree with the tree of the data it was trained on, layer by layer? (D34)

    python analyses/data_tree.py SOURCE [--types 200] [--windows 6] [--nulls 5] [--out DIR]
    python analyses/data_tree.py RUNS/depth-3/gauge/seed-0 [--sentences 10000] [--nulls 5] [--out DIR]

With a checkpoint trained on the plays ("standard-small", "gauge-small"): the tree of the most frequent tokens by positive PMI
with what stands up to two places before and after them, over the training plays, against the tree of their mean states.
With a run of `random_hierarchy.py`: the tree of positions by mutual information between tokens against that between states,
and the tree of groups of two leaves by PMI with their sibling groups against that of their mean states (read behind the
group's second leaf). The parse is known there: positions are scored by bracket F1 against it, groups by the adjusted Rand index
of the cut into symbols. Single leaves have no tree: rules are dealt at random, so no two symbols are nearer than others.

Every number has two nulls: untrained models of the same architecture, and the data's tree with its leaves permuted (the band
holds 95% of 999 draws; where 20 leaves or fewer are permuted it is wide). Intervals for the plays are jackknifes over plays.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from artefacts import OUT_HELP, artefacts
from random_hierarchy import GRAMMAR, TEST_SEED, markdown, states_of
from scipy import stats
from scipy.cluster.hierarchy import fcluster
from sklearn.metrics import adjusted_rand_score

import rgprobe as rg
from rgprobe.diagnostics import data_tree
from rgprobe.models.corpus import load_corpus
from rgprobe.testbeds import hierarchy_language, random_hierarchy

OFFSETS = (-2, -1, 1, 2)
Scores = dict[str, list[float]]


def main() -> None:
    """Measure and print; write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", metavar="SOURCE")
    for name, default in (("types", 200), ("windows", 6), ("sentences", 10_000), ("nulls", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--out", type=Path, metavar="DIR", help=OUT_HELP)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with artefacts(options.out, "data_tree") as keep:
        grammar = Path(options.source) / "hierarchy.json"
        probe = rg.load(options.source, device="cpu")
        result = on_hierarchy(probe, grammar, options) if grammar.exists() else on_plays(probe, options)
        result["source"] = "/".join(Path(options.source).parts[-3:])  # a run's place among its kind
        print(table(result))
        keep(result)


def with_nulls(probe: Any, score: Callable[[Any], Scores], seeds: int) -> dict[str, Any]:
    """Scores of the model, and of untrained ones: mean, and 95% prediction band of one more."""
    result: dict[str, Any] = {"trained": score(probe), "untrained": {}, "untrained_band": {}}
    drawn: list[Scores] = []
    for seed in range(seeds):
        with probe.randomised(seed=seed) as null:
            drawn.append(score(null))
    for name in result["trained"] if drawn else ():
        values = np.array([each[name] for each in drawn])
        result["untrained"][name] = values.mean(0).round(4).tolist()
        half = stats.t.ppf(0.975, max(seeds - 1, 1)) * values.std(0, ddof=min(1, seeds - 1)) * np.sqrt(1 + 1 / seeds)
        result["untrained_band"][name] = np.stack([values.mean(0) - half, values.mean(0) + half], -1).round(4).tolist()
    return result


def on_hierarchy(probe: Any, grammar: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Positions and groups of a run on the random hierarchy model."""
    depth = json.loads(grammar.read_text("utf-8"))["grammar"]["depth"]
    rules = random_hierarchy.grammar(depth=depth, **GRAMMAR)
    drawn = random_hierarchy.sample(rules, samples=options.sentences, seed=TEST_SEED + 2)
    ids = hierarchy_language.token_ids(rules, drawn)[:, :-1]
    floor = (rules.vocabulary - 1) ** 2 / (2 * options.sentences)
    positions = data_tree.information_tree(data_tree.position_information(drawn.leaves), floor=floor)
    kinds, groups = grouped(drawn)
    types, symbols = group_tree(groups, len(kinds)), symbols_of(rules, kinds)
    clades = random_hierarchy.clades(rules)

    def score(model: Any) -> Scores:
        states = np.concatenate([states_of(model, part).astype(np.float32) for part in np.array_split(ids, 40)])
        found: Scores = {"positions, cophenetic": [], "positions, F1": [], "groups, cophenetic": [], "groups, ARI": []}
        for state in np.moveaxis(states[:, :, 1:], 1, 0):
            tree = data_tree.information_tree(data_tree.state_information(state), floor=floor)
            found["positions, cophenetic"].append(data_tree.cophenetic_agreement(positions, tree))
            found["positions, F1"].append(data_tree.parse_recall(tree, clades))
            means = sums_by_type(state[:, 1::2], groups, len(kinds)) / np.bincount(groups.ravel())[:, None]
            tree = data_tree.profile_tree(means)
            found["groups, cophenetic"].append(data_tree.cophenetic_agreement(types, tree))
            found["groups, ARI"].append(recovered(tree, symbols))
        return found

    data = {
        "positions, F1": data_tree.parse_recall(positions, clades),
        "groups, ARI": recovered(types, symbols),
        "positions permuted band": band(data_tree.permuted_agreement(positions, positions)),
        "groups permuted band": band(data_tree.permuted_agreement(types, types)),
    }
    return {
        "source": probe.name,
        "sentences": options.sentences,
        "data": data,
        **with_nulls(probe, score, options.nulls),
    }


def grouped(drawn: random_hierarchy.Sentences) -> tuple[np.ndarray, np.ndarray]:
    """The expansions that leaves form, and which of them stands where: (kinds, 2), (sentences, groups)."""
    pairs = drawn.leaves.reshape(len(drawn.leaves), -1, 2)
    kinds, which = np.unique(pairs.reshape(-1, 2), axis=0, return_inverse=True)
    return kinds, which.reshape(pairs.shape[:2])


def group_tree(groups: np.ndarray, kinds: int) -> np.ndarray:
    """Tree of groups by the sibling groups to their right and left."""
    counts = np.zeros((kinds, 2 * kinds))
    np.add.at(counts, (groups[:, ::2], groups[:, 1::2]), 1)
    np.add.at(counts, (groups[:, 1::2], kinds + groups[:, ::2]), 1)
    return data_tree.profile_tree(data_tree.pointwise_information(counts))


def symbols_of(rules: random_hierarchy.Grammar, kinds: np.ndarray) -> list[int]:
    """The symbol that each group of leaves is an expansion of."""
    above = {tuple(row): symbol for symbol, rows in enumerate(rules.rules[-1].tolist()) for row in rows}
    return [above[tuple(kind)] for kind in kinds.tolist()]


def recovered(tree: np.ndarray, symbols: list[int]) -> float:
    """Adjusted Rand index of the cut into as many clusters as there are symbols."""
    return float(adjusted_rand_score(symbols, fcluster(tree, len(set(symbols)), "maxclust")))


def sums_by_type(states: np.ndarray, types: np.ndarray, count: int) -> np.ndarray:
    """Sum of the states of each type's occurrences, (count, width); types below 0 are passed over."""
    kept = types.ravel() >= 0
    sums = np.zeros((count, states.shape[-1]))
    np.add.at(sums, types.ravel()[kept], states.reshape(-1, states.shape[-1])[kept])
    return sums


def on_plays(probe: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Frequent tokens of the training plays."""
    plays = [document.text for document in load_corpus().train]
    # the tokenizer itself: its wrapper warns that a play is longer than the context
    encoded = probe.tokenizer.backend_tokenizer.encode_batch(plays, add_special_tokens=False)
    texts = [np.array(text.ids) for text in encoded]
    frequent = np.argsort(-np.bincount(np.concatenate(texts)), kind="stable")[: options.types]
    number = np.full(probe.vocabulary, -1)
    number[frequent] = np.arange(options.types)
    counts = np.array([context_counts(number[text], options.types) for text in texts])
    windows = [np.array(list(cut(text, options.windows, probe.context))) for text in texts]
    tree = data_tree.profile_tree(data_tree.pointwise_information(counts.sum(0)))
    collected = collect(probe, windows, number, options.types)
    result = with_nulls(
        probe,
        lambda model: {
            "cophenetic": agreements(
                tree, *(collected if model is probe else collect(model, windows, number, options.types))
            )
        },
        options.nulls,
    )
    result["half_interval"] = {"cophenetic": jackknife_half(counts, *collected)}
    shown = probe.tokenizer.convert_ids_to_tokens(frequent[:12].tolist())
    permuted = band(data_tree.permuted_agreement(tree, tree))
    data = {"types": options.types, "first types": shown, "permuted band": permuted}
    return {"windows": options.windows * len(texts), "data": data, **result}


def collect(model: Any, windows: list[np.ndarray], number: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums of the states of each type, (plays, states, types, width), and how often each was seen, (plays, types)."""
    sums, seen = [], []
    for play in windows:
        types = number[play[:, 1:]]
        seen.append(np.bincount(types[types >= 0], minlength=count))
        sums.append(
            [sums_by_type(state, types, count) for state in np.moveaxis(states_of(model, play)[:, :, 1:], 1, 0)]
        )
    return np.array(sums), np.array(seen)


def agreements(tree: np.ndarray, sums: np.ndarray, seen: np.ndarray) -> list[float]:
    """Cophenetic correlation with the data's tree, state by state."""
    means = sums.sum(0) / seen.sum(0)[:, None]  # every frequent type is seen, or profile_tree refuses its NaN
    return [data_tree.cophenetic_agreement(tree, data_tree.profile_tree(state)) for state in means]


def jackknife_half(counts: np.ndarray, sums: np.ndarray, seen: np.ndarray) -> list[float]:
    """Half of the 95% interval, from leaving out one play after another, on both sides."""
    plays = len(counts)
    left_out = []
    for play in range(plays):
        rest = np.arange(plays) != play
        tree = data_tree.profile_tree(data_tree.pointwise_information(counts.sum(0) - counts[play]))
        left_out.append(agreements(tree, sums[rest], seen[rest]))
    error = np.sqrt((plays - 1) * np.var(left_out, axis=0))
    return (stats.t.ppf(0.975, plays - 1) * error).round(4).tolist()


def band(draws: np.ndarray) -> list[float]:
    """Where 95% of the permuted trees fall."""
    return np.quantile(draws, [0.025, 0.975]).round(4).tolist()


def table(result: dict[str, Any]) -> str:
    """Markdown: every score by state, trained (untrained)."""
    rows = []
    for name, values in result["trained"].items():
        nulls = result["untrained_band"].get(name, [[np.nan, np.nan]] * len(values))
        rows.append(
            [name, *(f"{value:.3f} [{low:.2f}, {high:.2f}]" for value, (low, high) in zip(values, nulls, strict=True))]
        )
        if name in result.get("half_interval", {}):
            rows.append(["95% interval over plays", *(f"± {half:.3f}" for half in result["half_interval"][name])])
    head = [f"{result['source']}: value [untrained band]", *(f"state {k}" for k in range(len(rows[0]) - 1))]
    facts = "; ".join(f"{name}: {value}" for name, value in result["data"].items() if name != "first types")
    return markdown(head, rows) + f"\n\nData: {facts}."


def context_counts(types: np.ndarray, count: int) -> np.ndarray:
    """How often each frequent token has which other at each offset: (types, offsets x types)."""
    found = np.zeros((len(OFFSETS), count, count))
    for table, offset in zip(found, OFFSETS, strict=True):
        left, right = types[: -abs(offset)], types[abs(offset) :]
        token, context = (left, right) if offset > 0 else (right, left)
        both = (token >= 0) & (context >= 0)
        np.add.at(table, (token[both], context[both]), 1)
    return np.hstack(found)


def cut(text: np.ndarray, windows: int, context: int) -> Iterator[np.ndarray]:
    """Evenly spaced windows, each behind the opening token."""
    for start in np.linspace(0, len(text) - context, windows).astype(int):
        yield np.concatenate([[hierarchy_language.BOS_ID], text[start : start + context - 1]])


if __name__ == "__main__":
    main()
