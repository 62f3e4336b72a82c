"""docs/scaling.md shows the table of docs/scaling.json, which `analyses/long_context.py` measured.

To write it again: `python tests/test_scaling_page.py DIR...`, the folders that the analysis wrote.
"""

import json
import sys
from pathlib import Path

from measured_page import DOCS, analysis, shown, write

from rgprobe.probe.attention import LARGEST_REFUSED, LARGEST_WHOLE, TRIAL
from rgprobe.probe.scores import TILE
from rgprobe.probe.sketches import LONGEST

PAGE, RECORD = DOCS / "scaling.md", DOCS / "scaling.json"


def tables():
    return {"long context": analysis("long_context").table(json.loads(RECORD.read_text("utf-8")))}


def test_the_page_shows_what_was_measured():
    # other parts of the page have tables of their own
    assert tables().items() <= shown(PAGE).items()


def test_tiles_take_less_memory_than_scores_as_a_whole():
    peaks = {row["way"]: row["peak"] for row in json.loads(RECORD.read_text("utf-8")) if row["what"] == "run"}
    assert peaks["queries and keys"] < peaks["scores"] / 2


def test_the_constants_of_the_page_are_those_of_the_code():
    text = " ".join(PAGE.read_text("utf-8").split())
    rows, keys = TILE["cpu"]
    longest = next(n for n in range(1, 10**5) if 4 * 9 * n**2 > LARGEST_WHOLE)
    for words in (f"{LARGEST_WHOLE // 2**20} MiB ({longest:,} tokens", f"{rows} rows by {keys} keys", f"{TRIAL} tokens once",
                  f"up to {LARGEST_REFUSED // 2**30} GiB a block", f"{LONGEST:,} tokens"):  # fmt: skip
        assert words in text


if __name__ == "__main__":
    found = [row for name in sys.argv[1:] for row in json.loads((Path(name) / "long_context.json").read_text("utf-8"))]
    if found:
        RECORD.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    write(PAGE, {**shown(PAGE), **tables()})
