"""Sentences with two words exchanged, beside the same sentences with the two words replaced. Imports no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files

__all__ = ["Swap", "load_swaps"]


@dataclass(frozen=True)
class Swap:
    """One sentence in three forms with equally many words and the same ending.

    Attributes:
        base: as it is.
        order: the same words, two of them exchanged: what a bag of words cannot tell from `base`.
        content: these two words replaced by others of the same kind, at the same places.
    """

    base: str
    order: str
    content: str


def load_swaps() -> tuple[Swap, ...]:
    """The 52 sentences of the prompt set `swaps`.

    Example:
        >>> load_swaps()[0]
        Swap(base='The dog chased the cat across the yard.',
             order='The cat chased the dog across the yard.',
             content='The fox chased the cow across the yard.')
    """
    prompts = json.loads((files("rgprobe.data") / "swaps.json").read_text("utf-8"))["prompts"]
    forms: dict[int, dict[str, str]] = {}
    for prompt in prompts:
        forms.setdefault(prompt["swap"], {})[prompt["kind"]] = prompt["text"]
    return tuple(Swap(**forms[number]) for number in sorted(forms))
