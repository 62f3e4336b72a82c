"""The checkpoints that ship inside the package, checked against a manifest. Imports no torch."""

from __future__ import annotations

import json
from pathlib import Path

from rgprobe.checks import one_of
from rgprobe.errors import CheckpointError
from rgprobe.files import sha256_of

__all__ = ["prompts_unseen_by", "shipped_names", "shipped_path", "verify_shipped"]

_ROOT = Path(__file__).with_name("shipped")


def shipped_names() -> tuple[str, ...]:
    """Names of the shipped checkpoints, the plain one first: what others are compared with.

    Example:
        >>> shipped_names()
        ('standard-small', 'gauge-small')
    """
    return tuple(_manifest())


def shipped_path(name: str) -> Path:
    """Directory of the shipped checkpoint `name`; its files are not checked, see `verify_shipped`.

    Raises:
        OptionError: there is no such checkpoint; the message lists those that exist.
    """
    return _ROOT / one_of("checkpoint", name, shipped_names(), remedy="pass a shipped name or a directory")


def prompts_unseen_by(source: str) -> str:
    """Name of the shipped prompt set for a checkpoint: held-out plays for the shipped ones, passages for others.

    The shipped checkpoints know Shakespeare's plays and nothing else; `rgprobe.data.load_prompts` reads the set.

    Example:
        >>> prompts_unseen_by("gauge-small"), prompts_unseen_by("path/to/model")
        ('held_out', 'passages')
    """
    return "held_out" if source in shipped_names() else "passages"


def verify_shipped(name: str) -> None:
    """Compare the SHA-256 of every file of the checkpoint with the manifest.

    Raises:
        OptionError: there is no such checkpoint.
        CheckpointError: a file is missing or its bytes differ; the message names it.

    Example:
        >>> verify_shipped("standard-small")
    """
    directory = shipped_path(name)
    for file, expected in _manifest()[name].items():
        path = directory / file
        received = sha256_of(path) if path.is_file() else "no such file"
        if received != expected:
            raise CheckpointError(
                str(path), expected=f"sha256 {expected}", received=received, remedy="reinstall rgprobe"
            )


def _manifest() -> dict[str, dict[str, str]]:
    """Checkpoint name -> file name -> SHA-256."""
    manifest: dict[str, dict[str, str]] = json.loads((_ROOT / "manifest.json").read_text("utf-8"))
    return manifest
