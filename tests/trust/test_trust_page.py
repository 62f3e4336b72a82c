"""docs/trust.md shows the counts of docs/trust.json, which the suites wrote, and every promise with the tests that hold it.

To take the counts, and to write the page from them:

    python -m pytest tests/trust --full --record docs/trust.json
    python tests/trust/mutate.py gaussian --sample 50 --log gaussian.jsonl --record docs/trust.json
    python tests/trust/mutate.py condensation --sample 50 --log condensation.jsonl --record docs/trust.json
    PYTHONPATH=tests python tests/trust/test_trust_page.py
"""

import json

from measured_page import DOCS, shown, write
from test_reliability_rows import ROWS

PAGE, RECORD = DOCS / "trust.md", DOCS / "trust.json"
LONG = ("run", "sweep", "train", "compare", "report", "figures")


def tables():
    record = json.loads(RECORD.read_text("utf-8"))
    made = {"given": _given(record), "faults": _faults(record), "mutants": _mutants(record), "promises": _promises()}
    return {name: "\n".join(lines) for name, lines in made.items()}


def _given(record):
    yield "| what commands are given | size | runs | exit 0 | exit 2 | other | tracebacks | events | most MiB |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for name, found in record.items():
        if "exits" in found:
            done, refused = (found["exits"].get(code, 0) for code in ("0", "2"))
            other = found["runs"] - done - refused
            yield _row(name, _size(found), found["runs"], done, refused, other, found["tracebacks"], found["events"],
                       found["most_MiB"])  # fmt: skip


def _faults(record):
    yield "| command | size | killed at random instants | killed at changes of files | full disks | two at once |"
    yield "|---|---|---|---|---|---|"
    for name in LONG:
        kills, disks, races = (record.get(f"{fault} {name}") for fault in ("kills of", "full disks under", "races of"))
        if kills and disks and races:
            yield _row(f"`{name}`", _size(kills), kills["at random instants"], kills["at changes of files"],
                       _spread(disks, "exit {}"), _spread(races, "({})"))  # fmt: skip


def _spread(found, pattern):
    """How often each exit status, or pair of them, was seen."""
    head, tail = pattern.split("{}")
    seen = {name.removeprefix(head).removesuffix(tail): count for name, count in found.items() if name.startswith(head)}
    return "; ".join(f"{count} x exit {name.replace(', ', ' and ')}" for name, count in sorted(seen.items()))


def _mutants(record):
    yield "| floor | mutants | noticed | equivalent | not noticed |"
    yield "|---|---|---|---|---|"
    for name, found in record.items():
        if name.startswith("mutants of "):
            yield _row(name.removeprefix("mutants of "), found["mutants"], found["noticed"], found["equivalent"],
                       found["survived"])  # fmt: skip


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
        assert found.get("noticed", 1) >= 0.9 * (found.get("mutants", 1) - found.get("equivalent", 0)), name


if __name__ == "__main__":
    write(PAGE, tables())
