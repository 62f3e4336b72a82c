"""A tree for every sentence: exact parses, no ambiguity, and posteriors against sums over all sentences."""

from itertools import product

import numpy as np
import pytest

from rgprobe.errors import NumericalRefusal, OptionError, PromptError
from rgprobe.testbeds import varied_hierarchy
from rgprobe.testbeds.hierarchy_posterior import leaf_evidence
from rgprobe.testbeds.varied_posterior import leaf_posterior


def derivations(rules):
    """(leaves, brackets, probability) of every derivation, by recursion over symbols: slow and obvious."""

    def expanded(symbol, depth):
        if depth == rules.depth:
            yield (symbol,), frozenset(), 1.0
            return
        level = rules.levels[depth]
        for pair in level.whole[symbol].tolist():
            yield from joined([("full", s) for s in pair], depth, 0.5 / rules.synonyms)
        for half, other in level.outer[symbol].tolist():
            parts = [("half", half), ("full", other)]
            yield from joined(parts if level.inner_first else parts[::-1], depth, 0.5 / rules.synonyms)

    def part(kind, symbol, depth):
        if kind == "full":
            yield from expanded(symbol, depth + 1)
        else:
            for pair in rules.levels[depth].inner[symbol].tolist():
                yield from joined([("full", s) for s in pair], depth, 1 / rules.synonyms)

    def joined(parts, depth, chance):
        for (a, one, p), (b, two, q) in product(*(list(part(kind, s, depth)) for kind, s in parts)):
            moved = {(start + len(a), stop + len(a)) for start, stop in two}
            yield a + b, frozenset(one | moved | {(0, len(a) + len(b))}), chance * p * q

    for root in range(rules.vocabulary):
        for leaves, spans, chance in expanded(root, 0):
            kept = frozenset(s for s in spans if 1 < s[1] - s[0] < len(leaves))
            yield leaves, kept, chance / rules.vocabulary


@pytest.mark.parametrize("seed", [0, 1])
def test_every_sentence_has_one_derivation(seed):
    rules = varied_hierarchy.grammar(vocabulary=3, synonyms=1, depth=2, seed=seed)
    all_of_them = list(derivations(rules))
    assert sum(chance for *_, chance in all_of_them) == pytest.approx(1.0)
    assert len({leaves for leaves, *_ in all_of_them}) == len(all_of_them)
    for leaves, spans, _ in all_of_them:
        parsed = varied_hierarchy.exact(rules, np.array([leaves]))
        assert varied_hierarchy.spans(rules, parsed, 0) == spans


@pytest.mark.parametrize(("depth", "leaves"), [(1, 2), (1, 3), (2, 5), (3, 8), (3, 13), (3, 21)])
def test_the_parse_is_found_from_the_leaves_alone(depth, leaves):
    rules = varied_hierarchy.grammar(vocabulary=6, synonyms=3, depth=depth)
    drawn = varied_hierarchy.sample(rules, samples=40, leaves=leaves, seed=3)
    parsed = varied_hierarchy.exact(rules, drawn.leaves)
    for name in ("symbols", "nodes", "long"):
        np.testing.assert_array_equal(getattr(parsed, name), getattr(drawn, name))
    assert drawn.leaves.shape == (40, leaves)
    np.testing.assert_array_equal(drawn.roots, parsed.roots)
    for row in range(40):
        assert len(varied_hierarchy.spans(rules, drawn, row)) == leaves - 2  # a binary tree


def test_sentences_are_as_frequent_as_their_derivations():
    rules = varied_hierarchy.grammar(vocabulary=2, synonyms=1, depth=2, seed=4)
    exact = {leaves: chance for leaves, _, chance in derivations(rules) if len(leaves) == 6}
    total = sum(exact.values())
    drawn = varied_hierarchy.sample(rules, samples=20_000, leaves=6, seed=0).leaves
    rows, counts = np.unique(drawn, axis=0, return_counts=True)
    assert {tuple(row) for row in rows.tolist()} == exact.keys()
    chances = np.array([exact[tuple(row)] / total for row in rows.tolist()])
    np.testing.assert_array_less(np.abs(counts / 20_000 - chances), 5 * np.sqrt(chances / 20_000))


def test_trees_differ_between_sentences():
    rules = varied_hierarchy.grammar(depth=3)
    drawn = varied_hierarchy.sample(rules, samples=60, leaves=12, seed=0)
    assert len({varied_hierarchy.spans(rules, drawn, row) for row in range(60)}) > 10


def test_posterior_is_that_of_all_sentences():
    rules = varied_hierarchy.grammar(vocabulary=3, synonyms=1, depth=2, seed=1)
    sentences = [(np.array(leaves), chance) for leaves, _, chance in derivations(rules) if len(leaves) == 6]
    generator = np.random.default_rng(0)
    read = np.array([sentences[k][0] for k in generator.integers(len(sentences), size=7)])
    known = generator.random(read.shape) < 0.5
    found = leaf_posterior(rules, leaf_evidence(read, vocabulary=3, known=known))
    for row in range(len(read)):
        fits = [(s, p) for s, p in sentences if (s == read[row])[known[row]].all()]
        assert found.log_evidence[row] == pytest.approx(np.log(sum(p for _, p in fits)), abs=1e-12)
        for leaf in range(6):
            others = np.delete(np.arange(6), leaf)
            near = [(s, p) for s, p in sentences if ((s == read[row]) | ~known[row])[others].all()]
            weights = np.bincount([s[leaf] for s, _ in near], [p for _, p in near], minlength=3)
            np.testing.assert_allclose(found.cavity[row, leaf], weights / weights.sum(), atol=1e-12)


def test_options_are_checked():
    with pytest.raises(OptionError, match="synonyms: expected an integer from 1 to 4"):
        varied_hierarchy.grammar(vocabulary=8, synonyms=5)
    rules = varied_hierarchy.grammar(depth=2)
    with pytest.raises(OptionError, match="leaves: expected an integer from 4 to 9"):
        varied_hierarchy.sample(rules, samples=1, leaves=10)
    with pytest.raises(OptionError, match="leaves: expected a length that is not so rare"):
        varied_hierarchy.sample(varied_hierarchy.grammar(depth=3), samples=1, leaves=27)


def test_what_no_rule_makes_is_refused():
    rules = varied_hierarchy.grammar(vocabulary=8, synonyms=2, depth=2)
    drawn = varied_hierarchy.sample(rules, samples=1, leaves=6).leaves
    with pytest.raises(PromptError, match=r"leaves\[0\]"):
        varied_hierarchy.exact(rules, np.zeros_like(drawn) - 1)
    strays = [row for row in product(range(8), repeat=2)
              if not any((table == row).all(-1).any() for table in (rules.levels[1].whole, rules.levels[1].inner))]  # fmt: skip
    with pytest.raises(PromptError, match="which open no word"):
        varied_hierarchy.exact(rules, np.array([strays[0] * 3]))
    impossible = leaf_evidence(np.array([strays[0] * 3]), vocabulary=8)
    with pytest.raises(NumericalRefusal, match=r"evidence\[0\]: expected evidence that some sentence gives"):
        leaf_posterior(rules, impossible)
    with pytest.raises(NumericalRefusal, match="finite"):
        leaf_posterior(rules, -impossible)
    with pytest.raises(PromptError, match="4 to 9 leaves and 8 symbols"):
        leaf_posterior(rules, impossible[:, :3])
