"""Does a tree made of what a trained model computes on one sentence show the parse of that sentence?

    python analyses/planted_hierarchy.py train RUNS [--shapes varied fixed] [--readers bidirectional ...] [--seeds 0 1 2]
    python analyses/planted_hierarchy.py trees RUNS [--sentences 24] [--contexts 32] [--nulls 5] [--beliefs 1]
    python analyses/planted_hierarchy.py tables RUNS
    python analyses/planted_hierarchy.py figure RUNS FILE.svg
    python analyses/planted_hierarchy.py brackets SOURCE --brackets FILE.ptb [--state K] [--contexts 24]

The first trains models that fill gaps (`cloze_models.py`). The second builds trees of single sentences, at every state:
average linkage on the interaction between leaves (how much the prediction of one changes when the state of another is
exchanged; mean over contexts, which are the same sentence with other leaves hidden), and condensation trees of beliefs. It
scores them by unlabelled bracket F1 beside untrained models, beside trees that read nothing and beside the trees of other
sentences; what has been measured is kept in the runs and read back. Beliefs and gradients are measured for the first
`--beliefs` models of each kind alone. The state that is reported was chosen on 8 other sentences. The last does the same for
a model of your own and sentences whose brackets you have.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import bracketed_text
import numpy as np
import planted_tables
import planted_trees
import torch
from cloze_models import LANGUAGES, READERS, TEST_SEED, Clades, Language, finished, train_missing
from crossed_intervals import crossed_interval
from planted_trees import ADJACENCIES, BELIEFS, INTERACTIONS

import rgprobe as rg
from rgprobe.condensation import brackets
from rgprobe.probe.model import Probe

DEVELOPMENT = 8  # sentences on which state and adjacency are chosen
BELIEF_SENTENCES = 12


def main() -> None:
    """Train, measure trees, print tables, draw, or read brackets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("train", "trees", "tables", "figure"):
        command = commands.add_parser(name)
        command.add_argument("runs", type=Path, metavar="RUNS")
        command.add_argument("--shapes", nargs="+", choices=sorted(LANGUAGES), default=list(LANGUAGES))
        if name == "train":
            command.add_argument("--readers", nargs="+", choices=READERS, default=READERS)
            command.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
            command.add_argument("--steps", type=int, help="instead of 2,000 (fixed) and 5,000 (varied)")
        if name == "trees":
            for option, default in (("sentences", 24), ("contexts", 32), ("nulls", 5), ("beliefs", 1)):
                command.add_argument(f"--{option}", type=int, default=default)
            command.add_argument("--measured-only", action="store_true", help="measure nothing anew")
            command.add_argument("--next-token", type=Path, metavar="RUNS", help="runs of random_hierarchy.py, besides")
        if name == "figure":
            command.add_argument("file", type=Path, metavar="FILE")
    bracketed_text.add_arguments(commands.add_parser("brackets"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.command == "train":
        chosen = {name: getattr(options, name) for name in ("shapes", "readers", "seeds", "steps")}
        train_missing(options.runs, **chosen)
    elif options.command == "brackets":
        bracketed_text.main(options)
    elif options.command == "trees":
        for shape in options.shapes:
            result = measured(options, shape)
            (options.runs / shape / "trees.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
            print("\n\n".join(tables([result])), flush=True)
    else:
        paths = [options.runs / shape / "trees.json" for shape in options.shapes]
        results = [json.loads(path.read_text("utf-8")) for path in paths if path.exists()]
        if options.command == "tables":
            print("\n\n".join(tables(results)))
        else:
            planted_tables.draw(results, options.file)


def measured(options: argparse.Namespace, shape: str) -> dict[str, Any]:
    """Everything about one shape, as JSON holds it."""
    language = LANGUAGES[shape]()
    read, parses, _ = language.draw(DEVELOPMENT + options.sentences, TEST_SEED + 1)
    found = list(finished(options.runs, shape))
    if shape == "fixed" and options.next_token is not None:
        found += next_token_runs(options.next_token)
    readers = {}
    for reader in dict.fromkeys(record["reader"] for _, record in found):
        runs = [(path, record) for path, record in found if record["reader"] == reader]
        kept = options.runs / shape / reader
        shared: tuple[Any, ...] = (reader, language, options)
        trained, done = [], []
        for k, (path, record) in enumerate(runs):
            where, full = kept / f"seed-{record['seed']}", k < options.beliefs
            if measurable(where, options):
                trained.append(of_model(lambda path=path: rg.load(path, device="cpu"), where, *shared, beliefs=full))
                done.append(record)
        untrained = []
        for seed in range(options.nulls):
            where, full = kept / f"untrained-{seed}", seed < options.beliefs
            if scores_file(where, options).exists() and not full:
                untrained.append(dict(np.load(scores_file(where, options))))
            elif measurable(where, options):
                with rg.load(runs[0][0], device="cpu").randomised(seed=seed) as probe:
                    untrained.append(of_model(lambda probe=probe: probe, where, *shared, beliefs=full))
        if not trained:
            continue
        counts = {"runs": done, "nulls": len(untrained)}
        readers[reader] = summary(trained, untrained, parses, language) | counts
    test = slice(DEVELOPMENT, None)
    return {
        "shape": shape,
        "leaves": language.leaves,
        "sentences": options.sentences,
        "contexts": options.contexts,
        "different_parses": len({frozenset(parse) for parse in parses[test]}),
        "exact": exact_scores(language, read[test], parses[test], options.contexts),
        "readers": readers,
    }


def measurable(kept: Path, options: argparse.Namespace) -> bool:
    """Whether a model is measured, or has been."""
    return not options.measured_only or scores_file(kept, options).exists()


def scores_file(kept: Path, options: argparse.Namespace) -> Path:
    """Where the scores of a model are kept."""
    return kept.with_name(f"{kept.name}-trees-{options.sentences}-{options.contexts}.npz")


def next_token_runs(directory: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Runs of random_hierarchy.py, whose losses are per sentence: those of the leaves and of the label, per prediction."""
    found = []
    for family in ("standard", "gauge"):
        for path in sorted((directory / "depth-3" / family).glob("seed-*/hierarchy.json")):
            record = json.loads(path.read_text("utf-8"))
            predictions = len(record["excess_by_prediction"])
            shares = {"bayes_nats_per_gap": "bayes_nats_per_sentence", "excess_nats_per_gap": "excess_nats_per_sentence",
                      "excess_standard_error": "excess_standard_error"}  # fmt: skip
            record |= {new: record[old] / predictions for new, old in shares.items()}
            record |= {"shape": "fixed", "reader": f"next {family}", "without_context_nats": None}
            found.append((path.parent, record))
    return found


def of_model(
    load: Callable[[], Probe],
    kept: Path,
    reader: str,
    language: Language,
    options: argparse.Namespace,
    *,
    beliefs: bool,
) -> dict[str, np.ndarray]:
    """Scores of one model, measured first where there is no file of them."""
    kept = scores_file(kept, options)
    kept.parent.mkdir(parents=True, exist_ok=True)
    read, parses, _ = language.draw(DEVELOPMENT + options.sentences, TEST_SEED + 1)
    if not kept.exists():
        np.savez(kept, **of_interactions(load(), reader, language, read, parses, options.contexts, gradients=beliefs))
    found = dict(np.load(kept))
    if beliefs and "beliefs" not in found:
        few = slice(DEVELOPMENT, DEVELOPMENT + BELIEF_SENTENCES)
        found["beliefs"] = planted_trees.belief_scores(load(), reader, read[few], parses[few])
        np.savez(kept, **found)
    return found


def of_interactions(
    probe: Probe,
    reader: str,
    language: Language,
    read: np.ndarray,
    parses: Sequence[Clades],
    contexts: int,
    *,
    gradients: bool,
) -> dict[str, np.ndarray]:
    """Scores of trees of interactions, of those of other sentences and of the mean over all; what a linear probe reads."""
    scores, total, trees = planted_trees.interaction_scores(
        probe, reader, read, parses, language.vocabulary, count=contexts, gradients=gradients
    )
    alike = [[brackets.bracket_score(planted_trees.interaction_clades(mean, a), parses[0], leaves=language.leaves).f1
              for mean in total] for a in ADJACENCIES]  # fmt: skip
    return {
        "scores": scores,
        "others": others_scores(trees, parses, language.leaves),
        "averaged": np.array(alike),
        "probe": planted_trees.ancestor_accuracy(probe, reader, language),
    }


def others_scores(trees: list[list[list[Clades]]], parses: Sequence[Clades], leaves: int) -> np.ndarray:
    """F1 of the trees of three other sentences against each parse, (adjacency, state, sentence)."""
    count = len(parses)
    return np.array(
        [
            [
                [
                    np.mean(
                        [brackets.bracket_score(state[(s + k) % count], parses[s], leaves=leaves).f1 for k in (1, 2, 3)]
                    )
                    for s in range(count)
                ]
                for state in one
            ]
            for one in trees
        ]
    )


def exact_scores(language: Language, read: np.ndarray, parses: Sequence[Clades], contexts: int) -> dict[str, float]:
    """Mean F1 where the contexts are read by a model that knows the grammar: what trained ones could reach."""
    found = [planted_trees.exact_interaction(language, row, count=contexts) for row in read]
    pairs = list(zip(found, parses, strict=True))
    return {
        adjacency: float(
            np.mean(
                [
                    brackets.bracket_score(
                        planted_trees.interaction_clades(each, adjacency), parse, leaves=language.leaves
                    ).f1
                    for each, parse in pairs
                ]
            )
        )
        for adjacency in ADJACENCIES
    }


def blind_scores(parses: Sequence[Clades], leaves: int, draws: int = 50) -> dict[str, np.ndarray]:
    """F1 by sentence of trees that read nothing."""
    generator = np.random.default_rng(0)

    def score(tree: Clades, parse: Clades) -> float:
        return brackets.bracket_score(tree, parse, leaves=leaves).f1

    fixed = {"right-branching": brackets.right_branching(leaves), "left-branching": brackets.left_branching(leaves),
             "balanced": brackets.balanced(leaves)}  # fmt: skip
    found = {name: np.array([score(tree, parse) for parse in parses]) for name, tree in fixed.items()}
    drawn = [brackets.random_contiguous(leaves, generator) for _ in range(draws)]
    found["random, neighbours"] = np.array([np.mean([score(tree, parse) for tree in drawn]) for parse in parses])
    found["parses of other sentences"] = np.array(
        [np.mean([score(other, parse) for k, other in enumerate(parses) if k != s]) for s, parse in enumerate(parses)]
    )
    return found


def summary(
    trained: list[dict[str, np.ndarray]],
    untrained: list[dict[str, np.ndarray]],
    parses: Sequence[Clades],
    language: Language,
) -> dict[str, Any]:
    """Means by state, the state chosen on other sentences, and its differences to every baseline with intervals."""
    scores = np.stack([each["scores"] for each in trained])
    chosen = {a: int(scores[:, 0, k, :, :DEVELOPMENT].mean((0, 2)).argmax()) for k, a in enumerate(ADJACENCIES)}
    blind = blind_scores(parses[DEVELOPMENT:], language.leaves)
    best = {}
    for k, adjacency in enumerate(ADJACENCIES):
        values = scores[:, 0, k, chosen[adjacency], DEVELOPMENT:]  # (seeds, sentences)
        others = np.stack([each["others"][k, chosen[adjacency], DEVELOPMENT:] for each in trained])
        baselines = {name: each[None] for name, each in blind.items()}
        baselines["its trees of other sentences"] = others
        if untrained:
            null = np.stack([each["scores"][0, k] for each in untrained])
            own = int(null[..., :DEVELOPMENT].mean((0, 2)).argmax())
            baselines["untrained"] = null[:, own, DEVELOPMENT:]
        best[adjacency] = {"state": chosen[adjacency], "f1": crossed_interval(values), "baselines": {
            name: {"f1": float(each.mean()), "difference": crossed_interval(values, each, paired=name.startswith("its"))}
            for name, each in baselines.items()}}  # fmt: skip
    return {
        "best": best,
        "trained": by_state(trained),
        "untrained": by_state(untrained) if untrained else {},
        "averaged": mean_of(trained, "averaged"),
        "untrained_averaged": mean_of(untrained or trained, "averaged", empty=not untrained),
        "ancestors": mean_of(trained, "probe"),
        "untrained_ancestors": mean_of(untrained or trained, "probe", empty=not untrained),
    }


def mean_of(models: list[dict[str, np.ndarray]], name: str, *, empty: bool = False) -> list[list[float | None]]:
    """Mean over models, or as many None."""
    mean = np.mean([each[name] for each in models], 0)
    return [[None if empty else round(float(value), 3) for value in row] for row in mean]


def by_state(models: list[dict[str, np.ndarray]]) -> dict[str, list[float | None]]:
    """Mean F1 over seeds and test sentences, by measure and adjacency; None where a belief does not exist."""
    scores = np.stack([each["scores"][..., DEVELOPMENT:] for each in models]).mean(-1)
    measured = ~np.isnan(scores).all((2, 3), keepdims=True)
    scores = np.where(measured, scores, 0).sum(0) / measured.sum(0)  # over the models in which a measure was taken
    found = {(name, a): scores[m, k] for m, name in enumerate(INTERACTIONS) for k, a in enumerate(ADJACENCIES)}
    with_beliefs = [each["beliefs"] for each in models if "beliefs" in each]
    if with_beliefs:
        beliefs = np.mean(with_beliefs, (0, -1))
        found |= {(name, a): beliefs[b, k] for b, name in enumerate(BELIEFS) for k, a in enumerate(ADJACENCIES)}
    return {f"{name}, {a}": [None if np.isnan(x) else round(float(x), 3) for x in row]
            for (name, a), row in found.items() if not np.isnan(row).all()}  # fmt: skip


def tables(results: Sequence[dict[str, Any]]) -> list[str]:
    """Markdown: losses; the chosen state against baselines; all measures by state; what a linear probe reads."""
    parts = (planted_tables.of_best, planted_tables.of_states, planted_tables.of_ancestors)
    return [planted_tables.losses(results), *(table for part in parts for table in part(results))]


if __name__ == "__main__":
    main()
