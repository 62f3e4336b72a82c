"""docs/faithfulness.md shows the table of docs/faithfulness.json, which `analyses/faithfulness.py` measured.

To write it again: `python tests/test_faithfulness_page.py DIR...`, the folders that the analysis wrote.
"""

import json
import sys
from pathlib import Path

from measured_page import DOCS, IMAGES, analysis, shown, write

PAGE, RECORD = DOCS / "faithfulness.md", DOCS / "faithfulness.json"
FIGURE = IMAGES / "faithfulness.svg"


def tables():
    return {"table": "\n".join(analysis("faithfulness").table(json.loads(RECORD.read_text("utf-8"))))}


def test_the_page_shows_what_was_measured():
    assert shown(PAGE) == tables()


def test_the_tree_is_compared_with_the_best_grouping_not_with_a_convenient_one():
    module = analysis("faithfulness")
    row = {"relative": {"tree": [0.1, 0.3], "ward": [0.5, 0.5], "k_means": [0.2, 0.2], "bipartite": [0.9, 0.9]}}
    best, ratio, low, high = module.compared(row)
    assert best == "k_means"
    assert low <= ratio == 1.0 <= high


if __name__ == "__main__":
    rows = [row for name in sys.argv[1:] for row in json.loads((Path(name) / "faithfulness.json").read_text("utf-8"))]
    for row in rows:
        row["model"] = Path(row["model"]).name
        row["relative"] = {name: [round(value, 6) for value in values] for name, values in row["relative"].items()}
    if rows:
        RECORD.write_text(json.dumps(rows) + "\n", "utf-8")
        analysis("faithfulness").draw(rows, FIGURE)
    write(PAGE, tables())
