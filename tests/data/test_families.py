"""What the shipped families promise, which no reader would notice to be broken."""

import json
import re
from collections import Counter
from importlib.resources import files

import pytest

from rgprobe.data import load_families, load_groups, load_prompts
from rgprobe.data.families import SAME_LAST_WORD, SHARED_WORDS, last_word

ENDINGS = ["is", "?", ":", "be", "as", "say", "simply", "with"]
FAMILIES = load_families()


def contains(text, word):
    return re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) is not None


def every_text():
    return [text for f in FAMILIES for text in (*f.paraphrases, *f.shared_words, *f.same_last_word)]


def test_counts_and_uniqueness():
    assert len({family.name for family in FAMILIES}) == len(FAMILIES) == 24
    assert {(len(f.paraphrases), len(f.shared_words), len(f.same_last_word)) for f in FAMILIES} == {(8, 4, 4)}
    assert len({text.casefold() for text in every_text()}) == 384
    assert all(text == " ".join(text.split()) for text in every_text())
    assert "capital of France" in {family.name for family in FAMILIES}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_last_words_are_balanced_over_families(family):
    assert [last_word(text) for text in family.paraphrases] == ENDINGS
    controls = [*family.shared_words, *family.same_last_word]
    assert sorted(last_word(text) for text in controls) == sorted(ENDINGS)


def test_each_last_word_has_as_many_controls():
    for kind in ("shared_words", "same_last_word"):
        endings = Counter(last_word(text) for family in FAMILIES for text in getattr(family, kind))
        assert endings == dict.fromkeys(ENDINGS, 12)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_words_are_shared_where_they_should_be(family):
    assert len(family.words) == 2
    for text in family.shared_words:
        assert all(contains(text, word) for word in family.words), text
    for text in family.paraphrases:
        assert any(word.rstrip("s").casefold() in text.casefold() for word in family.words), text
        assert not contains(text, family.answer), text
    for text in family.same_last_word:
        assert not any(contains(text, word) for word in family.words), text


def test_lengths_tell_nothing_about_the_kind_of_prompt():
    means = {
        kind: sum(len(text.split()) for f in FAMILIES for text in getattr(f, kind))
        / 24
        / len(getattr(FAMILIES[0], kind))
        for kind in ("paraphrases", "shared_words")
    }
    assert abs(means["paraphrases"] - means["shared_words"]) < 4


def test_labels_belong_to_their_prompts():
    labelled = dict(zip(load_prompts("families"), load_groups("families"), strict=True))
    for family in FAMILIES:
        assert {labelled[text] for text in family.paraphrases} == {family.name}
        assert {labelled[text] for text in family.shared_words} == {SHARED_WORDS + family.name}
        assert all(labelled[text] == SAME_LAST_WORD + last_word(text) for text in family.same_last_word)
    assert sorted(Counter(labelled.values()).values()) == [4] * 24 + [8] * 24 + [12] * 8


def test_the_file_says_what_it_is():
    record = json.loads((files("rgprobe.data") / "families.json").read_text("utf-8"))
    assert record["licence"]
    assert record["description"]
