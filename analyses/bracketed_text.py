"""Trees of the words of real sentences from a model's interactions, against brackets that a person brings.

Used by `planted_hierarchy.py brackets`. Words are tokenised one by one. In a masked model contexts hide words, and exchanging
a token hides it; in a causal model, which has no gaps, the sentence stays as it is and tokens become other tokens of the same
file. The interaction of two words is the mean over their tokens.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

import rgprobe as rg
from rgprobe.condensation import brackets
from rgprobe.condensation.interaction_tree import average_linkage, interaction_distances
from rgprobe.condensation.treebank import BracketedSentence, read_brackets
from rgprobe.errors import BadInput
from rgprobe.probe.interaction import Contexts, interaction
from rgprobe.probe.model import Probe

ADJACENCIES = ("any", "contiguous")
CONTEXT_SHARES = (0.15, 0.5)  # of words hidden in a context of a masked model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("source", metavar="SOURCE", help="anything that rgprobe.load takes by name")
    parser.add_argument("--brackets", type=Path, required=True, metavar="FILE.ptb", help="Penn Treebank format")
    for option, default in (("contexts", 24), ("sentences", 100), ("nulls", 1)):
        parser.add_argument(f"--{option}", type=int, default=default)


def main(options: argparse.Namespace) -> None:
    """Measure, and print a table by state."""
    probe = rg.load(options.source, device="cpu")
    sentences = usable(read_brackets(options.brackets), str(options.brackets))[: options.sentences]
    rows = {f"{probe.name}, {a}": found for a, found in scores(probe, sentences, options.contexts).items()}
    for seed in range(options.nulls if probe.owned else 0):
        with probe.randomised(seed=seed) as null:
            found = scores(null, sentences, options.contexts)
        rows |= {f"untrained, seed {seed}, {a}": each for a, each in found.items()}
    rows |= {name: np.array([each]) for name, each in baselines(sentences).items()}
    print(f"{len(sentences)} sentences, mean unlabelled bracket F1 by state")
    for name, found in rows.items():
        print(f"{name:>40}  " + "  ".join(f"{value:.3f}" for value in found))


def usable(sentences: Sequence[BracketedSentence], name: str) -> list[BracketedSentence]:
    """Those with at least three words and one bracket.

    Raises:
        BadInput: there is none.
    """
    found = [sentence for sentence in sentences if sentence.spans]
    if not found:
        raise BadInput(name, expected="a sentence with a constituent of some of its words", received="none",
                       remedy="pass trees with inner brackets")  # fmt: skip
    return found


def scores(probe: Probe, sentences: Sequence[BracketedSentence], count: int) -> dict[str, np.ndarray]:
    """Mean F1 by adjacency and state."""
    pool = torch.cat([ids for sentence in sentences for ids in tokens_of(probe, sentence)])
    found: dict[str, list[list[float]]] = {a: [] for a in ADJACENCIES}
    for number, sentence in enumerate(sentences):
        gold, leaves = brackets.clades_of_spans(sentence.spans), len(sentence.words)
        for row in found.values():
            row.append([])
        for nats in word_interactions(probe, sentence, pool, count=count, seed=number):
            distances = interaction_distances(nats)
            for a, row in found.items():
                tree = brackets.linkage_clades(average_linkage(distances, adjacency=a))
                row[-1].append(brackets.bracket_score(tree, gold, leaves=leaves).f1)
    return {a: np.mean(row, 0) for a, row in found.items()}


def word_interactions(
    probe: Probe, sentence: BracketedSentence, pool: torch.Tensor, *, count: int, seed: int
) -> np.ndarray:
    """(L, words, words), nats; pairs that no context had count as none."""
    pieces = tokens_of(probe, sentence)
    word = np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces])
    nats = interaction(probe, contexts_of(probe, pieces, pool, count=count, seed=seed)).numpy()
    member = np.equal.outer(np.arange(len(pieces)), word).astype(float)
    known = np.isfinite(nats)
    sums, pairs = (member @ each @ member.T for each in (np.where(known, nats, 0.0), known.astype(float)))
    return sums / np.maximum(pairs, 1)


def contexts_of(probe: Probe, pieces: Sequence[torch.Tensor], pool: torch.Tensor, *, count: int, seed: int) -> Contexts:
    """Versions of one sentence: with gaps, or with other tokens to exchange."""
    generator = np.random.default_rng([seed, count])
    opening, closing = _special(probe)
    ids = torch.cat([opening, *pieces, closing])
    places = len(opening) + torch.arange(sum(map(len, pieces)))
    rows = ids.repeat(count, 1)
    if probe.causal:
        other = torch.from_numpy(generator.choice(pool.numpy(), size=(count, len(places))))
        exchanged = rows.clone()
        exchanged[:, places] = other
        return Contexts(rows, exchanged, places[:, None], places - 1, torch.ones(count, len(places), dtype=torch.bool))
    word = torch.repeat_interleave(torch.arange(len(pieces)), torch.tensor([len(piece) for piece in pieces]))
    shares = generator.uniform(*CONTEXT_SHARES, size=(count, 1))
    hidden = torch.from_numpy(generator.random((count, len(pieces))) < shares)[:, word]
    rows[:, places] = torch.where(hidden, _mask_id(probe), rows[:, places])
    exchanged = rows.clone()
    exchanged[:, places] = _mask_id(probe)
    return Contexts(rows, exchanged, places[:, None], places, hidden)


def tokens_of(probe: Probe, sentence: BracketedSentence) -> list[torch.Tensor]:
    """Token ids of each word; but for the first, it has a space before it."""
    texts = [word if k == 0 else f" {word}" for k, word in enumerate(sentence.words)]
    return [torch.tensor(probe.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]


def baselines(sentences: Sequence[BracketedSentence], draws: int = 50) -> dict[str, float]:
    """Trees that read nothing, and the most that a binary tree can reach."""
    generator = np.random.default_rng(0)
    found: dict[str, list[float]] = {}
    for sentence in sentences:
        gold, leaves = brackets.clades_of_spans(sentence.spans), len(sentence.words)
        trees = {"right-branching": brackets.right_branching, "left-branching": brackets.left_branching,
                 "balanced": brackets.balanced}  # fmt: skip
        for name, tree in trees.items():
            found.setdefault(name, []).append(brackets.bracket_score(tree(leaves), gold, leaves=leaves).f1)
        drawn = [brackets.random_contiguous(leaves, generator) for _ in range(draws)]
        values = [brackets.bracket_score(tree, gold, leaves=leaves).f1 for tree in drawn]
        found.setdefault("random, neighbours", []).append(float(np.mean(values)))
        found.setdefault("best binary tree", []).append(brackets.best_binary_f1(gold, leaves=leaves))
    return {name: float(np.mean(values)) for name, values in found.items()}


def _special(probe: Probe) -> tuple[torch.Tensor, torch.Tensor]:
    """What opens and closes every prompt; a causal model needs an opening token, from which the first word is predicted."""
    tokenizer = probe.tokenizer
    opening = tokenizer.cls_token_id if tokenizer.cls_token_id is not None else tokenizer.bos_token_id
    opening = tokenizer.eos_token_id if opening is None else opening
    closing = [] if probe.causal or tokenizer.sep_token_id is None else [tokenizer.sep_token_id]
    if opening is None:
        raise BadInput(
            probe.name, expected="a tokenizer with an opening token", received="none", remedy="name a bos_token"
        )
    return torch.tensor([opening]), torch.tensor(closing, dtype=torch.long)


def _mask_id(probe: Probe) -> int:
    if probe.tokenizer.mask_token_id is None:
        raise BadInput(
            probe.name, expected="a tokenizer with a mask token", received="none", remedy="name a mask_token"
        )
    return int(probe.tokenizer.mask_token_id)
