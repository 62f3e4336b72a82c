"""What a clone must hold so that installing it gives all of rgprobe: data files, the lock, the version."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path, PurePosixPath

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
DECLARED = {"core": PROJECT["project"]["dependencies"], **PROJECT["project"]["optional-dependencies"]}
# what comes with a CUDA build of torch is torch's choice, not ours; pip is the installer itself
FOREIGN = re.compile(r"nvidia-.*|cuda-.*|triton|pip")


PINNED = {canonicalize_name(Requirement(text).name) for text in DECLARED["core"]}


def locked() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def test_the_lock_is_sorted_exact_and_without_local_builds():
    names = list(locked())
    assert names == sorted(names)
    assert all(name == canonicalize_name(name) for name in names)
    assert all(re.fullmatch(r"[0-9][0-9a-z.]*", version) for version in locked().values())


@pytest.mark.parametrize("extra", DECLARED)
def test_declared_dependencies_are_locked_within_their_ranges(extra):
    pins = locked()
    for requirement in map(Requirement, DECLARED[extra]):
        pin = pins[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(pin, prereleases=True), f"{requirement} excludes the locked {pin}"


def test_transitive_dependencies_are_locked():
    """Other versions may need what the locked ones do not."""
    other = {name for name, pin in locked().items() if name in PINNED and version(name).partition("+")[0] != pin}
    if other:
        pytest.skip(f"not the locked {', '.join(sorted(other))}")
    names = _closure([Requirement(text) for texts in DECLARED.values() for text in texts])
    assert {name for name in names if not FOREIGN.fullmatch(name)} - locked().keys() == set()
    assert {"numpy", "filelock", "sympy", "pluggy"} <= names


def _closure(pending: list[Requirement]) -> set[str]:
    """Names of everything that the requirements need, as far as it is installed here."""
    seen: set[tuple[str, frozenset[str]]] = set()
    while pending:
        requirement = pending.pop()
        key = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if key in seen:
            continue
        seen.add(key)
        try:
            needed = [Requirement(text) for text in requires(requirement.name) or []]
        except PackageNotFoundError:  # an extra that is not installed here
            continue
        extras = requirement.extras or {""}
        pending += [r for r in needed if r.marker is None or any(r.marker.evaluate({"extra": e}) for e in extras)]
    return {name for name, _ in seen}


def test_every_data_file_is_packaged():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["rgprobe"]
    files = [path.relative_to(ROOT / "rgprobe") for path in (ROOT / "rgprobe").rglob("*") if path.is_file()]
    data = [path for path in files if path.suffix not in (".py", ".pyc") and "__pycache__" not in path.parts]
    assert {"py.typed", "models/shipped/standard-small/model.safetensors"} <= {path.as_posix() for path in data}
    left_out = [path.as_posix() for path in data if not any(_matches(path, pattern) for pattern in patterns)]
    assert left_out == []


def _matches(path: Path, pattern: str) -> bool:
    """As setuptools reads it: ** is any number of directories, * stays within one."""
    parts = (("(?:[^/]+/)*" if part == "**" else re.escape(part).replace(r"\*", "[^/]*") + "/")
             for part in PurePosixPath(pattern).parts)  # fmt: skip
    return re.fullmatch("".join(parts), f"{path.as_posix()}/") is not None


def test_every_package_has_an_init_file():
    # setuptools packs a folder of modules only where it is a package
    folders = {path.parent for path in (ROOT / "rgprobe").rglob("*.py")}
    assert [str(folder.relative_to(ROOT)) for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_the_changelog_speaks_of_this_version():
    assert f"## [{PROJECT['project']['version']}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")
