r"""Random hierarchy model: sentences of a random grammar with synonyms, whose parse trees are known at any size.

A root label, one of v, is expanded by one of its m rules into s symbols, each of these by one of m rules of the next
level, and so on for D levels: s^D leaves. Rules of a level are drawn at random without repetition, so that no two symbols
share an expansion: the m expansions of one symbol are *synonyms*, the grammar is unambiguous, and every sentence has
one parse. Its number of sentences is v m^((s^D - 1)/(s - 1)), all equally likely. Exchanging an expansion for a synonym
at height h above the leaves changes at most s^h leaves and never the root: h = D is the root's own expansion.

Source: Cagnetta, Petrini, Tomasini, Favero, Wyart, Phys. Rev. X 14, 031001 (2024) (arXiv:2307.02129).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from rgprobe.errors import PromptError
from rgprobe.testbeds.options import require

__all__ = ["Grammar", "Sentences", "clades", "entropy", "exact", "grammar", "sample", "swap_synonyms"]

# an inverse table with one entry per tuple of s symbols is kept in memory
_MOST_TUPLES = 10**7


@dataclass(frozen=True, eq=False)
class Grammar:
    """Rules by level, from the root's to those that make leaves.

    Attributes:
        rules: entry l has the expansions of level-l symbols, (vocabulary, synonyms, branching).
    """

    rules: tuple[Int64[np.ndarray, "vocabulary synonyms branching"], ...]

    @property
    def depth(self) -> int:
        """D, levels of rules."""
        return len(self.rules)

    @property
    def vocabulary(self) -> int:
        """v, symbols per level."""
        return self.rules[0].shape[0]

    @property
    def synonyms(self) -> int:
        """m, expansions per symbol."""
        return self.rules[0].shape[1]

    @property
    def branching(self) -> int:
        """s, symbols per expansion."""
        return self.rules[0].shape[2]


@dataclass(frozen=True, eq=False)
class Sentences:
    """Sentences with their derivations.

    Attributes:
        symbols: entry l has the symbols of level l, (samples, s^l): entry 0 the root, entry D the leaves.
        choices: entry l has the number of the rule that expanded each symbol of level l, (samples, s^l), l < D.
    """

    symbols: tuple[Int64[np.ndarray, "samples _"], ...]
    choices: tuple[Int64[np.ndarray, "samples _"], ...]

    @property
    def roots(self) -> Int64[np.ndarray, " samples"]:
        """The labels."""
        return self.symbols[0][:, 0]

    @property
    def leaves(self) -> Int64[np.ndarray, "samples leaves"]:
        """What a model reads, left to right."""
        return self.symbols[-1]


def grammar(*, vocabulary: int = 8, synonyms: int = 4, branching: int = 2, depth: int = 3, seed: int = 0) -> Grammar:
    """Random rules: at each level v m distinct tuples of s symbols, dealt to the v symbols.

    Args:
        vocabulary: v, at least 1.
        synonyms: m, from 1 to v^(s-1), so that there are enough tuples.
        branching: s, at least 2.
        depth: D, at least 1.
        seed: of the generator.

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> rules = grammar(depth=2).rules
        >>> len(rules), rules[0].shape
        (2, (8, 4, 2))
    """
    for name, value, least in (("vocabulary", vocabulary, 1), ("branching", branching, 2), ("depth", depth, 1)):
        require(value >= least, name, expected=f"an integer >= {least}", received=value)
    tuples = vocabulary**branching
    require(tuples <= _MOST_TUPLES, "branching", expected=f"v^s up to {_MOST_TUPLES}", received=tuples)
    most = vocabulary ** (branching - 1)
    require(1 <= synonyms <= most, "synonyms", expected=f"an integer from 1 to {most}", received=synonyms)
    generator = np.random.default_rng(seed)
    place = vocabulary ** np.arange(branching)
    drawn = [generator.choice(tuples, vocabulary * synonyms, replace=False) for _ in range(depth)]
    shape = (vocabulary, synonyms, branching)
    return Grammar(tuple(((codes[:, None] // place) % vocabulary).reshape(shape) for codes in drawn))


def sample(rules: Grammar, *, samples: int, seed: int = 0) -> Sentences:
    """Independent sentences: a uniform root label, then uniform choices among synonyms.

    Args:
        rules: from `grammar`.
        samples: number of sentences, at least 1.
        seed: of the generator.

    Raises:
        OptionError: samples below 1.

    Example:
        >>> drawn = sample(grammar(depth=3), samples=5)
        >>> drawn.leaves.shape, drawn.roots.shape
        ((5, 8), (5,))
    """
    require(samples >= 1, "samples", expected="an integer >= 1", received=samples)
    generator = np.random.default_rng(seed)
    roots = generator.integers(rules.vocabulary, size=samples)
    sizes = [rules.branching**level for level in range(rules.depth)]
    return _expand(rules, roots, tuple(generator.integers(rules.synonyms, size=(samples, size)) for size in sizes))


def exact(rules: Grammar, leaves: Int64[np.ndarray, "samples leaves"]) -> Sentences:
    """The parse of every sentence, from its leaves alone.

    Args:
        rules: the grammar that made them.
        leaves: (samples, s^D).

    Raises:
        PromptError: not s^D leaves, or a sentence that the grammar does not make.

    Example:
        >>> rules = grammar(depth=3)
        >>> drawn = sample(rules, samples=5)
        >>> bool((exact(rules, drawn.leaves).roots == drawn.roots).all())
        True
    """
    size = rules.branching**rules.depth
    if leaves.shape[1] != size:
        raise _refusal("leaves", f"{size} leaves per sentence", f"{leaves.shape[1]}")
    if ((leaves < 0) | (leaves >= rules.vocabulary)).any():
        row = int(((leaves < 0) | (leaves >= rules.vocabulary)).any(1).argmax())
        raise _refusal(f"leaves[{row}]", f"symbols from 0 to {rules.vocabulary - 1}", f"{leaves[row].tolist()}")
    symbols, choices = [leaves], []
    for table in reversed(rules.rules):
        above, rule = _reduce(table, symbols[-1])
        symbols.append(above)
        choices.append(rule)
    return Sentences(tuple(reversed(symbols)), tuple(reversed(choices)))


def swap_synonyms(rules: Grammar, drawn: Sentences, *, height: int, seed: int = 0) -> Sentences:
    """Sentences with one expansion, at a random place of the given height, exchanged for one of its synonyms.

    All other choices stay what they were, so that what hangs below the exchanged symbols is expanded with the same rule
    numbers. The root label never changes.

    Args:
        rules: the grammar.
        drawn: sentences to change.
        height: levels between the exchanged expansion's symbol and the leaves, from 1 (leaves change) to D (the root's).
        seed: of the places and of the synonyms.

    Raises:
        OptionError: a height outside 1 ... D, or a grammar without synonyms.

    Example:
        >>> rules = grammar(depth=3)
        >>> drawn = sample(rules, samples=4)
        >>> (swap_synonyms(rules, drawn, height=1).leaves != drawn.leaves).sum(1).max() <= 2
        np.True_
    """
    require(1 <= height <= rules.depth, "height", expected=f"an integer from 1 to {rules.depth}", received=height)
    require(rules.synonyms > 1, "rules", expected="a grammar of at least 2 synonyms", received=rules.synonyms)
    generator = np.random.default_rng(seed)
    level, rows = rules.depth - height, np.arange(len(drawn.roots))
    choices = [choice.copy() for choice in drawn.choices]
    place = generator.integers(choices[level].shape[1], size=len(rows))
    choices[level][rows, place] += generator.integers(1, rules.synonyms, size=len(rows))
    choices[level] %= rules.synonyms
    return _expand(rules, drawn.roots, tuple(choices))


def clades(rules: Grammar) -> set[frozenset[int]]:
    """Leaf sets of the inner nodes below the root: the tree that every sentence has.

    Example:
        >>> sorted(sorted(clade) for clade in clades(grammar(depth=2)))
        [[0, 1], [2, 3]]
    """
    leaves = rules.branching**rules.depth
    sizes = (rules.branching**height for height in range(1, rules.depth))
    return {frozenset(range(i, i + size)) for size in sizes for i in range(0, leaves, size)}


def entropy(rules: Grammar) -> float:
    """Entropy of a sentence, nats: ln v + (s^D - 1)/(s - 1) ln m, since every derivation is its own sentence.

    Example:
        >>> round(float(entropy(grammar(depth=3)) / np.log(2)), 6)  # 3 bits of label, 7 choices of 2 bits
        17.0
    """
    choices = (rules.branching**rules.depth - 1) // (rules.branching - 1)
    return float(np.log(rules.vocabulary) + choices * np.log(rules.synonyms))


def _expand(rules: Grammar, roots: np.ndarray, choices: tuple[np.ndarray, ...]) -> Sentences:
    symbols = [roots[:, None]]
    for table, choice in zip(rules.rules, choices, strict=True):
        symbols.append(table[symbols[-1], choice].reshape(len(roots), -1))
    return Sentences(tuple(symbols), choices)


def _reduce(table: np.ndarray, symbols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Symbols one level up, and the rules that made these."""
    vocabulary, synonyms, branching = table.shape
    place = vocabulary ** np.arange(branching)
    inverse = np.full(vocabulary**branching, -1)
    inverse[table @ place] = np.arange(vocabulary * synonyms).reshape(vocabulary, synonyms)
    found = inverse[symbols.reshape(len(symbols), -1, branching) @ place]
    if (found < 0).any():
        row, node = (int(i) for i in np.argwhere(found < 0)[0])
        group = symbols[row].reshape(-1, branching)[node].tolist()
        raise _refusal(f"leaves[{row}]", "a sentence of this grammar", f"the group {group}, which no rule makes")
    return found // synonyms, found % synonyms


def _refusal(culprit: str, expected: str, received: str) -> PromptError:
    return PromptError(culprit, expected=expected, received=received, remedy="pass leaves drawn from this grammar")
