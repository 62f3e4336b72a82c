"""docs/faithfulness.md shows the table of docs/faithfulness.json, which `analyses/faithfulness.py` measured.

To write it again: `python tests/test_faithfulness_page.py DIR...`, the folders that the analysis wrote.
"""

import importlib.util
import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE, RECORD = ROOT / "docs" / "faithfulness.md", ROOT / "docs" / "faithfulness.json"
FIGURE = ROOT / "docs" / "images" / "faithfulness.svg"
BEGIN, END = "<!-- table -->", "<!-- end of table -->"


def analysis():
    spec = importlib.util.spec_from_file_location("faithfulness_analysis", ROOT / "analyses" / "faithfulness.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def table():
    return "\n".join(analysis().table(json.loads(RECORD.read_text("utf-8"))))


def test_the_page_shows_what_was_measured():
    assert PAGE.read_text("utf-8").split(BEGIN)[1].split(END)[0].strip() == table()


def test_the_tree_is_compared_with_the_best_grouping_not_with_a_convenient_one():
    module = analysis()
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
        analysis().draw(rows, FIGURE)
    before, rest = PAGE.read_text("utf-8").split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{table()}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")
