"""docs/trust.md shows the counts of docs/trust.json, which the suites wrote, and every promise with the tests that hold it.

To take the counts, and to write the page from them:

    python -m pytest tests/trust --full --record docs/trust.json
    python tests/trust/mutate.py gaussian --sample 50 --log gaussian.jsonl --record docs/trust.json
    PYTHONPATH=tests python tests/trust/test_trust_page.py
"""

import json

from measured_page import DOCS, shown, write
from test_reliability_rows import ROWS

PAGE, RECORD = DOCS / "trust.md", DOCS / "trust.json"


def tables():
    record = json.loads(RECORD.read_text("utf-8"))
    return {"given": "\n".join(_given(record)), "promises": "\n".join(_promises())}


def _given(record):
    yield "| what commands are given | size | runs | exit 0 | exit 2 | other | tracebacks | events | most MiB |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for name, found in record.items():
        if "exits" in found:
            done, refused = (found["exits"].get(code, 0) for code in ("0", "2"))
            other = found["runs"] - done - refused
            yield _row(name, _size(found), found["runs"], done, refused, other, found["tracebacks"], found["events"],
                       found["most_MiB"])  # fmt: skip


def _promises():
    yield "| promise | tests |"
    yield "|---|---|"
    for promise, tests in ROWS.items():
        yield _row(promise, "<br>".join(f"`tests/{path}::{name}`" for path, name in tests))


def _row(*cells):
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _size(found):
    return "full" if found["full"] else "reduced"


def test_the_page_shows_what_was_counted():
    assert shown(PAGE) == tables()


def test_what_was_counted_is_clean():
    record = json.loads(RECORD.read_text("utf-8"))
    for name, found in record.items():
        assert not found.get("tracebacks"), name
        assert not found.get("events"), name
        assert set(found.get("exits", ())) <= {"0", "2"}, name
        assert found.get("most_MiB", 0) < 64, name


if __name__ == "__main__":
    write(PAGE, tables())
