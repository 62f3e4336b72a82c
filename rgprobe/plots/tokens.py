"""Token text made readable and harmless: what a figure, an axis or a hover box may show."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

__all__ = ["figure_text", "figure_texts", "readable"]

NAMED = {"\n": "⏎", "\t": "⇥", "\r": "␍", "\x7f": "␡"}


def readable(text: str, *, longest: int = 24) -> str:
    r"""One visible line: the space before a word is dropped, white space and control characters become signs.

    Direction marks, other invisible characters and lone surrogates are written as escapes, so that they can be seen
    and cannot reorder the text around them.

    Args:
        text: a token or a prompt, as the tokenizer decodes it.
        longest: number of characters kept.

    Example:
        >>> readable(" be"), readable("\n\n"), readable(" "), readable("\u202ea"), readable("\x00")
        ('be', '⏎⏎', '␣', '\\u202ea', '␀')
    """
    body = text.removeprefix(" ")
    if not body:
        return "␣" if text else "∅"
    shown = "".join(_visible(character) for character in body)
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def _visible(character: str) -> str:
    code = ord(character)
    if character in NAMED:
        return NAMED[character]
    if code < 0x20:
        return chr(0x2400 + code)
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
        return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    return character


def figure_text(text: str, *, longest: int = 24) -> str:
    """`readable`, with the characters replaced that plotly takes for markup.

    Example:
        >>> figure_text("<b>x</b>")
        '&lt;b&gt;x&lt;/b&gt;'
    """
    shown = readable(text, longest=longest)
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("$", "&#36;"), ("%{", "%&#123;")):
        shown = shown.replace(character, entity)
    return shown


def figure_texts(texts: Iterable[str]) -> list[str]:
    """`figure_text` of each."""
    return [figure_text(text) for text in texts]
