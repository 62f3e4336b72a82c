"""A number and its noun, as every sentence of rgprobe writes them."""

from __future__ import annotations

__all__ = ["counted"]


def counted(count: int, noun: str) -> str:
    """A number with its noun, in the plural unless it is one.

    Args:
        count: how many there are.
        noun: in the singular; of nouns in "y" those after a consonant are meant (copy, quantity).

    Example:
        >>> counted(1, "shuffled copy"), counted(2000, "shuffled copy"), counted(0, "prompt")
        ('1 shuffled copy', '2,000 shuffled copies', '0 prompts')
    """
    plural = noun.removesuffix("y") + "ies" if noun.endswith("y") else noun + "s"
    return f"{count:,} {noun if count == 1 else plural}"
