"""Prompts from a file, or from a set that ships with rgprobe."""

from __future__ import annotations

import json
import re
from pathlib import Path

from rgprobe.data import load_groups, load_prompts, prompt_set_names
from rgprobe.errors import PromptError, nearest

__all__ = ["read_labelled_prompts", "read_prompts"]

PARAGRAPH_BREAK = re.compile(r"\n[^\S\n]*\n\s*")


def read_prompts(name: str) -> list[str]:
    """Texts of a prompt file; see `read_labelled_prompts`.

    Example:
        >>> len(read_prompts("held_out"))
        24
    """
    return [text for text, _ in read_labelled_prompts(name)]


def read_labelled_prompts(name: str) -> list[tuple[str, str]]:
    """Texts of a prompt file in UTF-8, each with the label of its group, "" for none.

    A file that ends in `.jsonl` holds one JSON value per line, either a string or an object with a "text" and, if it
    belongs to a group of prompts, a "group"; blank lines are skipped. Any other file holds one prompt per paragraph:
    paragraphs are separated by blank lines, line breaks inside them are kept, white space at their ends is not.

    Args:
        name: a path, or the name of a shipped set (`./held_out` is a file of that name).

    Raises:
        PromptError: no such file, not UTF-8, not JSON, or no prompt in it; the message names file and line.

    Example:
        >>> read_labelled_prompts("families")[0]
        ('The capital of France is', 'capital of France')
    """
    if name in prompt_set_names():
        return list(zip(load_prompts(name), load_groups(name), strict=True))
    path = Path(name).expanduser()
    text = _read_text(path)
    prompts = _json_lines(path, text) if path.suffix == ".jsonl" else [(part, "") for part in _paragraphs(text)]
    if not prompts:
        raise PromptError(
            str(path), expected="at least one prompt", received="an empty file", remedy="write a text into it"
        )
    return prompts


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise PromptError(
            str(path),
            expected=f"a text file, or a set among {', '.join(prompt_set_names())}",
            received=getattr(error, "strerror", None) or str(error),
            remedy=nearest(str(path), prompt_set_names(), "correct --prompts"),
        ) from error
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise PromptError(
            f"{path}, line {line}", expected="UTF-8 text", received=f"byte 0x{content[error.start]:02x}",
            remedy="save the file as UTF-8",
        ) from error  # fmt: skip


def _paragraphs(text: str) -> list[str]:
    return [paragraph for part in PARAGRAPH_BREAK.split(text) if (paragraph := part.strip())]


def _json_lines(path: Path, text: str) -> list[tuple[str, str]]:
    # not splitlines(): JSON strings may hold U+2028 and its kin unescaped
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    return [_json_prompt(path, number, line) for number, line in lines]


def _json_prompt(path: Path, number: int, line: str) -> tuple[str, str]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:  # ValueError: no JSON, or a number of too many digits
        raise _unfit(path, number, f"{line[:40]!r}") from error
    text, group = (value.get("text"), value.get("group", "")) if isinstance(value, dict) else (value, "")
    if not isinstance(text, str):
        raise _unfit(
            path, number, f"{type(value).__name__} without one" if isinstance(value, dict) else repr(value)[:40]
        )
    if not text:
        raise _unfit(path, number, "an empty text")
    if not isinstance(group, str):
        raise _unfit(path, number, f"a group that is {json.dumps(group)[:40]}")
    return text, group


def _unfit(path: Path, number: int, received: str) -> PromptError:
    return PromptError(
        f"{path}, line {number}",
        expected='a JSON string, or an object with a "text" string and perhaps a "group" string',
        received=received,
        remedy="correct that line",
    )
