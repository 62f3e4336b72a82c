"""Random hierarchy model: parses, swaps, counts of sentences, and posteriors against enumeration of every derivation."""

from itertools import product

import numpy as np
import pytest

from rgprobe.errors import NumericalRefusal, OptionError, PromptError
from rgprobe.testbeds import hierarchy_posterior, random_hierarchy

CASES = [(8, 4, 2, 3), (3, 2, 3, 2), (5, 5, 2, 4), (2, 2, 2, 5), (7, 1, 2, 2)]


def make(vocabulary, synonyms, branching, depth, seed=1):
    return random_hierarchy.grammar(
        vocabulary=vocabulary, synonyms=synonyms, branching=branching, depth=depth, seed=seed
    )


@pytest.mark.parametrize("case", CASES)
def test_rules_are_unambiguous(case):
    for table in make(*case).rules:
        tuples = table.reshape(-1, case[2])
        assert len(np.unique(tuples, axis=0)) == len(tuples)
        assert ((tuples >= 0) & (tuples < case[0])).all()


@pytest.mark.parametrize("case", CASES)
def test_every_sample_is_parsed_as_it_was_derived(case):
    rules = make(*case)
    drawn = random_hierarchy.sample(rules, samples=101, seed=2)
    found = random_hierarchy.exact(rules, drawn.leaves)
    for name in ("symbols", "choices"):
        for one, other in zip(getattr(drawn, name), getattr(found, name), strict=True):
            np.testing.assert_array_equal(one, other)
    assert drawn.leaves.shape == (101, case[2] ** case[3])


def test_labels_and_choices_are_uniform():
    samples = 8001
    drawn = random_hierarchy.sample(make(5, 3, 2, 3), samples=samples, seed=6)
    counts = np.bincount(drawn.roots, minlength=5)
    assert (abs(counts - samples / 5) < 4 * np.sqrt(samples * 0.16)).all()
    for choice in drawn.choices:
        counts = np.bincount(choice.ravel(), minlength=3)
        assert (abs(counts - choice.size / 3) < 4 * np.sqrt(choice.size * 2 / 9)).all()


def test_entropy_counts_the_sentences():
    rules = make(3, 2, 2, 2)
    sentences = set()
    for root in range(3):
        for choice in product(range(2), repeat=3):
            top = rules.rules[0][root, choice[0]]
            sentences.add(tuple(np.concatenate([rules.rules[1][top[j], choice[1 + j]] for j in (0, 1)])))
    assert np.log(len(sentences)) == pytest.approx(random_hierarchy.entropy(rules))


@pytest.mark.parametrize("height", [1, 2, 3])
def test_synonym_swaps_keep_the_root_and_all_above(height):
    rules = make(8, 4, 2, 3)
    drawn = random_hierarchy.sample(rules, samples=201, seed=4)
    swapped = random_hierarchy.swap_synonyms(rules, drawn, height=height, seed=5)
    parsed = random_hierarchy.exact(rules, swapped.leaves)
    np.testing.assert_array_equal(parsed.roots, drawn.roots)
    for level in range(3 - height + 1):
        np.testing.assert_array_equal(parsed.symbols[level], drawn.symbols[level])
    changed = swapped.leaves != drawn.leaves
    assert (changed.sum(1) <= 2**height).all()
    assert changed.any(1).all() if height == 1 else changed.any(1).mean() > 0.9
    # one expansion changed, and only there
    level = 3 - height
    assert ((parsed.choices[level] != drawn.choices[level]).sum(1) == 1).all()
    # the leaves that changed hang below one symbol
    below = changed.reshape(201, -1, 2**height).any(-1)
    assert (below.sum(1) <= 1).all()


def test_clades_are_those_of_the_complete_tree():
    assert len(random_hierarchy.clades(make(8, 4, 2, 4))) == 2 + 4 + 8
    assert random_hierarchy.clades(make(3, 2, 3, 2)) == {frozenset(range(i, i + 3)) for i in (0, 3, 6)}


def enumerate_derivations(rules):
    """Symbols of every level of every derivation of a grammar of depth 2; all are equally likely."""
    s, m = rules.branching, rules.synonyms
    rows = []
    for root in range(rules.vocabulary):
        for choice in product(range(m), repeat=1 + s):
            top = rules.rules[0][root, choice[0]]
            leaves = np.concatenate([rules.rules[1][top[j], choice[1 + j]] for j in range(s)])
            rows.append(([root], top, leaves))
    return [np.array(level) for level in zip(*rows, strict=True)]


@pytest.mark.parametrize(("vocabulary", "synonyms", "branching"), [(3, 2, 2), (4, 3, 2), (3, 2, 3)])
def test_posteriors_are_those_of_the_enumerated_grammar(vocabulary, synonyms, branching):
    rules = make(vocabulary, synonyms, branching, 2, seed=7)
    levels = enumerate_derivations(rules)
    # soft evidence everywhere, and some leaves known for certain
    generator = np.random.default_rng(8)
    drawn = random_hierarchy.sample(rules, samples=5, seed=9)
    evidence = generator.random((5, branching**2, vocabulary))
    known = generator.random((5, branching**2)) < 0.3
    certain = hierarchy_posterior.leaf_evidence(drawn.leaves, vocabulary=vocabulary)
    evidence = np.where(known[..., None], certain, evidence)
    found = hierarchy_posterior.posterior(rules, evidence)
    for row in range(5):
        weight = evidence[row, np.arange(branching**2), levels[2]].prod(1)
        assert found.log_evidence[row] == pytest.approx(np.log(weight.mean()), rel=1e-12)
        for level in range(3):
            for node in range(branching**level):
                marginal = np.bincount(levels[level][:, node], weight, minlength=vocabulary) / weight.sum()
                np.testing.assert_allclose(found.marginals[level][row, node], marginal, atol=1e-13)


@pytest.mark.parametrize("case", CASES)
def test_all_leaves_determine_the_tree(case):
    rules = make(*case)
    drawn = random_hierarchy.sample(rules, samples=11, seed=3)
    found = hierarchy_posterior.posterior(
        rules, hierarchy_posterior.leaf_evidence(drawn.leaves, vocabulary=rules.vocabulary)
    )
    for marginal, symbols in zip(found.marginals, drawn.symbols, strict=True):
        taken = np.take_along_axis(marginal, symbols[..., None], 2)[..., 0]
        np.testing.assert_allclose(taken, 1.0, atol=1e-12)
    np.testing.assert_allclose(found.log_evidence, -random_hierarchy.entropy(rules), rtol=1e-12)


def test_predictions_from_prefixes_have_the_loss_of_the_chain_rule():
    rules = make(4, 2, 2, 3)
    samples = 2001
    drawn = random_hierarchy.sample(rules, samples=samples, seed=12)
    loss = np.zeros((samples, 8))
    for place in range(8):
        known = (np.arange(8) < place)[None, :]
        evidence = hierarchy_posterior.leaf_evidence(drawn.leaves, vocabulary=4, known=known)
        predicted = hierarchy_posterior.posterior(rules, evidence).marginals[-1][:, place]
        loss[:, place] = -np.log(predicted[np.arange(samples), drawn.leaves[:, place]])
    # chain rule: every sentence has the same probability, so the sum is the entropy for each, without any spread
    np.testing.assert_allclose(loss.sum(1), random_hierarchy.entropy(rules), rtol=1e-10)


def test_no_evidence_leaves_the_prior():
    rules = make(5, 2, 2, 4)
    found = hierarchy_posterior.posterior(rules, np.ones((1, 16, 5)))
    np.testing.assert_allclose(found.root, 0.2, atol=1e-14)
    assert found.log_evidence[0] == pytest.approx(0.0, abs=1e-12)


def test_sentences_of_no_grammar_are_refused():
    rules = make(8, 4, 2, 2)
    drawn = random_hierarchy.sample(rules, samples=2)
    taken = {tuple(t) for t in rules.rules[1].reshape(-1, 2)}
    stray = next(t for t in product(range(8), repeat=2) if t not in taken)
    broken = drawn.leaves.copy()
    broken[1, :2] = stray
    with pytest.raises(PromptError, match=r"leaves\[1\].*no rule makes"):
        random_hierarchy.exact(rules, broken)
    with pytest.raises(NumericalRefusal, match=r"evidence\[1\].*impossible"):
        hierarchy_posterior.posterior(rules, hierarchy_posterior.leaf_evidence(broken, vocabulary=8))
    with pytest.raises(PromptError, match="4 leaves"):
        random_hierarchy.exact(rules, drawn.leaves[:, :3])
    with pytest.raises(PromptError, match=r"leaves\[0\]"):
        random_hierarchy.exact(rules, drawn.leaves + 8)
    with pytest.raises(PromptError, match=r"leaves\[0, 0\]"):
        hierarchy_posterior.leaf_evidence(drawn.leaves + 8, vocabulary=8)
    with pytest.raises(PromptError, match="shape"):
        hierarchy_posterior.posterior(rules, np.ones((1, 3, 8)))
    with pytest.raises(NumericalRefusal, match=r"evidence\[0\]"):
        hierarchy_posterior.posterior(rules, -np.ones((1, 4, 8)))


@pytest.mark.parametrize(
    "options",
    [{"vocabulary": 0}, {"synonyms": 9}, {"synonyms": 0}, {"branching": 1}, {"depth": 0}, {"branching": 9}],
)
def test_what_is_no_grammar_is_refused(options):
    with pytest.raises(OptionError):
        random_hierarchy.grammar(**{"vocabulary": 8, "synonyms": 4, "branching": 2, "depth": 2, **options})


def test_impossible_swaps_and_samples_are_refused():
    rules = make(7, 1, 2, 2)
    drawn = random_hierarchy.sample(rules, samples=1)
    with pytest.raises(OptionError, match="synonyms"):
        random_hierarchy.swap_synonyms(rules, drawn, height=1)
    with pytest.raises(OptionError, match="height"):
        random_hierarchy.swap_synonyms(rules, drawn, height=3)
    with pytest.raises(OptionError, match="samples"):
        random_hierarchy.sample(rules, samples=0)
