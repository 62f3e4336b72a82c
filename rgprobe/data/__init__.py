"""Small data of rgprobe: prompt sets. Imports no torch."""

from __future__ import annotations

import json
from importlib.resources import files

from rgprobe.errors import OptionError

__all__ = ["load_prompts", "prompt_set_names"]


def prompt_set_names() -> tuple[str, ...]:
    """Names of the prompt sets that ship with rgprobe.

    Example:
        >>> {"held_out", "passages", "swaps"} <= set(prompt_set_names())
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

    Raises:
        OptionError: there is no such set; the message lists those that exist.

    Example:
        >>> len(load_prompts("held_out"))
        24
    """
    names = prompt_set_names()
    if name not in names:
        raise OptionError("prompts", expected=" or ".join(names), received=name, remedy="pass a name or a file")
    record = json.loads((files(__name__) / f"{name}.json").read_text("utf-8"))
    return [prompt["text"] for prompt in record["prompts"]]
