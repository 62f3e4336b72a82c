"""What a sweep writes beside its results: a small JSON file per item that says what became of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rgprobe.errors import BadInput, RGProbeError, is_out_of_memory
from rgprobe.files import write_text
from rgprobe.sweeping.items import Item

__all__ = ["Entry", "Failure", "Outcome", "failure_of", "read_entries", "read_entry", "write_entry"]

FORMAT = "rgprobe sweep item 1"
FINAL = (2, 4)  # exit statuses of what another attempt would not change


@dataclass(frozen=True)
class Failure:
    """Why an item has no result.

    Attributes:
        kind: class of the error.
        message: its text.
        exit_code: what `rgprobe run` would have ended with.
        attempts: how often it was tried.
    """

    kind: str
    message: str
    exit_code: int
    attempts: int = 1

    @property
    def is_final(self) -> bool:
        """Whether another attempt is pointless: bad input, or a number that does not exist."""
        return self.exit_code in FINAL


@dataclass(frozen=True)
class Outcome:
    """What became of one attempt at an item.

    Attributes:
        state: "done"; "reused", a result of that identity was there; "held", another process works on it; or "failed".
        failure: why it failed.
    """

    state: Literal["done", "reused", "held", "failed"]
    failure: Failure | None = None


@dataclass(frozen=True)
class Entry:
    """What became of an item.

    Attributes:
        label, run, step: the checkpoint, see `Place`.
        source: as it was given, with its revision.
        prompts: name of the prompt set.
        settings: options of the run, defaults spelled out; empty where the item failed before they were known.
        identity: sha256 of what decides its numbers; empty as above.
        result: name of the result file; empty without one.
        sha256: of the result file.
        failure: why there is none.
    """

    label: str
    run: str
    step: int | None
    source: str
    prompts: str
    settings: Mapping[str, Any]
    identity: str = ""
    result: str = ""
    sha256: str = ""
    failure: Failure | None = None

    @classmethod
    def of(cls, item: Item, **known: Any) -> Entry:
        """An entry of an item."""
        place = item.place
        source = place.source if place.revision is None else f"{place.source}@{place.revision}"
        return cls(place.label, place.run, place.step, source, item.prompts.name, **{"settings": {}, **known})


def failure_of(error: BaseException) -> Failure:
    """What is recorded of an error.

    Example:
        >>> failure_of(MemoryError()).exit_code, failure_of(ZeroDivisionError("1 / 0")).message
        (3, 'ZeroDivisionError: 1 / 0')
    """
    kind = type(error).__name__
    if isinstance(error, RGProbeError):
        return Failure(kind, str(error), error.exit_code)
    environment = isinstance(error, OSError) or is_out_of_memory(error)
    return Failure(kind, f"{kind}: {error}" if str(error) else kind, 3 if environment else 1)


def write_entry(directory: Path, item: Item, entry: Entry) -> None:
    """Write the entry of an item, whole or not at all; one that says the same is left alone."""
    path = directory / f"{item.stem}.json"
    text = json.dumps({"format": FORMAT, **asdict(entry)}, indent=1, sort_keys=True) + "\n"
    if not path.is_file() or path.read_text("utf-8") != text:
        write_text(path, text)


def read_entry(path: Path) -> Entry | None:
    """The entry in a file; None where it is absent or something else.

    Raises:
        BadInput: a file that claims to be an entry and is none.
    """
    try:
        record = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, UnicodeDecodeError, json.JSONDecodeError):
        return None
    if not isinstance(record, dict) or record.pop("format", None) != FORMAT:
        return None
    try:
        failure = record.pop("failure")
        return Entry(**record, failure=None if failure is None else Failure(**failure))
    except (KeyError, TypeError) as error:
        raise BadInput(str(path), expected="the entry of a sweep", received=str(error),
                       remedy="remove it and sweep again")  from error  # fmt: skip


def read_entries(directory: Path, stems: Sequence[str] | None = None) -> list[Entry]:
    """Entries of a folder, all of them or those of some items, by prompt set, run and step."""
    paths = sorted(directory.glob("*.json")) if stems is None else [directory / f"{stem}.json" for stem in stems]
    found = [entry for path in paths if (entry := read_entry(path)) is not None]
    return sorted(found, key=lambda entry: (entry.prompts, entry.run, -1 if entry.step is None else entry.step))
