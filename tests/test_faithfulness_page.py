"""docs/faithfulness.md shows the table of docs/faithfulness.json, which `analyses/faithfulness.py` measured.

To write it again: `python tests/test_faithfulness_page.py DIR... [--unseen DIR...]`, the folders that the analysis wrote.
"""

import argparse
import json
from pathlib import Path

from measured_page import DOCS, IMAGES, analysis, shown, write

PAGE, RECORD, UNSEEN = DOCS / "faithfulness.md", DOCS / "faithfulness.json", DOCS / "faithfulness-unseen.json"
FIGURE = IMAGES / "faithfulness.svg"


def tables():
    module = analysis("faithfulness")
    seen, unseen = (json.loads(path.read_text("utf-8")) for path in (RECORD, UNSEEN))
    return {"table": "\n".join(module.table(seen)), "unseen": "\n".join(module.unseen_table(unseen))}


def test_the_page_shows_what_was_measured():
    assert shown(PAGE) == tables()


def test_the_tree_is_compared_with_the_best_grouping_not_with_a_convenient_one():
    module = analysis("faithfulness")
    row = {"relative": {"tree": [0.1, 0.3], "ward": [0.5, 0.5], "k_means": [0.2, 0.2], "bipartite": [0.9, 0.9]}}
    best, ratio, low, high = module.compared(row)
    assert best == "k_means"
    assert low <= ratio == 1.0 <= high


def measured(folders):
    """Rows of the folders, rounded, without the paths of models."""
    rows = [row for name in folders for row in json.loads((Path(name) / "faithfulness.json").read_text("utf-8"))]
    for row in rows:
        row["model"] = Path(row["model"]).name
        row["relative"] = {name: [round(value, 6) for value in values] for name, values in row["relative"].items()}
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("seen", nargs="*")
    parser.add_argument("--unseen", nargs="*", default=[])
    given = parser.parse_args()
    for path, folders in ((RECORD, given.seen), (UNSEEN, given.unseen)):
        if folders:
            path.write_text(json.dumps(measured(folders)) + "\n", "utf-8")
    if given.seen:
        analysis("faithfulness").draw(json.loads(RECORD.read_text("utf-8")), FIGURE)
    write(PAGE, tables())
