"""docs/planted-hierarchy.md shows the tables of docs/planted-hierarchy.json.

    python tests/test_planted_hierarchy_page.py RUNS

gathers RUNS/*/trees.json, which `analyses/planted_hierarchy.py trees` wrote, draws the figure and writes the tables.
"""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE, DATA = ROOT / "docs" / "planted-hierarchy.md", ROOT / "docs" / "planted-hierarchy.json"
FIGURE = ROOT / "docs" / "images" / "planted-hierarchy.svg"


@pytest.fixture
def analyses(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "analyses"))


def tables(results):
    import planted_tables

    return {
        "losses": planted_tables.losses(results),
        "best": "\n\n".join(planted_tables.of_best(results)),
        "states": "\n\n".join(planted_tables.of_states(results)),
        "ancestors": "\n\n".join(planted_tables.of_ancestors(results)),
    }


def marks(name):
    return f"<!-- {name} -->", f"<!-- end of {name} -->"


def test_the_page_shows_what_was_measured(analyses):
    page = PAGE.read_text("utf-8")
    for name, text in tables(json.loads(DATA.read_text("utf-8"))).items():
        begin, end = marks(name)
        assert page.split(begin)[1].split(end)[0].strip() == text


def main(runs):
    sys.path.insert(0, str(ROOT / "analyses"))
    import planted_tables

    results = [json.loads(path.read_text("utf-8")) for path in sorted(runs.glob("*/trees.json"))]
    DATA.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    planted_tables.draw(results, FIGURE)
    page = PAGE.read_text("utf-8")
    for name, text in tables(results).items():
        begin, end = marks(name)
        before, rest = page.split(begin)
        page = f"{before}{begin}\n\n{text}\n\n{end}{rest.split(end)[1]}"
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
