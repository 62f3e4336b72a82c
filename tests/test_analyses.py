"""The scripts of analyses/: all are listed, all answer --help, and what they print is kept as they say."""

import ast
import re
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "analyses"
SCRIPTS = sorted(FOLDER.glob("*.py"))
LISTED = (FOLDER / "README.md").read_text("utf-8")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_every_script_is_listed_and_says_what_it_asks(script):
    assert f"`{script.name}" in LISTED
    text = script.read_text("utf-8")
    asks = ast.get_docstring(ast.parse(text))
    assert asks
    if "__main__" in text:
        assert f"python analyses/{script.name}" in asks  # how it is called


def test_nothing_is_listed_that_is_not_there():
    names = set(re.findall(r"`(\w+\.py)", LISTED))
    assert names == {script.name for script in SCRIPTS}


def test_every_question_has_a_command_a_time_artefacts_and_a_page():
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in LISTED.splitlines() if line.startswith("| ")]
    questions = [row for row in rows if row[0].strip() != "question"]
    assert len(questions) >= 20
    for row in questions:
        assert len(row) == 5
        assert all(cell.strip() for cell in row)


def test_numbers_and_page_are_kept_where_asked(tmp_path, capsys):
    from artefacts import artefacts

    for out, stem in ((tmp_path / "into", "draws"), (tmp_path / "named.json", "named")):
        with artefacts(out, "draws") as keep:
            sys.stdout.write("a table\n")
            keep({"a": 1.5})
        folder = out if out.is_dir() else tmp_path
        assert '"a": 1.5' in (folder / f"{stem}.json").read_text("utf-8")
        page = (folder / f"{stem}.md").read_text("utf-8")
        assert page.startswith("# draws\n\n    python analyses/draws.py")
        assert "a table\n" in page
    with artefacts(None, "draws") as keep:
        sys.stdout.write("shown only\n")
        keep({})
    assert capsys.readouterr().out == "a table\na table\nshown only\n"
    assert len(list(tmp_path.rglob("*.*"))) == 4
