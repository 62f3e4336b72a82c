"""docs/planted-hierarchy.md shows the tables of docs/planted-hierarchy.json.

    python tests/test_planted_hierarchy_page.py RUNS

gathers RUNS/*/trees.json, which `analyses/planted_hierarchy.py trees` wrote, draws the figure and writes the tables.
"""

import json
import sys
from pathlib import Path

from measured_page import DOCS, IMAGES, analysis, shown, write

PAGE, DATA = DOCS / "planted-hierarchy.md", DOCS / "planted-hierarchy.json"
FIGURE = IMAGES / "planted-hierarchy.svg"


def tables(results):
    planted_tables = analysis("planted_tables")

    return {
        "losses": planted_tables.losses(results),
        "best": "\n\n".join(planted_tables.of_best(results)),
        "states": "\n\n".join(planted_tables.of_states(results)),
        "ancestors": "\n\n".join(planted_tables.of_ancestors(results)),
    }


def test_the_page_shows_what_was_measured():
    assert shown(PAGE) == tables(json.loads(DATA.read_text("utf-8")))


def main(runs):
    planted_tables = analysis("planted_tables")

    results = [json.loads(path.read_text("utf-8")) for path in sorted(runs.glob("*/trees.json"))]
    DATA.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    planted_tables.draw(results, FIGURE)
    write(PAGE, tables(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
