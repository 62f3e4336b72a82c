"""The documentation: its navigation lists every page, links between pages resolve, and the builder is locked."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
WITH_LINKS = [*PAGES, ROOT / "README.md", ROOT / "analyses" / "README.md"]
TOCTREE = re.compile(r"^```\{toctree\}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"^```.*?^```$|^ {4,}.*?$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
REMOTE = ("http://", "https://", "mailto:")


def navigation():
    """Pages of the site's navigation, in order, with repetitions."""
    entries = [line for block in TOCTREE.findall((DOCS / "index.md").read_text("utf-8")) for line in block.splitlines()]
    names = [entry for entry in entries if entry and not entry.startswith(":")]
    return [page for name in names for page in sorted(DOCS.glob(f"{name}.md"))]


def anchors(path):
    """What headings of a page may be linked to as, by the rule of the places that show Markdown."""
    headings = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_navigation_lists_every_page_once():
    listed = navigation()
    assert len(listed) == len(set(listed))
    pages = {path for path in PAGES if "runs" not in path.relative_to(DOCS).parts}
    assert {path.relative_to(DOCS).as_posix() for path in {*listed, DOCS / "index.md"} ^ pages} == set()


@pytest.mark.parametrize("page", WITH_LINKS, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_to_files_and_headings_resolve(page):
    for link in LINK.findall(CODE.sub("", page.read_text("utf-8"))):
        if link.startswith(REMOTE):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_begins_with_its_one_title():
    for page in PAGES:
        lines = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL).splitlines()
        assert lines[0].startswith("# "), page.name
        assert sum(line.startswith("# ") for line in lines) == 1, page.name


def test_the_citation_names_this_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
