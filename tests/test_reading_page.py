"""The page on reading a flow lists every null model, with the question that the report prints beside it, and who draws it."""

import ast
import re
import sys
from pathlib import Path

from rgprobe.diagnostics import available
from rgprobe.report.verdicts import QUESTIONS

DOCS = Path(__file__).parents[1] / "docs"
EVERYWHERE = {"random_init", "scaled_init", "shuffled_tokens"}


def table():
    """Question and diagnostics of each null model on the page."""
    text = (
        (DOCS / "how-to-read-a-flow.md").read_text("utf-8").split("<!-- nulls -->")[1].split("<!-- end of nulls -->")[0]
    )
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.strip().splitlines()[2:]]
    return {name.strip("`"): (question, re.findall(r"`(\w+)`", users)) for name, _, question, users in rows}


def nulls_in(file):
    """Names of null models that stand in a file's code as strings."""
    tree = ast.parse(file.read_text("utf-8"))
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)} & set(QUESTIONS)


def test_every_null_is_listed_with_the_question_of_the_report():
    listed = table()
    assert list(listed) == list(QUESTIONS)
    for name, question in QUESTIONS.items():
        assert listed[name][0].startswith(f"{question}?"), name


def test_diagnostics_that_draw_a_null_are_named():
    drawn = {
        name: nulls_in(Path(sys.modules[d.measure.__module__].__file__)) - EVERYWHERE for name, d in available().items()
    }
    for null, (_, users) in table().items():
        expected = [] if null in EVERYWHERE else sorted(name for name, nulls in drawn.items() if null in nulls)
        assert users == expected, null
