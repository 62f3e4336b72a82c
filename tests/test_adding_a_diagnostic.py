"""`docs/how-to-add-a-diagnostic.md`, followed to the letter in a copy: three files are written, and everything knows of it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "how-to-add-a-diagnostic.md"
FILES = dict(re.findall(r"^`([\w/.]+)`:\n\n```\w+\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL))
KEPT = ("rgprobe", "tests", "docs")


def python(directory, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(directory), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, *arguments], cwd=directory, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The repository, and the three files of the page."""
    directory = tmp_path_factory.mktemp("copy")
    for name in KEPT:
        shutil.copytree(ROOT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__", "runs", "images"))
    shutil.copy(ROOT / "pyproject.toml", directory)
    for name, text in FILES.items():
        assert not (directory / name).exists(), name
        (directory / name).write_text(text, "utf-8")
    return directory


def test_the_page_writes_three_files():
    assert [Path(name).parent.as_posix() for name in FILES] == [
        "rgprobe/diagnostics",
        "tests/diagnostics",
        "docs/diagnostics",
    ]


def test_every_test_that_looks_at_all_diagnostics_passes(copy):
    own = ("tests/diagnostics/test_persistence.py", "rgprobe/diagnostics/persistence.py")
    shared = (
        "tests/validation",
        "tests/test_diagnostics_page.py",
        "tests/test_validation_page.py",
        "tests/test_architecture.py",
    )
    new = "persistence or D35 or test_it_is_the or random_walk or update_cosine"
    chosen = f"{new} or registry or no_two or stated or floor or up"
    # annotations are checked of the new file alone: making the checks of all others takes most of the time
    options = "--import-mode=importlib --doctest-modules --jaxtyping-packages=rgprobe.diagnostics.persistence,beartype.beartype"
    python(
        copy, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", f"addopts={options}", *own, *shared, "-k", chosen
    )


def test_it_is_measured_by_a_run_and_checked_by_the_command_line(copy):
    validate = "validate --only persistence --quiet"
    run = "run standard-small --diagnostics persistence --text 'The king is dead' --nulls 1 --quiet --out out"
    both = f"import shlex; from rgprobe.cli import main; [main(shlex.split(each)) for each in {(validate, run)!r}]"
    said = python(copy, "-c", both)  # one process: most of either is imports
    assert "2 of 2 rows pass." in said
    assert "report.html" in said
    assert (copy / "out" / "standard-small.nc").exists()


def test_the_code_of_the_page_is_in_the_style_of_the_house(copy):
    code = [name for name in FILES if name.endswith(".py")]
    python(copy, "-m", "ruff", "check", "--no-cache", *code)
    python(copy, "-m", "ruff", "format", "--no-cache", "--check", *code)
