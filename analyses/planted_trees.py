"""Trees of single sentences from what a model computes, and how well they are the parse: measures, states, sentences.

Used by `planted_hierarchy.py`, which says what is measured and why.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from cloze_models import FIRST, HIDDEN, NEXT, TEST_SEED, Clades, Language, reading, rows_of
from scipy.special import kl_div
from sklearn.linear_model import RidgeClassifier

import rgprobe as rg
from rgprobe.condensation import condense
from rgprobe.condensation.agreement import clades
from rgprobe.condensation.brackets import bracket_score, linkage_clades
from rgprobe.condensation.interaction_tree import average_linkage, interaction_distances
from rgprobe.gaussian import Gaussian
from rgprobe.probe.interaction import Contexts, gradient_interaction, interaction
from rgprobe.probe.model import Probe

ADJACENCIES = ("any", "contiguous")
INTERACTIONS = ("interaction", "interaction, not normalised", "gradients", "one gap")
BELIEFS = ("states", "lens", "thermal", "fisher", "downstream", "native")
CONTEXT_SHARES = (0.3, 0.7)  # of leaves hidden in a context


def contexts_of(reader: str, read: np.ndarray, vocabulary: int, *, count: int, seed: int) -> Contexts:
    """One sentence with other leaves hidden each time; what is exchanged becomes hidden too.

    Where nothing can be hidden, leaves are drawn at random instead, and what is exchanged is drawn anew.
    """
    generator = np.random.default_rng([seed, *read])
    known = generator.random((count, len(read))) >= generator.uniform(*CONTEXT_SHARES, size=(count, 1))
    if reader in NEXT:
        noisy = np.where(known, read, generator.integers(vocabulary, size=known.shape))
        return _drawn_anew(reader, noisy, vocabulary, generator)
    return _contexts(reader, read, known)


def one_gap(reader: str, read: np.ndarray, vocabulary: int, *, count: int, seed: int) -> Contexts:
    """The whole sentence but for the leaf that is predicted; what is exchanged becomes another symbol."""
    generator = np.random.default_rng([seed, *read])
    draws = -(-count // len(read))
    if reader in NEXT:
        return _drawn_anew(reader, np.tile(read, (draws, 1)), vocabulary, generator)
    found = _contexts(reader, read, np.tile(~np.eye(len(read), dtype=bool), (draws, 1)))
    other = (read + generator.integers(1, vocabulary, size=(len(found.rows), len(read)))) % vocabulary
    exchanged = torch.from_numpy(rows_of(reader, other, np.ones(other.shape, dtype=bool)))
    return Contexts(
        found.rows,
        torch.where(found.rows == HIDDEN, found.rows, exchanged),
        found.tokens,
        found.readers,
        found.scored,
    )


def _drawn_anew(reader: str, read: np.ndarray, vocabulary: int, generator: np.random.Generator) -> Contexts:
    """Every leaf is exchanged for another symbol, and every prediction counts."""
    where = reading(reader, read.shape[1])
    other = (read + generator.integers(1, vocabulary, size=read.shape)) % vocabulary
    everything = np.ones(read.shape, dtype=bool)
    rows, exchanged = (torch.from_numpy(rows_of(reader, leaves, everything)) for leaves in (read, other))
    places = torch.from_numpy(where.tokens), torch.from_numpy(where.readers)
    return Contexts(rows, exchanged, *places, torch.from_numpy(everything))


def _contexts(reader: str, read: np.ndarray, known: np.ndarray) -> Contexts:
    where = reading(reader, len(read))
    rows = torch.from_numpy(rows_of(reader, np.broadcast_to(read, known.shape), known))
    exchanged = torch.where(rows >= FIRST, HIDDEN, rows)
    places = torch.from_numpy(where.tokens), torch.from_numpy(where.readers)
    return Contexts(rows, exchanged, *places, torch.from_numpy(~known))


def interactions(
    probe: Probe, reader: str, read: np.ndarray, vocabulary: int, *, count: int, gradients: bool = True
) -> dict[str, np.ndarray]:
    """By measure, (L, leaves, leaves)."""
    hidden = contexts_of(reader, read, vocabulary, count=count, seed=0)
    single = one_gap(reader, read, vocabulary, count=count, seed=0)
    found = interaction(probe, hidden).numpy()
    named = {"interaction": found, "interaction, not normalised": found, "one gap": interaction(probe, single).numpy()}
    return named | ({"gradients": gradient_interaction(probe, hidden).numpy()} if gradients else {})


def exact_interaction(language: Language, read: np.ndarray, *, count: int) -> np.ndarray:
    """The same contexts read by a model that knows the grammar, (leaves, leaves), nats."""
    generator = np.random.default_rng([0, *read])
    n = len(read)
    known = generator.random((count, n)) >= generator.uniform(*CONTEXT_SHARES, size=(count, 1))
    rows = np.repeat(known[:, None], n + 1, 1)
    rows[:, np.arange(n) + 1, np.arange(n)] = False
    predicted = np.exp(language.gaps(np.broadcast_to(read, (rows[..., 0].size, n)), rows.reshape(-1, n)))
    predicted = predicted.reshape(count, n + 1, n, -1)
    # terms p ln (p / q) - p + q, none of them negative, so that rounding cannot make a sum so
    nats = kl_div(predicted[:, :1], predicted[:, 1:]).sum(-1)  # (contexts, exchanged, read)
    pairs = known[:, :, None] & ~known[:, None, :]
    return np.where(pairs, nats, 0.0).sum(0) / np.maximum(pairs.sum(0), 1)


def interaction_clades(found: np.ndarray, adjacency: str, *, normalise: bool = True) -> Clades:
    """Of average linkage; a pair that no context had counts as none."""
    distances = interaction_distances(np.nan_to_num(found), normalise=normalise)
    return linkage_clades(average_linkage(distances, adjacency=adjacency))


def interaction_scores(
    probe: Probe,
    reader: str,
    read: np.ndarray,
    parses: Sequence[Clades],
    vocabulary: int,
    *,
    count: int,
    gradients: bool = True,
) -> tuple[np.ndarray, np.ndarray, list[list[list[Clades]]]]:
    """F1 of every tree (measure, adjacency, state, sentence), mean interactions (state, leaves, leaves) and the trees that
    neighbours make of the first measure, by state and sentence."""
    leaves = read.shape[1]
    scores = np.full((len(INTERACTIONS), len(ADJACENCIES), probe.n_blocks, len(read)), np.nan)
    total = np.zeros((probe.n_blocks, leaves, leaves))
    trees: list[list[list[Clades]]] = [[[] for _ in range(probe.n_blocks)] for _ in ADJACENCIES]
    for s, (row, parse) in enumerate(zip(read, parses, strict=True)):
        for name, found in interactions(probe, reader, row, vocabulary, count=count, gradients=gradients).items():
            m = INTERACTIONS.index(name)
            for a, adjacency in enumerate(ADJACENCIES):
                for k in range(probe.n_blocks):
                    tree = interaction_clades(found[k], adjacency, normalise="not normalised" not in name)
                    scores[m, a, k, s] = bracket_score(tree, parse, leaves=leaves).f1
                    if m == 0:
                        trees[a][k].append(tree)
            if m == 0:
                total += np.nan_to_num(found) / len(read)
    return scores, total, trees


def belief_scores(
    probe: Probe, reader: str, read: np.ndarray, parses: Sequence[Clades], *, names: Sequence[str] | None = None
) -> np.ndarray:
    """F1 of condensation trees of beliefs on whole sentences, (belief, adjacency, state, sentence); NaN where there are none.

    Beliefs of blocks stand at the state that enters them.
    """
    leaves, where = read.shape[1], reading(reader, read.shape[1])
    ids = rows_of(reader, read, np.ones(read.shape, dtype=bool))
    names = BELIEFS if names is None else names
    scores = np.full((len(names), len(ADJACENCIES), probe.n_blocks + 1, len(read)), np.nan)
    for b, name in enumerate(names):
        if name == "native" and probe.family != "gauge":
            continue
        for s, beliefs in enumerate(_beliefs(probe, name, ids, where.tokens[:, -1])):
            for k, belief in enumerate(beliefs):
                for a, adjacency in enumerate(ADJACENCIES):
                    tree = clades(condense(belief, adjacency=adjacency))
                    scores[b, a, k, s] = bracket_score(tree, parses[s], leaves=leaves).f1
    return scores


def _beliefs(probe: Probe, name: str, ids: np.ndarray, places: np.ndarray) -> Iterator[list[Gaussian | np.ndarray]]:
    """By sentence, beliefs of the leaves at each depth."""
    if name == "states":
        for states in states_of(probe, ids, places):
            rows = [torch.from_numpy(state / np.sqrt(np.square(state).mean(-1, keepdims=True))) for state in states]
            yield [Gaussian.from_diagonal(row, torch.ones_like(row)) for row in rows]
        return
    options = {"belief": name, "positions": places.tolist(), "sink": "include", "bos": "never"}
    collect = ("attention", "states", "beliefs", "couplings")
    for row in torch.from_numpy(ids):
        trace = rg.trace(probe, [row], **options, collect=collect)
        found = [trace.beliefs(0, depth) for depth in range(trace.n_depths)]
        yield [each if isinstance(each, Gaussian) else np.exp(each) for each in found]


@torch.no_grad()
def states_of(probe: Probe, ids: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(sentences, states, leaves, width)."""
    kept: list[torch.Tensor] = []
    hooks = [
        (probe.state_hook(k), lambda tensor, hook: kept.append(tensor[:, places].double()))
        for k in range(probe.n_blocks + 1)
    ]
    probe.rows_to_last_state(torch.from_numpy(ids), hooks)
    return torch.stack(kept, 1).numpy()


def ancestor_accuracy(probe: Probe, reader: str, language: Language, samples: int = 1200) -> np.ndarray:
    """Share of leaves whose ancestor a linear classifier reads off their state, (level, state), on sentences it was not
    fitted to.

    States are those of whole sentences. Level 0 is the root.
    """
    read, _, above = language.draw(samples, TEST_SEED + 2)
    where = reading(reader, language.leaves)
    states = states_of(probe, rows_of(reader, read, np.ones(read.shape, dtype=bool)), where.tokens[:, -1])
    fitted = samples * 2 // 3
    found = np.zeros((above.shape[2], states.shape[1]))
    for k in range(states.shape[1]):
        rows = states[:, k].reshape(samples, language.leaves, -1)
        train, test = (part.reshape(-1, rows.shape[-1]) for part in (rows[:fitted], rows[fitted:]))
        for level in range(above.shape[2]):
            symbols = above[..., level]
            classifier = RidgeClassifier(alpha=1e-2).fit(train, symbols[:fitted].ravel())
            found[level, k] = classifier.score(test, symbols[fitted:].ravel())
    return found
