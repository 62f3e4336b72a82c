r"""Random hierarchy with a different tree for every sentence: the parse cannot be guessed from positions, and is still unique.

The random hierarchy model has one tree shape. Here a symbol of level l is expanded, with even chances,

- into two symbols of level l + 1, by one of m rules; or
- into one such symbol and a *half-level* symbol, which becomes two symbols of level l + 1 by one of m rules of its own: three
  symbols in all, of which two belong together.

All right-hand sides of a level that make two symbols are distinct, whether they make up a whole constituent or a half-level
one. Where the half-level symbol stands first, a level is therefore read from left to right, two symbols at a time: they are a
whole constituent, or a third one follows. Where it stands last, the same holds from right to left. So every sentence has one
parse, whose tree is binary. Levels alternate, the root's having the half-level symbol first. Sentences are drawn with a given
number of leaves, between 2^D and 3^D.

Sources: Cagnetta, Petrini, Tomasini, Favero, Wyart, Phys. Rev. X 14, 031001 (2024) (arXiv:2307.02129) for rules with synonyms;
two-symbol words and three-symbol words none of which opens another are a prefix code (Sardinas & Patterson, 1953).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64

from rgprobe.errors import PromptError
from rgprobe.testbeds.options import require

__all__ = ["Level", "Sentences", "VariedGrammar", "exact", "grammar", "sample", "spans"]

Rules = Int64[np.ndarray, "vocabulary synonyms 2"]
_MOST_DRAWS = 400  # sentences drawn at once for each one wanted, before a length counts as too rare


@dataclass(frozen=True, eq=False)
class Level:
    """Rules of one level; entry [a, k] of each has the two symbols that rule k makes of symbol a.

    Attributes:
        whole: a symbol into two of the next level.
        outer: a symbol into a half-level symbol (first column) and one of the next level.
        inner: a half-level symbol into two of the next level.
        inner_first: whether the half-level symbol stands before its sibling.
    """

    whole: Rules
    outer: Rules
    inner: Rules
    inner_first: bool


@dataclass(frozen=True, eq=False)
class VariedGrammar:
    """Rules by level, from the root's to those that make leaves."""

    levels: tuple[Level, ...]

    @property
    def depth(self) -> int:
        """D, levels of rules."""
        return len(self.levels)

    @property
    def vocabulary(self) -> int:
        """v, symbols per level."""
        return self.levels[0].whole.shape[0]

    @property
    def synonyms(self) -> int:
        """m, rules of each kind per symbol."""
        return self.levels[0].whole.shape[1]


@dataclass(frozen=True, eq=False)
class Sentences:
    """Sentences of equally many leaves with their parses; for each leaf and level l < D, what stands above it.

    Attributes:
        leaves: (samples, leaves).
        symbols: symbol of level l above the leaf, (samples, leaves, D); entry 0 is the root.
        nodes: which symbol of level l, counted from the left, (samples, leaves, D).
        long: whether that symbol was expanded into three, (samples, leaves, D).
    """

    leaves: Int64[np.ndarray, "samples leaves"]
    symbols: Int64[np.ndarray, "samples leaves D"]
    nodes: Int64[np.ndarray, "samples leaves D"]
    long: Bool[np.ndarray, "samples leaves D"]

    @property
    def roots(self) -> Int64[np.ndarray, " samples"]:
        """The labels."""
        return self.symbols[:, 0, 0]


def grammar(*, vocabulary: int = 8, synonyms: int = 2, depth: int = 3, seed: int = 0) -> VariedGrammar:
    """Random rules: at each level 2 v m distinct pairs, dealt to the v symbols and the v half-level symbols.

    Args:
        vocabulary: v, at least 2.
        synonyms: m, from 1 to v / 2, so that there are enough pairs.
        depth: D, at least 1.
        seed: of the generator.

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> rules = grammar(depth=2)
        >>> len(rules.levels), rules.levels[0].whole.shape
        (2, (8, 2, 2))
    """
    for name, value, least in (("vocabulary", vocabulary, 2), ("depth", depth, 1)):
        require(value >= least, name, expected=f"an integer >= {least}", received=value)
    most = vocabulary // 2
    require(1 <= synonyms <= most, "synonyms", expected=f"an integer from 1 to {most}", received=synonyms)
    generator = np.random.default_rng(seed)
    return VariedGrammar(tuple(_level(generator, vocabulary, synonyms, level % 2 == 0) for level in range(depth)))


def sample(rules: VariedGrammar, *, samples: int, leaves: int, seed: int = 0) -> Sentences:
    """Independent sentences of exactly so many leaves: a uniform root, uniform choices among rules.

    Args:
        rules: from `grammar`.
        samples: number of sentences, at least 1.
        leaves: from 2^D to 3^D; lengths near either end are rare, and refused where 1 in 400 draws does not reach them.
        seed: of the generator.

    Raises:
        OptionError: an option outside its domain.

    Example:
        >>> drawn = sample(grammar(depth=2), samples=5, leaves=6)
        >>> drawn.leaves.shape, drawn.symbols.shape
        ((5, 6), (5, 6, 2))
    """
    require(samples >= 1, "samples", expected="an integer >= 1", received=samples)
    low, high = 2**rules.depth, 3**rules.depth
    require(low <= leaves <= high, "leaves", expected=f"an integer from {low} to {high}", received=leaves)
    generator = np.random.default_rng(seed)
    flags = _shapes(generator, rules.depth, samples, leaves)
    symbols = generator.integers(rules.vocabulary, size=samples)
    above: list[np.ndarray] = []  # per level: symbol, node and flag of everything that has been expanded, by descendant
    for level, long in zip(rules.levels, flags, strict=True):
        nodes = np.arange(len(symbols))
        above += [symbols, nodes, long]
        symbols = _expand(generator, level, symbols, long)
        above = [np.repeat(each, 2 + long) for each in above]
    shaped = [each.reshape(samples, leaves) for each in above]
    first = np.stack(shaped[1::3], -1)
    return Sentences(
        symbols.reshape(samples, leaves),
        np.stack(shaped[0::3], -1),
        first - first[:, :1],  # counted from the sentence's own first
        np.stack(shaped[2::3], -1),
    )


def exact(rules: VariedGrammar, leaves: Int64[np.ndarray, "samples leaves"]) -> Sentences:
    """The parse of every sentence, from its leaves alone.

    Raises:
        PromptError: a sentence that the grammar does not make.

    Example:
        >>> rules = grammar(depth=2)
        >>> drawn = sample(rules, samples=5, leaves=6)
        >>> bool((exact(rules, drawn.leaves).symbols == drawn.symbols).all())
        True
    """
    parsed = [_parse(rules, row.tolist(), number) for number, row in enumerate(leaves)]
    symbols, nodes, long = (np.array([each[k] for each in parsed]) for k in range(3))
    return Sentences(leaves, symbols, nodes, long.astype(bool))


def spans(rules: VariedGrammar, drawn: Sentences, row: int) -> frozenset[tuple[int, int]]:
    """Brackets (start, stop) of one sentence: constituents and half-level ones, without single leaves and the whole.

    Example:
        >>> rules = grammar(depth=2)
        >>> sorted(spans(rules, sample(rules, samples=1, leaves=4), 0))
        [(0, 2), (2, 4)]
    """
    total = drawn.leaves.shape[1]
    found: set[tuple[int, int]] = set()
    edges = [_edges(drawn.nodes[row, :, level]) for level in range(rules.depth)] + [list(range(total + 1))]
    for depth, level in enumerate(rules.levels):
        for start, stop in zip(edges[depth][:-1], edges[depth][1:], strict=True):
            found.add((start, stop))
            if drawn.long[row, start, depth]:
                children = [edge for edge in edges[depth + 1] if start <= edge <= stop]
                found.add((children[0], children[2]) if level.inner_first else (children[1], children[3]))
    return frozenset(span for span in found if 1 < span[1] - span[0] < total)


def _level(generator: np.random.Generator, vocabulary: int, synonyms: int, inner_first: bool) -> Level:
    count = vocabulary * synonyms
    pairs = generator.choice(vocabulary**2, 2 * count, replace=False)
    outer = generator.choice(vocabulary**2, count, replace=False)
    whole, inner, outer = (
        np.stack([codes // vocabulary, codes % vocabulary], -1).reshape(vocabulary, synonyms, 2)
        for codes in (pairs[:count], pairs[count:], outer)
    )
    return Level(whole, outer, inner, inner_first)


def _shapes(generator: np.random.Generator, depth: int, samples: int, leaves: int) -> list[np.ndarray]:
    """Which nodes of each level are long, all sentences side by side, for sentences of the wanted length."""
    kept: list[list[np.ndarray]] = []
    for _ in range(_MOST_DRAWS):
        # owner: the sentence that a node belongs to
        owner, flags, owners = np.arange(samples), [], []
        for _ in range(depth):
            owners.append(owner)
            flags.append(generator.random(len(owner)) < 0.5)
            owner = np.repeat(owner, 2 + flags[-1])
        fits = np.flatnonzero(np.bincount(owner, minlength=samples) == leaves)
        kept += [[flag[own == sentence] for flag, own in zip(flags, owners, strict=True)] for sentence in fits]
        if len(kept) >= samples:
            return [np.concatenate([shape[level] for shape in kept[:samples]]) for level in range(depth)]
    require(False, "leaves", expected="a length that is not so rare", received=leaves)
    return []


def _expand(generator: np.random.Generator, level: Level, symbols: np.ndarray, long: np.ndarray) -> np.ndarray:
    """The symbols of the next level, side by side."""
    synonyms = level.whole.shape[1]
    rule, half = generator.integers(synonyms, size=(2, len(symbols)))
    pair, outer = level.whole[symbols, rule], level.outer[symbols, rule]
    inner = level.inner[outer[:, 0], half]
    parts = (inner, outer[:, 1:]) if level.inner_first else (outer[:, 1:], inner)
    triple = np.concatenate(parts, 1)
    made = np.where(long[:, None], triple, np.pad(pair, ((0, 0), (0, 1))))
    return made[np.arange(3) < (2 + long)[:, None]]


def _parse(rules: VariedGrammar, leaves: list[int], number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Symbols, nodes and flags above each leaf, (leaves, D)."""
    if not all(0 <= leaf < rules.vocabulary for leaf in leaves):
        raise _refusal(number, f"symbols from 0 to {rules.vocabulary - 1}", f"{leaves}")
    total, row, below = len(leaves), leaves, [[k] for k in range(len(leaves))]
    found = np.zeros((3, total, rules.depth), dtype=np.int64)
    for depth in reversed(range(rules.depth)):
        words = _words(rules.levels[depth], row, number)
        row, merged, start = [], [], 0
        for node, (symbol, size) in enumerate(words):
            merged.append([leaf for child in below[start : start + size] for leaf in child])
            found[:, merged[-1], depth] = np.array([symbol, node, size == 3])[:, None]
            row.append(symbol)
            start += size
        below = merged
    if len(row) != 1:
        raise _refusal(number, "one root", f"{len(row)} symbols at the top")
    return found[0], found[1], found[2]


def _words(level: Level, row: list[int], number: int) -> list[tuple[int, int]]:
    """(symbol above, 2 or 3) for the words of a row of symbols, left to right."""
    tables = ({tuple(pair): a for a, rules in enumerate(table.tolist()) for pair in rules}
              for table in (level.whole, level.outer, level.inner))  # fmt: skip
    whole, outer, inner = tables
    rest, words = list(row if level.inner_first else reversed(row)), []
    while rest:
        pair = tuple(rest[:2]) if level.inner_first else tuple(reversed(rest[:2]))
        symbol, size = whole.get(pair), 2
        if symbol is None and len(rest) > 2:
            symbol, size = outer.get((inner.get(pair, -1), rest[2])), 3
        if symbol is None:
            raise _refusal(number, "a sentence of this grammar", f"the symbols {list(pair)}, which open no word")
        words.append((symbol, size))
        rest = rest[size:]
    return words if level.inner_first else words[::-1]


def _edges(nodes: np.ndarray) -> list[int]:
    return [0, *(np.flatnonzero(np.diff(nodes)) + 1).tolist(), len(nodes)]


def _refusal(number: int, expected: str, received: str) -> PromptError:
    return PromptError(f"leaves[{number}]", expected=expected, received=received,
                       remedy="pass leaves drawn from this grammar")  # fmt: skip
