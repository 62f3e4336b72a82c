"""Newick text of a tree whose labels are arbitrary token strings."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

__all__ = ["escape_label", "newick"]

NAMED = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
# Control, format (right-to-left marks), surrogate, private, unassigned, line and paragraph separators.
INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def escape_label(label: str) -> str:
    r"""Quoted Newick label: always in single quotes, quotes doubled, one line, encodable as UTF-8.

    Spaces and printable Unicode stay; newline, tab and return become ``\n``, ``\t``, ``\r``, a backslash is doubled,
    and every other control, format or surrogate character becomes ``\uXXXX`` (``\UXXXXXXXX`` beyond the basic plane),
    so distinct labels stay distinct.

    Example:
        >>> print(escape_label("it's (a)\n"))
        'it''s (a)\n'
    """
    return "'" + "".join(_escape(c) for c in label).replace("'", "''") + "'"


def _escape(character: str) -> str:
    if character in NAMED:
        return NAMED[character]
    if unicodedata.category(character) in INVISIBLE:
        code = ord(character)
        return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    return character


def newick(linkage: Float64[np.ndarray, "M 4"], labels: Sequence[str] | None) -> str:
    """Newick text of a linkage matrix, branch lengths being height differences; unlabelled leaves get their number.

    Built bottom up without recursion, so that a caterpillar of thousands of tokens is no deeper than a bush.

    Example:
        >>> import numpy as np
        >>> newick(np.array([[0.0, 1.0, 0.25, 2.0]]), ("a", "b"))
        "('a':0.25,'b':0.25);"
    """
    n = len(linkage) + 1
    text = {i: escape_label(str(i) if labels is None else labels[i]) for i in range(n)}
    heights = [0.0] * n + linkage[:, 2].tolist()
    for k, (left, right) in enumerate(linkage[:, :2].astype(int).tolist()):
        branches = (f"{text.pop(i)}:{heights[n + k] - heights[i]!r}" for i in (left, right))
        text[n + k] = f"({','.join(branches)})"
    return text[2 * n - 2] + ";"
