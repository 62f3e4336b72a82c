"""The floors: a module imports from lower floors, or from what stands before it on its own floor; nothing points up."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "rgprobe"

# bottom to top; on one floor, a name may import those before it
FLOORS = (
    ("errors", "checks", "wording", "student"),
    ("files", "data", "storage", "locking", "threads", "gaussian", "categorical", "condensation", "testbeds"),
    ("models", "probe"),
    ("gathering", "belief_trace", "planted_trace", "tracing", "cache_trace"),
    ("diagnostics", "rate_distortion"),
    ("bootstrap", "nulls", "contrasts"),
    ("assembly", "rg_flow", "estimating", "measuring", "null_runs", "flow", "planning", "comparison", "validation"),
    ("sweeping", "benchmarks", "plots"),
    ("report",),
    ("cli",),
    # the public names of the package, and `python -m rgprobe`: they import what they like, and no module imports them
    ("__init__", "__main__"),
)
HEIGHT = {name: (floor, place) for floor, names in enumerate(FLOORS) for place, name in enumerate(names)}
# libraries that only some packages may import
RESERVED = {
    "transformer_lens": ("probe", "models.gauge"),
    "transformers": ("models", "probe"),
    "plotly": ("plots", "report"),
    "matplotlib": ("plots",),
}
# `Probe.randomised` is a short name for a function over probes, imported when called: the one cycle there is
ALLOWED_CYCLE = ("probe.model", "probe.reinitialise")
LONGEST_FILE = 300


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Dotted names below `rgprobe`, with their files: "gaussian.record", "gaussian", "__init__"."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return found


def imports(path: Path, module: str, known: dict[str, Path]) -> list[tuple[int, str]]:
    """(line, dotted name) of every import in a file, wherever it stands; names of our own start with "rgprobe."."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, path, module)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                found.append((node.lineno, inner if inner.removeprefix("rgprobe.") in known else base))
    return found


def _absolute(node: ast.ImportFrom, path: Path, module: str) -> str:
    if node.level == 0:
        return node.module or ""
    package = ["rgprobe", *([] if module == "__init__" else module.split("."))]
    up = node.level - (1 if path.name == "__init__.py" else 0)
    return ".".join([*package[: len(package) - up], *([node.module] if node.module else [])])


def own(name: str) -> str | None:
    """Our module behind an absolute name, or None for a library."""
    if name == "rgprobe":
        return "__init__"
    return name.removeprefix("rgprobe.") if name.startswith("rgprobe.") else None


def unit(module: str) -> str:
    return module.split(".")[0]


def upward_arrows(root: Path = ROOT) -> list[str]:
    known = modules(root)
    arrows = []
    for module, path in known.items():
        for line, name in imports(path, module, known):
            target = own(name)
            if target is None or unit(module) == unit(target):
                continue
            if HEIGHT.get(unit(target), (-1, -1)) >= HEIGHT.get(unit(module), (-1, -1)):
                arrows.append(f"{path.relative_to(root)}:{line} imports rgprobe.{target}, which stands above it")
    return arrows


def test_every_module_has_a_floor():
    homeless = sorted({unit(module) for module in modules()} - HEIGHT.keys())
    assert not homeless, f"give the new module a floor in FLOORS and in docs/architecture.md: {homeless}"


def test_no_import_points_up():
    assert upward_arrows() == []


def test_no_import_cycle():
    known = modules()
    graph = {
        module: {target for _, name in imports(path, module, known) if (target := own(name)) in known}
        for module, path in known.items()
    }
    importer, imported = ALLOWED_CYCLE
    graph[importer].remove(imported)
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the cycle


def test_reserved_libraries_stay_where_they_belong():
    known = modules()
    strays = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for module, path in known.items()
        for line, name in imports(path, module, known)
        if not f"{module}.".startswith(tuple(f"{home}." for home in RESERVED.get(name.split(".")[0], (module,))))
    ]
    assert strays == []


def test_only_the_command_line_prints():
    printing = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for module, path in modules().items()
        if unit(module) not in ("cli", "__main__")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert printing == []


def unlisted(path: Path) -> list[str]:
    """Functions and classes of a module that look public and are not in its `__all__`, where it writes one out."""
    body = ast.parse(path.read_text("utf-8")).body
    lists = [node.value for node in body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"]
    if not lists or not all(isinstance(entry, ast.Constant) for entry in lists[0].elts):
        return []
    defined = [node.name for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
    return [name for name in defined if not name.startswith("_") and name not in ast.literal_eval(lists[0])]


def test_what_looks_public_is_listed():
    assert {module: names for module, path in modules().items() if (names := unlisted(path))} == {}


def test_what_is_not_listed_is_seen(tmp_path):
    (tmp_path / "module.py").write_text("__all__ = ['a']\ndef a(): ...\ndef _b(): ...\ndef c(): ...\nclass D: ...\n")
    assert unlisted(tmp_path / "module.py") == ["c", "D"]


def test_files_stay_short():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in modules().values()}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FILE} == {}


@pytest.mark.parametrize(
    "source",
    [
        "from rgprobe.flow import run",
        "import rgprobe.flow",
        "from rgprobe import flow",
        "from ..flow import run",
        "from .. import flow",
        "import rgprobe as rg",
        "def late():\n    from rgprobe.flow import run",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from rgprobe.flow import run",
    ],
)
def test_an_upward_import_is_seen_in_every_form(tmp_path, source):
    (tmp_path / "gaussian").mkdir()
    (tmp_path / "__init__.py").write_text("from rgprobe.flow import run\n")
    (tmp_path / "flow.py").write_text("from rgprobe.gaussian.record import Gaussian\n")
    (tmp_path / "gaussian" / "__init__.py").write_text("from .record import Gaussian\n")
    (tmp_path / "gaussian" / "record.py").write_text("from ..errors import BadInput\n")
    (tmp_path / "errors.py").write_text("")
    assert upward_arrows(tmp_path) == []
    (tmp_path / "gaussian" / "record.py").write_text(source)
    (arrow,) = upward_arrows(tmp_path)
    assert arrow.startswith("gaussian/record.py:")
    assert arrow.endswith("which stands above it")
