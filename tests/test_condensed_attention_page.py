"""docs/condensed-attention.md shows the tables of docs/condensed-attention.json, measured by `analyses/condensed_attention.py`.

To write them again: `python tests/test_condensed_attention_page.py RUN...`, whose losses and times are put together.
"""

import importlib.util
import json
import random
import sys
from pathlib import Path

import pytest
import torch

from rgprobe.models import GaugeConfig, GaugeTransformer

ROOT = Path(__file__).parents[1]
PAGE, RECORD = ROOT / "docs" / "condensed-attention.md", ROOT / "docs" / "condensed-attention.json"
FIGURE = ROOT / "docs" / "images" / "condensed-attention.svg"


def analysis():
    spec = importlib.util.spec_from_file_location("condensed_analysis", ROOT / "analyses" / "condensed_attention.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tables():
    record = json.loads(RECORD.read_text("utf-8"))
    lines = {"losses": analysis().loss_table(record["losses"]), "times": analysis().time_table(record["times"])}
    return {name: "\n".join(found) for name, found in lines.items()}


def marks(name):
    return f"<!-- {name} -->", f"<!-- end of {name} -->"


def test_the_page_shows_what_was_measured():
    page = PAGE.read_text("utf-8")
    for name, table in tables().items():
        begin, end = marks(name)
        assert page.split(begin)[1].split(end)[0].strip() == table


def test_features_are_caught_and_attention_is_replaced():
    module = analysis()
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
    lines = analysis().ledger(random.Random(0), 6, 2000).splitlines()
    assert len(set(lines)) == 6
    assert len(lines) == 100


def test_the_growth_exponent_is_the_slope():
    rows = [{"tokens": n, "time": 3.0 * n**1.5} for n in (10, 20, 40)]
    assert analysis().exponent(rows, "time") == pytest.approx(1.5)


def main(runs):
    record = json.loads(RECORD.read_text("utf-8")) if RECORD.exists() else {}
    for name in ("losses", "times"):
        files = [path for run in runs for path in Path(run).glob(f"condensed-{name}.json")]
        if files:
            record[name] = [row for path in files for row in json.loads(path.read_text("utf-8"))]
    RECORD.write_text(json.dumps(record) + "\n", encoding="utf-8")
    analysis().draw(record["losses"], record["times"], FIGURE)
    page = PAGE.read_text("utf-8")
    for name, table in tables().items():
        begin, end = marks(name)
        before, rest = page.split(begin)
        page = f"{before}{begin}\n\n{table}\n\n{end}{rest.split(end)[1]}"
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
