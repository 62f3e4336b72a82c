"""Models that fill gaps in sentences of a planted hierarchy, and the least loss that any model can have.

A share of the leaves, between 10% and 70% and another one for every sentence, is hidden; the model predicts what stands
there. Three readers: a BERT, which sees both sides of a gap; and the two causal families, which get the gapped sentence twice
and fill the second copy, having seen all of the first. Shapes: `fixed`, the random hierarchy model (8 leaves, one tree for all
sentences), and `varied`, sentences of 12 leaves with a different tree each. One thread, minutes per model; a finished run is
left alone. Every run, such as RUNS/varied/gauge/seed-0, is a checkpoint that rgprobe.load reads, with its losses in
hierarchy.json. `planted_hierarchy.py` trains them and measures.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import BertConfig, BertForMaskedLM

from rgprobe.condensation.brackets import clades_of_spans
from rgprobe.models.families import get_family
from rgprobe.models.options import TrainingOptions
from rgprobe.models.sequence_training import batch_seed, fit
from rgprobe.testbeds import hierarchy_posterior, random_hierarchy, varied_hierarchy, varied_posterior

BOS, PAD, HIDDEN, FIRST = 0, 1, 2, 3
READERS = ("bidirectional", "standard", "gauge")
NEXT = ("next standard", "next gauge")  # trained by random_hierarchy.py to predict the next leaf; no gaps
FIRST_OF_NEXT = 2
HIDDEN_SHARES = (0.1, 0.7)
TEST_SEED = 2**33  # above every step's, which are hashes below 2^32
SIZES = {"layers": 4, "width": 64, "heads": 4, "batch": 128, "learning_rate": 2e-3, "warmup": 200}

Clades = set[frozenset[int]]


@dataclass(frozen=True)
class Language:
    """Sentences of one shape: how they are drawn, what their parses are, what can be known of a gap.

    Attributes:
        leaves: per sentence.
        vocabulary: symbols of a leaf.
        draw: (samples, seed) to leaves, parses and the symbols above each leaf by level, (samples, leaves, D).
        gaps: (leaves, known) to log-probabilities of the symbols at every leaf, exact where it is hidden.
    """

    leaves: int
    vocabulary: int
    draw: Callable[[int, int], tuple[np.ndarray, list[Clades], np.ndarray]]
    gaps: Callable[[np.ndarray, np.ndarray], np.ndarray]


def fixed() -> Language:
    """The random hierarchy model of docs/random-hierarchy.md."""
    rules = random_hierarchy.grammar(depth=3)
    parse, leaves = random_hierarchy.clades(rules), rules.branching**rules.depth

    def draw(samples: int, seed: int) -> tuple[np.ndarray, list[Clades], np.ndarray]:
        drawn = random_hierarchy.sample(rules, samples=samples, seed=seed)
        above = [np.repeat(symbols, leaves // symbols.shape[1], 1) for symbols in drawn.symbols[:-1]]
        return drawn.leaves, [parse] * samples, np.stack(above, -1)

    def gaps(read: np.ndarray, known: np.ndarray) -> np.ndarray:
        evidence = hierarchy_posterior.leaf_evidence(read, vocabulary=rules.vocabulary, known=known)
        with np.errstate(divide="ignore"):
            return np.log(hierarchy_posterior.posterior(rules, evidence).marginals[-1])

    return Language(leaves, rules.vocabulary, draw, gaps)


def varied(leaves: int = 12) -> Language:
    """A tree of its own for every sentence."""
    rules = varied_hierarchy.grammar(vocabulary=8, synonyms=2)

    def draw(samples: int, seed: int) -> tuple[np.ndarray, list[Clades], np.ndarray]:
        drawn = varied_hierarchy.sample(rules, samples=samples, leaves=leaves, seed=seed)
        parses = [clades_of_spans(varied_hierarchy.spans(rules, drawn, row)) for row in range(min(samples, 1000))]
        return drawn.leaves, parses, drawn.symbols

    def gaps(read: np.ndarray, known: np.ndarray) -> np.ndarray:
        evidence = hierarchy_posterior.leaf_evidence(read, vocabulary=rules.vocabulary, known=known)
        with np.errstate(divide="ignore"):
            return np.log(varied_posterior.leaf_posterior(rules, evidence).cavity)

    return Language(leaves, rules.vocabulary, draw, gaps)


LANGUAGES: dict[str, Callable[[], Language]] = {"fixed": fixed, "varied": varied}
STEPS = {"fixed": 2000, "varied": 5000}


@dataclass(frozen=True)
class Reading:
    """Where a model finds the leaves of a sentence, and where it fills them in.

    Attributes:
        tokens: indices of each leaf, (leaves, copies).
        readers: where each leaf is predicted, (leaves,).
    """

    tokens: np.ndarray
    readers: np.ndarray


def reading(reader: str, leaves: int) -> Reading:
    """Both directions read a sentence once, and so do those that predict the next leaf, one place before; causal ones twice."""
    copies = 2 if reader in ("standard", "gauge") else 1
    tokens = 1 + np.arange(leaves)[:, None] + leaves * np.arange(copies)
    return Reading(tokens, tokens[:, -1] - (reader in NEXT))


def rows_of(reader: str, read: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Token ids: the opening token and the gapped sentence, once or twice."""
    gapped = read + FIRST_OF_NEXT if reader in NEXT else np.where(known, read + FIRST, HIDDEN)
    opening = np.full((len(read), 1), BOS)
    return np.hstack([opening, *[gapped] * reading(reader, read.shape[1]).tokens.shape[1]])


def hidden_at_random(generator: np.random.Generator, samples: int, leaves: int) -> np.ndarray:
    """Which leaves are known, (samples, leaves); at least one is hidden."""
    known = generator.random((samples, leaves)) >= generator.uniform(*HIDDEN_SHARES, size=(samples, 1))
    known[np.arange(samples), generator.integers(leaves, size=samples)] = False
    return known


class Bidirectional(nn.Module):
    """Token ids in, logits out, over a BERT without dropout."""

    def __init__(self, *, vocabulary: int, context: int, layers: int, width: int, heads: int) -> None:
        super().__init__()
        sizes = {
            "hidden_size": width,
            "intermediate_size": 4 * width,
            "num_hidden_layers": layers,
            "vocab_size": vocabulary,
        }
        silent = {
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            "type_vocab_size": 1,
            "pad_token_id": PAD,
        }
        self.encoder = BertForMaskedLM(
            BertConfig(**sizes, **silent, num_attention_heads=heads, max_position_embeddings=context)
        )

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits at every token."""
        return self.encoder(input_ids=ids).logits


def build(reader: str, language: Language, seed: int) -> nn.Module:
    """An untrained model."""
    context = int(reading(reader, language.leaves).tokens.max()) + 1
    sizes = {name: SIZES[name] for name in ("layers", "width", "heads")}
    make = Bidirectional if reader == "bidirectional" else get_family(reader).build
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make(vocabulary=language.vocabulary + FIRST, context=context, **sizes)


def train_one(
    out: Path,
    shape: str,
    reader: str,
    *,
    seed: int,
    steps: int,
    watch: Callable[[int, nn.Module], None] = lambda step, model: None,
) -> dict[str, Any]:
    """Train one model on fresh sentences and save it with its losses; `watch` sees it before each step and at the end."""
    language = LANGUAGES[shape]()
    where = reading(reader, language.leaves)
    options = TrainingOptions(out=out, steps=steps, seed=seed, context=int(where.tokens.max()) + 1, **SIZES)

    def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        read = language.draw(options.batch, batch_seed(seed, step))[0]
        known = hidden_at_random(np.random.default_rng([seed, step]), *read.shape)
        ids = rows_of(reader, read, known)
        targets = np.full(ids.shape, -100)
        targets[:, where.readers] = np.where(known, -100, read + FIRST)
        return torch.from_numpy(ids), torch.from_numpy(targets)

    model = build(reader, language, seed)
    curve: list[float] = []

    def on_progress(step: int, loss: float) -> None:
        curve.append(loss)
        watch(step, model)

    watch(0, model)
    fit(model, batch, options, on_progress=on_progress)
    out.mkdir(parents=True, exist_ok=True)
    if isinstance(model, Bidirectional):
        model.encoder.save_pretrained(out)
    else:
        get_family(reader).save(model, out)
    record = {"shape": shape, "reader": reader, "seed": seed, "steps": steps, **evaluated(model, language, reader)}
    record |= {"n_parameters": sum(p.numel() for p in model.parameters())}
    record |= {"curve": [round(float(np.mean(part)), 4) for part in np.array_split(curve, min(20, steps))]}
    (out / "hierarchy.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return record


@torch.no_grad()
def evaluated(model: nn.Module, language: Language, reader: str, samples: int = 2000) -> dict[str, float]:
    """Loss per hidden leaf on fresh sentences beside the exact one on the same gaps, nats."""
    read = language.draw(samples, TEST_SEED)[0]
    known = hidden_at_random(np.random.default_rng(TEST_SEED), *read.shape)
    logits = model.eval()(torch.from_numpy(rows_of(reader, read, known)))[:, reading(reader, language.leaves).readers]
    log_p = logits.double().log_softmax(-1)[..., FIRST:].numpy()
    found, least = (-np.take_along_axis(p, read[..., None], -1)[..., 0] for p in (log_p, language.gaps(read, known)))
    excess = np.array([(found - least)[row, ~known[row]].mean() for row in range(samples)])
    return {
        "bayes_nats_per_gap": float(least[~known].mean()),
        "excess_nats_per_gap": float((found - least)[~known].mean()),
        "excess_standard_error": float(excess.std(ddof=1) / np.sqrt(samples)),
        "without_context_nats": float(-np.log(np.bincount(read.ravel()) / read.size)[read[~known]].mean()),
    }


def finished(runs: Path, shape: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Directories of finished runs with their records, in order."""
    for reader in READERS:
        for path in sorted((runs / shape / reader).glob("seed-*/hierarchy.json")):
            yield path.parent, json.loads(path.read_text("utf-8"))


def train_missing(runs: Path, *, shapes: list[str], readers: list[str], seeds: list[int], steps: int | None) -> None:
    """Train what is not there yet, seeds in the outer loop, so that readers stay matched if it is stopped."""
    for shape in shapes:
        for seed in seeds:
            for reader in readers:
                out = runs / shape / reader / f"seed-{seed}"
                if not (out / "hierarchy.json").exists():
                    record = train_one(out, shape, reader, seed=seed, steps=steps or STEPS[shape])
                    excess, least = record["excess_nats_per_gap"], record["bayes_nats_per_gap"]
                    print(f"{out}: {excess:.4f} nats per gap above the least loss {least:.4f}", flush=True)
