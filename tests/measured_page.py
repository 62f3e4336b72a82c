"""Pages of docs/ whose tables stand between marks and are written by a script of analyses/ from measured numbers."""

import importlib
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS, IMAGES = ROOT / "docs", ROOT / "docs" / "images"
TABLE = re.compile(r"<!-- (?P<name>[\w ]+) -->(?P<text>.*?)<!-- end of (?P=name) -->", re.DOTALL)


def analysis(name):
    """A script of analyses/, as a module."""
    scripts = str(ROOT / "analyses")
    if scripts not in sys.path:  # pytest has it there; `python tests/test_..._page.py` has not
        sys.path.append(scripts)
    return importlib.import_module(name)


def shown(page):
    """Tables of a page by name."""
    return {found["name"]: found["text"].strip() for found in TABLE.finditer(page.read_text("utf-8"))}


def write(page, tables):
    """Put tables in the places that their names mark."""
    text = TABLE.sub(
        lambda found: f"<!-- {found['name']} -->\n\n{tables[found['name']]}\n\n<!-- end of {found['name']} -->",
        page.read_text("utf-8"),
    )
    page.write_text(text, encoding="utf-8")
