"""docs/matched-pair.md shows the tables of docs/matched-pair.json, which `analyses/matched_pair.py` measured.

    python analyses/matched_pair.py RUNS && cp RUNS/summary.json docs/matched-pair.json
    python tests/test_matched_pair_page.py

writes the tables into the page, between its marks.
"""

import importlib.util
import json
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "matched-pair.md"
BEGIN, END = "<!-- tables -->", "<!-- end of tables -->"


def tables():
    spec = importlib.util.spec_from_file_location("matched_pair", ROOT / "analyses" / "matched_pair.py")
    analysis = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(analysis)
    summary = json.loads((ROOT / "docs" / "matched-pair.json").read_text("utf-8"))
    return "\n\n".join(analysis.tables(summary))


def test_the_page_shows_what_was_measured():
    shown = PAGE.read_text("utf-8").split(BEGIN)[1].split(END)[0].strip()
    assert shown == tables()


def test_the_shipped_pair_is_the_first_seed_of_the_table():
    summary = json.loads((ROOT / "docs" / "matched-pair.json").read_text("utf-8"))
    for family in ("standard", "gauge"):
        shipped = ROOT / "rgprobe" / "models" / "shipped" / f"{family}-small" / "training.json"
        record, run = json.loads(shipped.read_text("utf-8")), summary["runs"][f"pair/{family}/seed-0"]
        assert record["test_all"]["nats_per_token"] == run["test"]
        assert record["n_parameters"] == run["n_parameters"]


if __name__ == "__main__":
    before, rest = PAGE.read_text("utf-8").split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{tables()}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")
