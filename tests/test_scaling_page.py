"""docs/scaling.md shows docs/scaling.json and docs/plan-accuracy.json: `analyses/long_context.py` and `plan_accuracy.py`.

To write it again: `python tests/test_scaling_page.py DIR...`, the folders that the analyses wrote.
"""

import json
import re
import sys
from pathlib import Path

import pytest
from measured_page import DOCS, analysis, shown, write

from rgprobe.probe.attention import LARGEST_REFUSED, LARGEST_WHOLE, TRIAL
from rgprobe.probe.scores import TILE
from rgprobe.probe.sketches import LONGEST

PAGE, RECORD = DOCS / "scaling.md", DOCS / "scaling.json"
ACCURACY, EXAMPLES = DOCS / "plan-accuracy.json", DOCS / "plan-examples.json"


def tables():
    return {
        "long context": analysis("long_context").table(json.loads(RECORD.read_text("utf-8"))),
        "plan examples": "\n".join(analysis("plan_examples").table(json.loads(EXAMPLES.read_text("utf-8")))),
        "plan accuracy": "\n".join(analysis("plan_accuracy").table(json.loads(ACCURACY.read_text("utf-8")))),
    }


def test_the_page_shows_what_was_measured():
    # other parts of the page have tables of their own
    assert tables().items() <= shown(PAGE).items()


def test_tiles_take_less_memory_than_scores_as_a_whole():
    rows = [row for row in json.loads(RECORD.read_text("utf-8")) if row["tokens"] == 4096]
    peaks = {row["way"]: row["peak"] for row in rows}
    # beyond what a forward pass has in memory, libraries and weights among it
    assert peaks["queries and keys"] - peaks["fused"] < (peaks["scores"] - peaks["fused"]) / 2


def test_plans_come_true_within_three_tenths():
    for row in json.loads(ACCURACY.read_text("utf-8")):
        ratios = [row["plan"][part] / row["run"][part] for part in analysis("plan_accuracy").PARTS]
        assert max(map(abs, (ratio - 1 for ratio in ratios))) < 0.3, row["model"]


def test_what_the_page_makes_of_its_examples():
    text = " ".join(PAGE.read_text("utf-8").split())
    sweep, big = (json.loads(EXAMPLES.read_text("utf-8"))[name] for name in ("sweep", "big"))
    (hours,) = re.findall(r"some (\d+) hours for all of them", text)
    assert 154 * sweep["total_seconds"] / 3600 == pytest.approx(int(hours), rel=0.1)
    assert f"and {round(154 * sweep['disk'] / 1e9, -1):.0f} GB" in text
    assert sweep["seconds"]["passes"] / sweep["total_seconds"] > 0.85  # nine tenths
    per_prompt = sum(sweep["memory"][part] for part in ("traces", "result")) / sweep["prompts"]
    fits = (16e9 - sum(sweep["memory"][part] for part in ("program", "weights", "one pass"))) / per_prompt
    (prompts,) = re.findall(r"some ([\d,]+) prompts for a worker of 16 GB", text)
    assert fits == pytest.approx(int(prompts.replace(",", "")), rel=0.1)
    kept = (big["memory"]["traces"] + big["memory"]["result"]) / big["prompts"]
    assert kept == pytest.approx(3e9, rel=0.1)


def test_the_constants_of_the_page_are_those_of_the_code():
    text = " ".join(PAGE.read_text("utf-8").split())
    rows, scores = TILE["cpu"]
    longest = next(n for n in range(1, 10**5) if 4 * 9 * n**2 > LARGEST_WHOLE)
    for words in (
        f"{LARGEST_WHOLE // 2**20} MiB ({longest:,} tokens",
        f"{rows} rows and at most {4 * scores // 2**20} MiB",
        f"{TRIAL} tokens once",
        f"up to {LARGEST_REFUSED // 2**30} GiB a block",
        f"{LONGEST:,} tokens",
    ):
        assert words in text


if __name__ == "__main__":
    for record, name in ((RECORD, "long_context.json"), (ACCURACY, "plan_accuracy.json")):
        files = [file for folder in sys.argv[1:] if (file := Path(folder) / name).exists()]
        found = [row for file in files for row in json.loads(file.read_text("utf-8"))]
        if found:
            record.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    write(PAGE, {**shown(PAGE), **tables()})
