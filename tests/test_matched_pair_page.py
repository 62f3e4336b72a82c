"""docs/matched-pair.md shows the tables of docs/matched-pair.json, which `analyses/matched_pair.py` measured.

    python analyses/matched_pair.py RUNS && cp RUNS/summary.json docs/matched-pair.json
    python tests/test_matched_pair_page.py

writes the tables into the page, between its marks.
"""

import json

from measured_page import DOCS, ROOT, analysis, shown, write

PAGE = DOCS / "matched-pair.md"


def tables():
    summary = json.loads((DOCS / "matched-pair.json").read_text("utf-8"))
    return {"tables": "\n\n".join(analysis("matched_pair").tables(summary))}


def test_the_page_shows_what_was_measured():
    assert shown(PAGE) == tables()


def test_the_shipped_pair_is_the_first_seed_of_the_table():
    summary = json.loads((DOCS / "matched-pair.json").read_text("utf-8"))
    for family in ("standard", "gauge"):
        shipped = ROOT / "rgprobe" / "models" / "shipped" / f"{family}-small" / "training.json"
        record, run = json.loads(shipped.read_text("utf-8")), summary["runs"][f"pair/{family}/seed-0"]
        assert record["test_all"]["nats_per_token"] == run["test"]
        assert record["n_parameters"] == run["n_parameters"]


if __name__ == "__main__":
    write(PAGE, tables())
