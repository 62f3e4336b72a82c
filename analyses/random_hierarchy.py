"""Do models of both families learn the random hierarchy model, and does the tree of their states become its parse?

    python analyses/random_hierarchy.py train RUNS [--depth 3] [--seeds 0 1 2] [--families standard gauge] [--steps 2000]
    python analyses/random_hierarchy.py trees RUNS [--sentences 50] [--nulls 5]
    python analyses/random_hierarchy.py tables RUNS

The first trains matched models on sentences drawn afresh at every step, each followed by its root label, which makes the upper
levels matter: one thread, minutes per model, and a finished run is left alone. Every run, such as RUNS/depth-3/gauge/seed-0,
is a checkpoint that rgprobe.load reads, with its grammar and losses in hierarchy.json. The second builds trees of the states
of the leaves, sentence by sentence, and scores them against the parse by unlabelled bracket F1, beside untrained models of the
same architecture and beside trees that read nothing. Every parse of this grammar is the balanced tree, so the balanced
baseline scores 1: the question is whether states hold it, not whether it can be guessed. The third prints what was recorded.
`synonym_swaps.py` measures on the same runs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from torch import nn

import rgprobe as rg
from rgprobe.condensation import condense
from rgprobe.condensation.agreement import clade_recall
from rgprobe.gaussian import Gaussian
from rgprobe.models.families import get_family
from rgprobe.models.optimization import build_optimizer, learning_rate
from rgprobe.models.options import TrainingOptions
from rgprobe.models.tokenizer import BOS, PAD, save_tokenizer
from rgprobe.testbeds import hierarchy_language, random_hierarchy

GRAMMAR = {"vocabulary": 8, "synonyms": 4, "branching": 2, "seed": 0}
BLOCKS = {3: 3, 4: 4}  # a block per level
TEST_SEED = 10**6  # no step's
BELIEFS, ADJACENCIES = ("states", "lens"), ("any", "contiguous")


def train_one(
    out: Path,
    family: str,
    *,
    depth: int,
    seed: int,
    steps: int,
    watch: Callable[[int, nn.Module], None] = lambda step, model: None,
) -> dict[str, Any]:
    """Train one model on fresh sentences and save it with its losses; `watch` sees it before each step and at the end."""
    rules = random_hierarchy.grammar(depth=depth, **GRAMMAR)
    context = rules.branching**depth + 2
    options = TrainingOptions(
        out=out,
        family=family,
        steps=steps,
        batch=128,
        layers=BLOCKS[depth],
        width=64,
        heads=4,
        context=context,
        seed=seed,
    )
    sizes = {name: getattr(options, name) for name in ("context", "layers", "width", "heads")}
    torch.manual_seed(seed)
    names = hierarchy_language.symbols(rules)
    model = get_family(family).build(vocabulary=len(names), **sizes)
    optimizer = build_optimizer(model, options)
    for step in range(steps):
        watch(step, model)
        drawn = random_hierarchy.sample(rules, samples=options.batch, seed=seed * 10**7 + step)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, options)
        loss = losses(model, hierarchy_language.token_ids(rules, drawn)).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), options.clip)
        optimizer.step()
    watch(steps, model)
    out.mkdir(parents=True, exist_ok=True)
    get_family(family).save(model, out)
    save_tokenizer(tokenizer_of(names), out, context=context)
    record = {"grammar": {"depth": depth, **GRAMMAR}, "family": family, "seed": seed, "steps": steps}
    record |= {"n_parameters": sum(p.numel() for p in model.parameters()), **evaluated(model, rules)}
    (out / "hierarchy.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return record


def losses(model: nn.Module, ids: np.ndarray) -> torch.Tensor:
    """Cross-entropy of every prediction, (sentences, leaves + 1), nats."""
    tokens = torch.from_numpy(ids)
    return nn.functional.cross_entropy(model(tokens[:, :-1]).transpose(1, 2), tokens[:, 1:], reduction="none")


@torch.no_grad()
def evaluated(model: nn.Module, rules: random_hierarchy.Grammar, samples: int = 4000) -> dict[str, Any]:
    """Test loss beside the exact Bayes loss on the same sentences, nats; the label is the last prediction."""
    drawn = random_hierarchy.sample(rules, samples=samples, seed=TEST_SEED)
    found = losses(model.eval(), hierarchy_language.token_ids(rules, drawn)).double().numpy()
    excess = found - hierarchy_language.least_loss(rules, drawn.leaves)
    return {
        "bayes_nats_per_sentence": random_hierarchy.entropy(rules),
        "excess_by_prediction": excess.mean(0).round(5).tolist(),
        "excess_nats_per_sentence": float(excess.sum(1).mean()),
        "excess_standard_error": float(excess.sum(1).std(ddof=1) / np.sqrt(samples)),
        "label_nats": float(found[:, -1].mean()),
    }


def tokenizer_of(names: tuple[str, ...]) -> Tokenizer:
    """One token per letter; the opening token comes first, as for every other checkpoint."""
    tokenizer = Tokenizer(models.WordLevel({name: index for index, name in enumerate(names)}, unk_token=PAD))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([BOS, PAD])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, hierarchy_language.BOS_ID)]
    )
    return tokenizer


def finished(runs: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Directories of finished runs with their records, in order."""
    for path in sorted(runs.glob("depth-*/*/seed-*/hierarchy.json")):
        yield path.parent, json.loads(path.read_text("utf-8"))


def measured(
    runs: Path, *, depth: int, nulls: int, name: str, measure: Callable[[Any], np.ndarray]
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Family, arrays of its trained runs and arrays of untrained models; what was measured before is read back by `name`."""
    found: dict[str, tuple[list[np.ndarray], list[np.ndarray]]] = {}
    for directory, record in finished(runs):
        if record["grammar"]["depth"] != depth:
            continue
        trained, untrained = found.setdefault(record["family"], ([], []))
        probe = rg.load(directory, device="cpu")
        trained.append(remembered(directory / f"{name}.npy", lambda probe=probe: measure(probe)))
        for seed in range(len(untrained), nulls):  # all runs of a family have one architecture, hence one null
            with probe.randomised(seed=seed) as null:
                path = directory.parent / f"untrained-{seed}-{name}.npy"
                untrained.append(remembered(path, lambda null=null: measure(null)))
    for family, (trained, untrained) in found.items():
        yield family, np.array(trained), np.array(untrained)


def remembered(path: Path, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """The array in a file, computed first where there is none."""
    if not path.exists():
        np.save(path, compute())
    return np.load(path)


@torch.no_grad()
def states_of(probe: Any, ids: np.ndarray) -> np.ndarray:
    """States as the next block's norm sees them, each of root mean square 1: (sentences, states, tokens, width)."""
    kept: list[torch.Tensor] = []
    hooks = [
        (probe.state_hook(k), lambda tensor, hook: kept.append(tensor.double())) for k in range(probe.n_blocks + 1)
    ]
    probe.bridge.run_with_hooks(torch.from_numpy(ids), fwd_hooks=hooks, return_type=None)
    states = torch.stack(kept, 1)
    return (states / states.square().mean(-1, keepdim=True).sqrt()).numpy()


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows])


def main() -> None:
    """Train, measure trees, or print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["train", "trees", "tables"])
    parser.add_argument("runs", type=Path, metavar="RUNS")
    parser.add_argument("--depth", type=int, choices=sorted(BLOCKS), default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--families", nargs="+", default=["standard", "gauge"])
    for name, default in (("steps", 2000), ("sentences", 50), ("nulls", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.command == "train":
        train_missing(options)
    elif options.command == "trees":
        result = tree_scores(options)
        path = options.runs / f"depth-{options.depth}" / "trees.json"
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print("\n\n".join(tree_tables(result)))
    else:
        print(loss_table(record for _, record in finished(options.runs)))


def train_missing(options: argparse.Namespace) -> None:
    """Train what is not there yet, seeds in the outer loop so that families stay matched if it is stopped."""
    for seed in options.seeds:
        for family in options.families:
            out = options.runs / f"depth-{options.depth}" / family / f"seed-{seed}"
            if not (out / "hierarchy.json").exists():
                record = train_one(out, family, depth=options.depth, seed=seed, steps=options.steps)
                excess, label = record["excess_nats_per_sentence"], record["label_nats"]
                print(f"{out}: {excess:+.4f} nats per sentence above Bayes, label {label:.4f}", flush=True)


def tree_scores(options: argparse.Namespace) -> dict[str, Any]:
    """Bracket F1 of the trees of single sentences, by family, belief and state, with nulls and baselines."""
    rules = random_hierarchy.grammar(depth=options.depth, **GRAMMAR)
    drawn = random_hierarchy.sample(rules, samples=options.sentences, seed=TEST_SEED + 3)
    ids, clades = hierarchy_language.token_ids(rules, drawn)[:, :-1], random_hierarchy.clades(rules)
    families = {
        family: {"seeds": len(trained), "trained": scored(trained), "untrained": scored(untrained)}
        for family, trained, untrained in measured(
            options.runs,
            depth=options.depth,
            nulls=options.nulls,
            name=f"trees-{options.sentences}",
            measure=lambda probe: recalls(probe, ids, clades),
        )
    }
    leaves = rules.branching**rules.depth
    return {"sentences": options.sentences, "baselines": baselines(leaves, clades), "families": families}


def recalls(probe: Any, ids: np.ndarray, clades: set[frozenset[int]]) -> np.ndarray:
    """Bracket F1 averaged over sentences: (belief, adjacency, state)."""
    states = torch.from_numpy(states_of(probe, ids)[:, :, 1:])
    found = np.zeros((len(states), len(BELIEFS), len(ADJACENCIES), states.shape[1]))
    for sentence, layers in enumerate(states):
        for k, leaves in enumerate(layers):
            beliefs = (
                Gaussian.from_diagonal(leaves, torch.ones_like(leaves)),
                probe.readout(leaves).double().softmax(-1),
            )
            for b, belief in enumerate(beliefs):
                for a, adjacency in enumerate(ADJACENCIES):
                    found[sentence, b, a, k] = clade_recall(condense(belief, adjacency=adjacency), clades)
    return found.mean(0)


def baselines(leaves: int, clades: set[frozenset[int]], draws: int = 400) -> dict[str, float]:
    """Trees that read nothing: right-branching, balanced, and condensed from random beliefs."""
    generator = np.random.default_rng(0)
    right = {frozenset(range(start, leaves)) for start in range(1, leaves - 1)}
    scores = {"balanced": 1.0, "right-branching": 2 * len(right & clades) / (len(right) + len(clades))}
    for adjacency in ADJACENCIES:
        trees = (condense(generator.dirichlet(np.ones(8), leaves), adjacency=adjacency) for _ in range(draws))
        scores[f"random, {adjacency}"] = float(np.mean([clade_recall(tree, clades) for tree in trees]))
    return scores


def scored(values: np.ndarray) -> dict[str, Any]:
    """Mean over seeds and the half width of its 95% interval (none for a single seed), by belief and adjacency."""
    seeds = len(values)
    half = stats.t.ppf(0.975, seeds - 1) * values.std(0, ddof=1) / np.sqrt(seeds) if seeds > 1 else None
    return {
        f"{belief}, {adjacency}": {
            "mean": values.mean(0)[b, a].round(3).tolist(),
            "half": None if half is None else half[b, a].round(3).tolist(),
        }
        for b, belief in enumerate(BELIEFS)
        for a, adjacency in enumerate(ADJACENCIES)
    }


def tree_tables(result: dict[str, Any]) -> Iterator[str]:
    """Markdown: bracket F1 by state, trained (untrained), and the baselines."""
    rows = []
    for family, entry in result["families"].items():
        for name, found in entry["trained"].items():
            null = entry["untrained"][name]["mean"]
            errors = [""] * len(null) if found["half"] is None else [f" ± {half:.2f}" for half in found["half"]]
            cells = (f"{f1:.2f}{error} ({n:.2f})" for f1, error, n in zip(found["mean"], errors, null, strict=True))
            rows.append([f"{family} (seeds: {entry['seeds']}), {name}", *cells])
    yield markdown(["bracket F1", *(f"state {k}" for k in range(len(rows[0]) - 1))], rows)
    yield markdown(["baseline", "bracket F1"], [[name, f"{score:.2f}"] for name, score in result["baselines"].items()])


def loss_table(records: Iterator[dict[str, Any]]) -> str:
    """Markdown: loss above Bayes of every run."""
    head = ["run", "parameters", "steps", "Bayes, nats per sentence", "test loss above it", "of which the label"]
    rows = [
        [
            f"depth {record['grammar']['depth']}, {record['family']}, seed {record['seed']}",
            f"{record['n_parameters']:,}",
            f"{record['steps']:,}",
            f"{record['bayes_nats_per_sentence']:.4f}",
            f"{record['excess_nats_per_sentence']:.4f} ± {1.96 * record['excess_standard_error']:.4f}",
            f"{record['label_nats']:.4f}",
        ]
        for record in records
    ]
    return markdown(head, rows)


if __name__ == "__main__":
    main()
