r"""Constituency brackets from a file in Penn Treebank format: words and the spans of their constituents.

    ( (S (NP (DT The) (NN king)) (VP (VBZ sleeps))) )

Labels are not read. Empty elements (`-NONE-`) have no words and are dropped, with all that stands over them alone; so are
labels' function tags. Trees need not be binary, may be unlabelled at the top, and may span lines.

Source: Marcus, Santorini, Marcinkiewicz, Comput. Linguist. 19 (1993) 313.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rgprobe.errors import BadInput

__all__ = ["BracketedSentence", "parse_brackets", "read_brackets"]

EMPTY = "-NONE-"
_PIECE = re.compile(r"[()]|[^\s()]+")
_ESCAPED = {"-LRB-": "(", "-RRB-": ")", "-LCB-": "{", "-RCB-": "}", "-LSB-": "[", "-RSB-": "]"}


@dataclass(frozen=True)
class BracketedSentence:
    """One sentence with its constituents.

    Attributes:
        words: from left to right.
        spans: (start, stop) of constituents of at least two words, stop excluded, without the whole sentence.
    """

    words: tuple[str, ...]
    spans: frozenset[tuple[int, int]]


def read_brackets(path: Path | str) -> tuple[BracketedSentence, ...]:
    """The sentences of a file.

    Raises:
        BadInput: the file cannot be read as text, holds no tree, or is malformed; the message names file and line.
    """
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(str(path), expected="a text file of bracketed sentences", received=f"{error}".splitlines()[0],
                       remedy="pass a file in Penn Treebank format, UTF-8") from error  # fmt: skip
    return parse_brackets(text, name=str(path))


def parse_brackets(text: str, *, name: str = "brackets") -> tuple[BracketedSentence, ...]:
    """The sentences of a text in Penn Treebank format.

    Args:
        text: any number of trees.
        name: what to call the text in a complaint.

    Raises:
        BadInput: no tree, a bracket too many or too few, or a word outside a tree.

    Example:
        >>> (sentence,) = parse_brackets("(S (NP (DT the) (NN king)) (VBZ sleeps) (. .))")
        >>> sentence.words, sorted(sentence.spans)
        (('the', 'king', 'sleeps', '.'), [(0, 2)])
    """
    found = [sentence for sentence in _sentences(text, name) if sentence.words]
    if not found:
        raise _malformed(name, 1, "a tree", "none")
    return tuple(found)


@dataclass
class _Open:
    """A bracket that is not closed yet: where it began, its first piece, the line, and whether it has children."""

    start: int
    line: int
    pieces: list[str]
    children: int = 0


def _sentences(text: str, name: str) -> Iterator[BracketedSentence]:
    stack: list[_Open] = []
    words: list[str] = []
    spans: set[tuple[int, int]] = set()
    for line, piece in _pieces(text):
        if piece == "(":
            if stack:
                stack[-1].children += 1
            stack.append(_Open(len(words), line, []))
            continue
        if not stack:
            raise _malformed(name, line, "an opening bracket", repr(piece))
        if piece != ")":
            stack[-1].pieces.append(piece)
            continue
        closed = stack.pop()
        _close(closed, words, spans, name, line)
        if not stack:
            yield BracketedSentence(tuple(words), frozenset(s for s in spans if 1 < s[1] - s[0] < len(words)))
            words, spans = [], set()
    if stack:
        raise _malformed(name, stack[-1].line, "a closing bracket for every opening one", "the end of the text")


def _close(closed: _Open, words: list[str], spans: set[tuple[int, int]], name: str, line: int) -> None:
    """A leaf is a label and a word; a constituent a label, or none at the top, and children."""
    if closed.children == 0:
        if len(closed.pieces) != 2:
            raise _malformed(name, line, "a label and a word between innermost brackets", repr(" ".join(closed.pieces)))
        label, word = closed.pieces
        if label != EMPTY:
            words.append(_ESCAPED.get(word, word))
    elif len(closed.pieces) > 1:
        raise _malformed(name, line, "one label before the children of a constituent", repr(" ".join(closed.pieces)))
    spans.add((closed.start, len(words)))


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), start=1):
        for match in _PIECE.finditer(line):
            yield number, match.group()


def _malformed(name: str, line: int, expected: str, received: str) -> BadInput:
    return BadInput(f"{name}:{line}", expected=expected, received=received, remedy="correct the file there")
