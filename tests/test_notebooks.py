"""Notebooks are kept as sources: no outputs, a kernel that every installation has, and no definitions."""

import ast
import json
import re
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
NAMES = {"01_first_flow", "02_condensation_trees", "03_temperature_and_fixed_points", "04_standard_vs_gauge"}


def cells(path, kind):
    read = json.loads(path.read_text("utf-8"))
    return [cell for cell in read["cells"] if cell["cell_type"] == kind]


def test_they_are_all_here():
    assert {path.stem for path in NOTEBOOKS} >= NAMES | {"05_bring_your_own_checkpoint"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stripped_and_the_kernel_is_the_usual_one(path):
    read = json.loads(path.read_text("utf-8"))
    assert read["metadata"]["kernelspec"]["name"] == "python3"
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells(path, "code"))
    assert not any("attachments" in cell for cell in cells(path, "markdown"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_they_call_the_package_and_define_nothing(path):
    for cell in cells(path, "code"):
        source = "".join(cell["source"])
        assert len(source.splitlines()) <= 12
        defined = (ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.AsyncFunctionDef)
        assert not any(isinstance(node, defined) for node in ast.walk(ast.parse(source)))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_says_what_would_fool_one(path):
    prose = "\n".join("".join(cell["source"]) for cell in cells(path, "markdown"))
    assert "## What would fool you" in prose
    assert len(re.findall(r"^- \*\*", prose, flags=re.MULTILINE)) >= 3
