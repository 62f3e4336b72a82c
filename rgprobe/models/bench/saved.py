"""Records of benchmarks as JSON text, under the name and version of a schema. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

from rgprobe.errors import BadInput

__all__ = ["read_record", "written_record"]

R = TypeVar("R")


def written_record(record: Any, schema: str, version: int) -> str:
    """A dataclass as JSON text.

    Args:
        record: a dataclass of what JSON has.
        schema, version: of its form.
    """
    return json.dumps({"schema": schema, "version": version, **asdict(record)}, indent=1) + "\n"


def read_record(text: str, schema: str, version: int, *, command: str, build: Callable[[dict[str, Any]], R]) -> R:
    """What `build` makes of the text that `written_record` wrote.

    Args:
        text: JSON.
        schema, version: of the form that is expected.
        command: that writes such files; named where the text is something else.
        build: from the fields of the record.

    Raises:
        BadInput: the text is not JSON of this schema and version.

    Example:
        >>> read_record('{"schema": "a", "version": 1, "x": 2}', "a", 1, command="rgprobe bench", build=lambda r: r["x"])
        2
    """
    try:
        found = json.loads(text)
        received = f"{found['schema']} version {found['version']}"
        if (found["schema"], found["version"]) == (schema, version):
            return build(found)
    except (KeyError, TypeError, ValueError) as error:
        received = f"{type(error).__name__}: {error}"
    raise BadInput(schema.removeprefix("rgprobe.").replace("-", " "), expected=f"JSON of schema {schema} version {version}",
                   received=received, remedy=f"pass a file that {command} wrote")  # fmt: skip
