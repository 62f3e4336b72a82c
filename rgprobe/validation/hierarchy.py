"""Rows of D34 and of the synonym exchanges of D14, on the random hierarchy model, whose parse is known."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float64
from scipy.special import xlogy

from rgprobe.diagnostics import data_tree, synonym_suppression
from rgprobe.testbeds import random_hierarchy
from rgprobe.validation.record import Check

__all__ = ["CHECKS"]

RULES = random_hierarchy.grammar(depth=3)
SENTENCES = 40_000
FLOOR = (RULES.vocabulary - 1) ** 2 / (2 * SENTENCES)
SYSTEM = "random hierarchy model, v=8, m=4, s=2, D=3"
DISPLACEMENT, WIDTH = 0.7, 60


@lru_cache
def _drawn() -> random_hierarchy.Sentences:
    return random_hierarchy.sample(RULES, samples=SENTENCES, seed=0)


def _embedded() -> Float64[np.ndarray, "samples positions width"]:
    """States that are embeddings of their tokens in 12 dimensions."""
    return np.random.default_rng(0).normal(size=(RULES.vocabulary, 12))[_drawn().leaves]


def _token_tree() -> Float64[np.ndarray, "merges 4"]:
    return data_tree.information_tree(data_tree.position_information(_drawn().leaves), floor=FLOOR)


def _state_tree() -> Float64[np.ndarray, "merges 4"]:
    return data_tree.information_tree(data_tree.state_information(_embedded()), floor=FLOOR)


def _recall_of_tokens() -> float:
    return data_tree.parse_recall(_token_tree(), random_hierarchy.clades(RULES))


def _recall_of_states() -> float:
    return data_tree.parse_recall(_state_tree(), random_hierarchy.clades(RULES))


def _agreement_of_both() -> float:
    return data_tree.cophenetic_agreement(_token_tree(), _state_tree())


def _permuted() -> float:
    return float(data_tree.permuted_agreement(_token_tree(), _token_tree(), draws=4000, seed=0).mean())


def _sibling_information() -> float:
    return float(data_tree.position_information(_drawn().leaves)[0, 1])


def _exact_sibling_information() -> float:
    """Mutual information of the first two leaves, from the exact distribution of the symbol that makes them."""
    above = np.full(RULES.vocabulary, 1 / RULES.vocabulary)
    for table in RULES.rules[:-1]:  # down the left edge of the tree
        above = np.bincount(
            table[:, :, 0].ravel(), np.repeat(above / RULES.synonyms, RULES.synonyms), minlength=RULES.vocabulary
        )
    joint = np.zeros((RULES.vocabulary, RULES.vocabulary))
    for symbol, expansions in enumerate(RULES.rules[-1]):
        joint[expansions[:, 0], expansions[:, 1]] += above[symbol] / RULES.synonyms
    rows, columns = joint.sum(1), joint.sum(0)
    return float(xlogy(joint, joint).sum() - xlogy(rows, rows).sum() - xlogy(columns, columns).sum())


def _climbing(height: int, state: int) -> float:
    """States of a network that holds the symbols of level D - k at state k; a synonym exchanged at a height."""
    drawn = random_hierarchy.sample(RULES, samples=2000, seed=1)
    swapped = random_hierarchy.swap_synonyms(RULES, drawn, height=height, seed=2)
    one_hot = np.eye(RULES.vocabulary)
    states, moved = (one_hot[each.symbols[RULES.depth - state]].reshape(2000, -1) for each in (drawn, swapped))
    return float(synonym_suppression.swap_distances(states, moved).mean())


def _displaced() -> float:
    generator = np.random.default_rng(3)
    states = generator.normal(size=(4000, WIDTH))
    direction = generator.normal(size=states.shape)
    moved = states + DISPLACEMENT * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    return float(synonym_suppression.swap_distances(states, moved).mean())


CHECKS = (
    Check(
        catalogue="D34",
        diagnostic="data_tree:parse_recall",
        system=f"{SYSTEM}; mutual information between tokens",
        quantity="bracket F1 of the tree against the parse",
        expected=1.0,
        tolerance=1e-9,
        measure=_recall_of_tokens,
    ),
    Check(
        catalogue="D34",
        diagnostic="data_tree:parse_recall",
        system=f"{SYSTEM}; Gaussian mutual information between states that embed the tokens",
        quantity="bracket F1 of the tree against the parse",
        expected=1.0,
        tolerance=1e-9,
        measure=_recall_of_states,
    ),
    Check(
        catalogue="D34",
        diagnostic="data_tree:cophenetic_agreement",
        system=f"{SYSTEM}; tree of the tokens and tree of the states",
        quantity="cophenetic correlation",
        expected=1.0,
        tolerance=0.02,
        measure=_agreement_of_both,
    ),
    Check(
        catalogue="D34",
        diagnostic="data_tree:permuted_agreement",
        system=f"{SYSTEM}; the tree and its permutations",
        quantity="mean cophenetic correlation",
        expected=0.0,
        tolerance=0.02,
        measure=_permuted,
    ),
    Check(
        catalogue="D34",
        diagnostic="data_tree:position_information",
        system=SYSTEM,
        quantity="information between the first two leaves",
        units="nats",
        expected=_exact_sibling_information,
        tolerance=0.01,
        measure=_sibling_information,
    ),
    Check(
        catalogue="D14",
        diagnostic="synonym_suppression:swap_distances",
        system=f"{SYSTEM}; state k holds the symbols of level D - k; a leaf's expansion exchanged",
        quantity="distance over the random-pair spread at state 1",
        expected=0.0,
        tolerance=1e-9,
        measure=lambda: _climbing(1, 1),
    ),
    Check(
        catalogue="D14",
        diagnostic="synonym_suppression:swap_distances",
        system="standard normal states in 60 dimensions, each moved by 0.7",
        quantity="distance over the random-pair spread",
        expected=DISPLACEMENT / np.sqrt(2 * WIDTH),
        tolerance=0.001,
        measure=_displaced,
    ),
)
