"""Nobody's code but ours: no pickle, no evaluation, no network of our own, bounded dependencies, a wheel that stands alone.

That no hub is asked under HF_HUB_OFFLINE is a case of test_hostile_files.py, where an audit hook would see the socket.
"""

import ast
import os
import subprocess
import sys
import tomllib
import zipfile
from functools import cache
from pathlib import Path

import pytest
from lowest_versions import lowest_versions
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "rgprobe"
FORBIDDEN_IMPORTS = {
    "pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "socket", "ssl", "http", "urllib", "requests",
    "httpx", "aiohttp", "ftplib", "smtplib", "telnetlib", "xmlrpc", "webbrowser", "ctypes", "code", "codeop", "runpy", "pdb",
}  # fmt: skip
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "breakpoint", "input"}
# where a process or the hub is the purpose of a file; a local worker is spoken to through a pair of sockets without an address
ALLOWED = {
    ("sweeping/local.py", "socket"),
    ("sweeping/local.py", "subprocess"), ("probe/loading.py", "huggingface_hub"), ("probe/pickle_sizes.py", "pickletools"),
}  # fmt: skip
SUSPECT = {"subprocess", "huggingface_hub", "pickletools", "multiprocessing"}


@cache
def _nodes():
    """(file, node) of every import, call and keyword; parsed once for all tests."""
    kinds = (ast.Import, ast.ImportFrom, ast.Call, ast.keyword)
    return [(path.relative_to(PACKAGE).as_posix(), node) for path in sorted(PACKAGE.rglob("*.py"))
            for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, kinds)]  # fmt: skip


def _imported(node):
    if isinstance(node, ast.Import):
        return [alias.name.split(".")[0] for alias in node.names]
    return [(node.module or "").split(".")[0]] if isinstance(node, ast.ImportFrom) and node.level == 0 else []


def test_no_pickle_network_or_evaluation():
    found = [(path, name) for path, node in _nodes() for name in _imported(node) if name in FORBIDDEN_IMPORTS]
    called = [(path, node.func) for path, node in _nodes() if isinstance(node, ast.Call)]
    found += [(path, name.id) for path, name in called if isinstance(name, ast.Name) and name.id in FORBIDDEN_CALLS]
    assert set(found) <= ALLOWED


def test_processes_and_the_hub_stay_where_they_belong():
    found = {(path, name) for path, node in _nodes() for name in _imported(node) if name in SUSPECT}
    strays = {
        (path, name) for path, name in found if not path.startswith(("sweeping/", "models/bench/", "benchmarks/"))
    } - ALLOWED
    assert strays == set()


def test_weights_are_never_unpickled_by_us():
    """torch.load would be ours to guard; transformers reads with `weights_only=True`, which the hostile files test."""
    calls = [(path, ast.unparse(node.func)) for path, node in _nodes() if isinstance(node, ast.Call)]
    assert [(path, name) for path, name in calls if name in ("torch.load", "numpy.load", "np.load")] == []


def test_no_remote_code_is_trusted():
    for path, node in _nodes():
        if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
            assert isinstance(node.value, ast.Constant), path
            assert node.value.value is False, path


def test_dependencies_have_lower_and_upper_bounds():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    declared = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    for requirement in map(Requirement, declared):
        operators = {specifier.operator for specifier in requirement.specifier}
        assert operators == {"=="} or operators >= {">=", "<"}, f"{requirement} has no upper bound"


def test_lowest_versions_are_within_the_bounds():
    """What `lowest_versions.py` would have installed is what each requirement admits, and nothing is forgotten."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    versions = dict(line.split("==") for line in lowest_versions())
    for requirement in map(Requirement, project["dependencies"]):
        assert requirement.specifier.contains(versions[requirement.name]), requirement


def test_wheel_stands_alone(full, tmp_path):
    """Built from the tracked files, unpacked elsewhere, run from there."""
    if not full:
        pytest.skip("builds a wheel; with --full")
    source = tmp_path / "source"
    source.mkdir()
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    subprocess.run(["xargs", "-0", "cp", "--parents", "-t", source], cwd=ROOT, input=tracked, check=True)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, source]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("rgprobe-*.whl")
    place = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place)
    code = (
        "import sys, rgprobe; from rgprobe.cli import main; assert sys.argv[1] in rgprobe.__file__; "
        "sys.exit(main(sys.argv[2:]))"
    )
    words = [
        "run",
        "gauge-small",
        "--text",
        "Now is",
        "--nulls",
        "0",
        "--diagnostics",
        "plateau",
        "--quiet",
        "--out",
        "out",
    ]
    environment = {**os.environ, "PYTHONPATH": str(place), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-P", "-c", code, place, *words], cwd=tmp_path, env=environment, capture_output=True,
                          text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "gauge-small.nc",
        "gauge-small.trees.json",
        "report.html",
    ]
