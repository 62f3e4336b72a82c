"""docs/condensed-attention.md shows the tables of docs/condensed-attention.json, measured by `analyses/condensed_attention.py`.

To write them again: `python tests/test_condensed_attention_page.py RUN...`, whose losses and times are put together.
"""

import json
import random
import sys
from pathlib import Path

import pytest
import torch
from measured_page import DOCS, IMAGES, analysis, shown, write

from rgprobe.models import GaugeConfig, GaugeTransformer

PAGE, RECORD = DOCS / "condensed-attention.md", DOCS / "condensed-attention.json"
FIGURE = IMAGES / "condensed-attention.svg"


def tables():
    record = json.loads(RECORD.read_text("utf-8"))
    module = analysis("condensed_attention")
    lines = {"losses": module.loss_table(record["losses"]), "times": module.time_table(record["times"])}
    return {name: "\n".join(found) for name, found in lines.items()}


def test_the_page_shows_what_was_measured():
    assert shown(PAGE) == tables()


def test_features_are_caught_and_attention_is_replaced():
    module = analysis("condensed_attention")
    model = GaugeTransformer(GaugeConfig(n_layers=2, n_heads=2, d_model=8, d_vocab=11, n_ctx=40, d_mlp=8)).eval()
    ids = torch.randint(0, 11, (1, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model(ids)
        with module.watched(model) as seen:
            torch.testing.assert_close(model(ids), expected)
        assert [parts[0].shape[:3] for parts in seen] == [(1, 2, 39)] * 2
        with module.watched(model, lambda q, k, v: torch.zeros_like(v)):
            assert not torch.allclose(model(ids), expected)
        assert torch.equal(model(ids), expected)


def test_a_ledger_repeats_its_facts():
    lines = analysis("condensed_attention").ledger(random.Random(0), 6, 2000).splitlines()
    assert len(set(lines)) == 6
    assert len(lines) == 100


def test_the_growth_exponent_is_the_slope():
    rows = [{"tokens": n, "time": 3.0 * n**1.5} for n in (10, 20, 40)]
    assert analysis("condensed_attention").exponent(rows, "time") == pytest.approx(1.5)


def main(runs):
    record = json.loads(RECORD.read_text("utf-8")) if RECORD.exists() else {}
    for name in ("losses", "times"):
        files = [path for run in runs for path in Path(run).glob(f"condensed-{name}.json")]
        if files:
            record[name] = [row for path in files for row in json.loads(path.read_text("utf-8"))]
    RECORD.write_text(json.dumps(record) + "\n", encoding="utf-8")
    analysis("condensed_attention").draw(record["losses"], record["times"], FIGURE)
    write(PAGE, tables())


if __name__ == "__main__":
    main(sys.argv[1:])
