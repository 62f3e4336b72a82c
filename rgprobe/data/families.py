"""Families of paraphrases: prompts that mean the same in other words, with controls that do not. Imports no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files

__all__ = ["SAME_LAST_WORD", "SHARED_WORDS", "Family", "labelled_prompts", "last_word", "load_families"]

# how the label of a group of controls begins; every other label names a family
SHARED_WORDS, SAME_LAST_WORD = "words: ", "last: "
LISTS = ("words", "paraphrases", "shared_words", "same_last_word")


@dataclass(frozen=True)
class Family:
    """Prompts with one answer, and their controls.

    Attributes:
        name: what is asked for; the label of the paraphrases.
        answer: the one answer; no paraphrase contains it.
        words: content words; each control in `shared_words` contains all of them, each paraphrase at least one.
        paraphrases: 8 questions and statements. Each of the 8 families' endings (is, ?, :, be, as, say, simply, with) occurs
            once, so that the last word tells nothing about the family; the answer comes next where the form allows.
        shared_words: 4 prompts with the same words and other meanings, also from each other.
        same_last_word: 4 prompts of other meanings that end in the words that `shared_words` leave out.
    """

    name: str
    answer: str
    words: tuple[str, ...]
    paraphrases: tuple[str, ...]
    shared_words: tuple[str, ...]
    same_last_word: tuple[str, ...]


def load_families() -> tuple[Family, ...]:
    """The 24 families that ship with rgprobe, written for it.

    Example:
        >>> families = load_families()
        >>> len(families), families[0].paraphrases[0], families[0].answer
        (24, 'The capital of France is', 'Paris')
    """
    record = json.loads((files("rgprobe.data") / "families.json").read_text("utf-8"))
    return tuple(
        Family(entry["name"], entry["answer"], *(tuple(entry[field]) for field in LISTS))
        for entry in record["families"]
    )


def labelled_prompts() -> list[tuple[str, str]]:
    """(text, group) of all 384 prompts: 192 paraphrases, then 96 controls of each kind.

    Paraphrases and the controls that share their words are labelled by family; controls of equal last word by that word.

    Example:
        >>> prompts = labelled_prompts()
        >>> len(prompts), prompts[192][1], prompts[-1]
        (384, 'words: capital of France', ('The children built a raft with', 'last: with'))
    """
    families = load_families()
    return [
        *((text, family.name) for family in families for text in family.paraphrases),
        *((text, SHARED_WORDS + family.name) for family in families for text in family.shared_words),
        *((text, SAME_LAST_WORD + last_word(text)) for family in families for text in family.same_last_word),
    ]


def last_word(text: str) -> str:
    """The last word of a prompt, or the mark that ends it.

    Example:
        >>> last_word("The capital of France is"), last_word("Is it Paris?")
        ('is', '?')
    """
    return text[-1] if not text[-1].isalnum() else text.rsplit(maxsplit=1)[-1]
