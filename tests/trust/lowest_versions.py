"""Constraints that hold every dependency at the lowest version that pyproject.toml admits.

    python tests/trust/lowest_versions.py > lowest.txt
    python3 -m venv old && old/bin/pip install -e ".[test]" -c lowest.txt && old/bin/python -m pytest

What these need in turn is left to pip, which takes the newest that fit.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def lowest_versions() -> Iterator[str]:
    """`name==version` for everything that the package, its tests and clusters need."""
    project = tomllib.loads(PROJECT.read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    for requirement in [*project["dependencies"], *extras["test"], *extras["cluster"]]:
        name, version = re.fullmatch(r"([\w.-]+)>=([\d.]+),<[\d.]+", requirement).groups()
        yield f"{name}=={version}"


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in lowest_versions())
