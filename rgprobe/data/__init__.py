"""Small data of rgprobe: prompt sets. Imports no torch."""

from __future__ import annotations

import json
from importlib.resources import files

from rgprobe.checks import one_of
from rgprobe.data.families import Family, labelled_prompts, load_families

__all__ = ["Family", "load_families", "load_groups", "load_prompts", "prompt_set_names"]

FAMILIES = "families"


def prompt_set_names() -> tuple[str, ...]:
    """Names of the prompt sets that ship with rgprobe.

    Example:
        >>> {"families", "held_out", "passages", "swaps"} <= set(prompt_set_names())
        True
    """
    names = (entry.name for entry in files(__name__).iterdir())
    return tuple(sorted(name.removesuffix(".json") for name in names if name.endswith(".json")))


def load_prompts(name: str) -> list[str]:
    """Texts of one prompt set, in order.

    - `held_out`: 24 passages of *Hamlet* and *The Tempest*, which the shipped checkpoints never saw; 90 to 128 tokens
      each under their tokenizer, the opening one included.
    - `passages`: 24 paragraphs of modern prose, 70 to 90 words each, for models of modern text.
    - `swaps`: 52 modern sentences in three forms each, see `rgprobe.data.swaps.load_swaps`.
    - `families`: 24 families of 8 paraphrases, and 192 controls; see `load_groups` and `rgprobe.data.families`.

    Raises:
        OptionError: there is no such set; the message lists those that exist.

    Example:
        >>> len(load_prompts("held_out"))
        24
    """
    one_of("prompts", name, prompt_set_names(), remedy="pass a name or a file")
    if name == FAMILIES:
        return [text for text, _ in labelled_prompts()]
    record = json.loads((files(__name__) / f"{name}.json").read_text("utf-8"))
    return [prompt["text"] for prompt in record["prompts"]]


def load_groups(name: str) -> list[str]:
    """The group of each prompt of a set, for `groups` of `rgprobe.trace` and `rgprobe.run`; "" for prompts in none.

    Raises:
        OptionError: there is no such set.

    Example:
        >>> load_groups("families")[0], set(load_groups("passages"))
        ('capital of France', {''})
    """
    return [group for _, group in labelled_prompts()] if name == FAMILIES else [""] * len(load_prompts(name))
