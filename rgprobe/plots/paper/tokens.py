"""Token text for paper figures: what the font has is drawn, what it lacks is written as its code point."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise

import matplotlib
from matplotlib.font_manager import FontProperties, findfont, get_font

from rgprobe.plots.tokens import readable

__all__ = ["every", "paper_text", "paper_texts"]

FONT = "DejaVu Sans"
# the pictures of control characters stand for those
CONTROLS = {0x2421: 0x7F, **{0x2400 + code: code for code in range(0x20)}}


def paper_text(text: str, *, longest: int = 16) -> str:
    r"""One visible line that the figures' font can draw; a character that it lacks becomes its code point.

    White space, control characters and direction marks become signs, as in `rgprobe.plots.tokens.readable`. Nothing in it is
    markup: figures are drawn with mathematics switched off.

    Args:
        text: a token, a prompt or a name.
        longest: number of characters kept; a code point is never cut in two.

    Example:
        >>> paper_text(" café"), paper_text("$x_1$"), paper_text("\n"), paper_text("你好")
        ('café', '$x_1$', '⏎', 'U+4F60 U+597D')
    """
    pieces = [_drawn(character) for character in readable(text, longest=max(longest, len(text) + 1) * 10)]
    return "".join(_cut(_spaced(pieces), longest))


def paper_texts(texts: Iterable[str], *, longest: int = 16) -> list[str]:
    """`paper_text` of each."""
    return [paper_text(text, longest=longest) for text in texts]


def every(count: int, room: int) -> int:
    """Label every k-th of so many items where there is room for so many labels.

    Example:
        >>> every(32, 40), every(100, 40)
        (1, 3)
    """
    return max(1, -(-count // max(room, 1)))


def _spaced(pieces: Sequence[str]) -> list[str]:
    """Code points stand apart from their neighbours."""
    spaced = list(pieces[:1])
    for before, piece in pairwise(pieces):
        spaced.append(f" {piece}" if len(before) > 1 or len(piece) > 1 else piece)
    return spaced


def _cut(pieces: Sequence[str], longest: int) -> list[str]:
    kept: list[str] = []
    length = 0
    for index, piece in enumerate(pieces):
        room = longest - length - (1 if index + 1 < len(pieces) else 0)
        if len(piece) > room and kept:
            return [*kept, "…"]
        kept.append(piece)
        length += len(piece)
    return kept


@lru_cache(maxsize=4096)
def _drawn(character: str) -> str:
    code = ord(character)
    if _charmap().get(code):
        return character
    return f"U+{CONTROLS.get(code, code):04X}"


@lru_cache(maxsize=1)
def _charmap() -> dict[int, int]:
    with matplotlib.rc_context():
        return dict(get_font(findfont(FontProperties(family=FONT))).get_charmap())
