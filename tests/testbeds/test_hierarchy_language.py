"""The language of the random hierarchy model: least losses against enumeration, layout of sentences."""

import numpy as np
import pytest

from rgprobe.errors import OptionError
from rgprobe.testbeds import hierarchy_language, random_hierarchy

CASES = [(8, 4, 2, 3), (3, 2, 3, 2), (5, 3, 2, 2)]


def make(vocabulary, synonyms, branching, depth, seed=1):
    return random_hierarchy.grammar(
        vocabulary=vocabulary, synonyms=synonyms, branching=branching, depth=depth, seed=seed
    )


@pytest.mark.parametrize("case", CASES)
def test_least_losses_add_up_to_the_entropy_of_a_sentence(case):
    rules = make(*case)
    losses = hierarchy_language.least_loss(rules, random_hierarchy.sample(rules, samples=33, seed=2).leaves)
    np.testing.assert_allclose(losses.sum(1), random_hierarchy.entropy(rules), rtol=1e-12)
    assert (losses >= 0).all()
    assert (losses[:, -1] == 0).all()


def test_least_losses_are_those_of_counting_sentences():
    rules = make(3, 2, 2, 2)
    # 3 labels x 2^3 choices: enough draws to see every one of the 24 sentences, all equally likely
    every = np.unique(random_hierarchy.sample(rules, samples=2000, seed=3).leaves, axis=0)
    assert len(every) == 24
    losses = hierarchy_language.least_loss(rules, every)
    for row, sentence in enumerate(every):
        for place in range(4):
            before = (every[:, :place] == sentence[:place]).all(1)
            after = before & (every[:, place] == sentence[place])
            assert losses[row, place] == pytest.approx(-np.log(after.sum() / before.sum()), abs=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_a_sentence_opens_with_the_special_token_and_ends_with_its_label(case):
    rules = make(*case)
    drawn = random_hierarchy.sample(rules, samples=7, seed=4)
    ids = hierarchy_language.token_ids(rules, drawn)
    names = np.array(hierarchy_language.symbols(rules))
    assert ids.shape == (7, case[2] ** case[3] + 2)
    assert (ids[:, 0] == hierarchy_language.BOS_ID).all()
    np.testing.assert_array_equal(ids[:, 1:-1] - 2, drawn.leaves)
    np.testing.assert_array_equal(ids[:, -1] - 2 - case[0], drawn.roots)
    assert all(name.isupper() for name in names[ids[:, -1]])
    assert len(names) == 2 * case[0] + 2


def test_more_symbols_than_letters_are_refused():
    with pytest.raises(OptionError, match="vocabulary"):
        hierarchy_language.symbols(make(27, 1, 2, 1))
