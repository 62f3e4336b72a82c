"""docs/random-hierarchy.md shows the tables of docs/random-hierarchy.json, and the analyses behind it run from end to end.

    python tests/test_random_hierarchy_page.py RUNS PLAYS.json...

gathers RUNS/depth-3/*.json, among them what `analyses/data_tree.py RUN --out RUNS/depth-3/data-tree-FAMILY.json` wrote, and
the trees of the plays, and writes the tables into the page, between its marks.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from measured_page import DOCS, analysis, shown, write

PAGE, DATA = DOCS / "random-hierarchy.md", DOCS / "random-hierarchy.json"


def tables(measured):
    data_tree = analysis("data_tree")
    random_hierarchy = analysis("random_hierarchy")
    synonym_swaps = analysis("synonym_swaps")

    return {
        "losses": random_hierarchy.loss_table(iter(measured["runs"])),
        "swaps": "\n\n".join(synonym_swaps.tables(measured["swaps"])),
        "trees": "\n\n".join(random_hierarchy.tree_tables(measured["trees"])),
        "data trees": "\n\n".join(data_tree.table(result) for result in measured["data_trees"]),
        "plays": "\n\n".join(data_tree.table(result) for result in measured["plays"]),
    }


def test_the_page_shows_what_was_measured():
    assert shown(PAGE) == tables(json.loads(DATA.read_text("utf-8")))


@pytest.mark.parametrize("family", ["standard", "gauge"])
def test_a_run_is_trained_loaded_and_measured(tmp_path, family):
    random_hierarchy = analysis("random_hierarchy")
    synonym_swaps = analysis("synonym_swaps")

    import rgprobe as rg

    record = random_hierarchy.train_one(tmp_path, family, depth=3, seed=0, steps=2)
    assert record["bayes_nats_per_sentence"] == pytest.approx(17 * np.log(2))
    assert record["excess_nats_per_sentence"] == pytest.approx(sum(record["excess_by_prediction"]), abs=1e-4)
    probe = rg.load(tmp_path, device="cpu")
    assert probe.tokenizer("abcdefghA")["input_ids"] == [0, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    swaps = synonym_swaps.exchanges(3, 30)
    states = random_hierarchy.states_of(probe, swaps[0])
    assert states.shape == (30, 4, 9, 64)
    np.testing.assert_allclose((states**2).mean(-1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(states[3], random_hierarchy.states_of(probe, swaps[0][3:4])[0], atol=1e-5)
    found = synonym_swaps.distances(probe, swaps)
    assert found.shape == (2, 3, 4)
    # in an untrained network a higher exchange moves more leaves, and so more of the state
    assert (np.diff(found[:, :, 0], axis=1) > 0).all()
    summary = synonym_swaps.summary(np.stack([found, found + 0.01]), np.stack([found, found + 0.02]))
    assert len(synonym_swaps.tables({"families": {family: summary}})) == 2
    clades = {frozenset({0, 1})}
    assert random_hierarchy.recalls(probe, swaps[0][:2], clades).shape == (2, 2, 4)


def test_baselines_are_those_of_the_parse():
    random_hierarchy = analysis("random_hierarchy")

    from rgprobe.testbeds import random_hierarchy as testbed

    scores = random_hierarchy.baselines(8, testbed.clades(testbed.grammar(depth=3)), draws=50)
    assert scores["right-branching"] == pytest.approx(
        1 / 3
    )  # 6 brackets each, of which {6, 7} and {4, ..., 7} are shared
    assert scores["random, any"] < scores["random, contiguous"] < 0.5


def main(runs, plays):
    depth = runs / "depth-3"
    measured = {"runs": [json.loads(path.read_text("utf-8")) for path in sorted(depth.glob("*/seed-*/hierarchy.json"))]}
    measured |= {name: json.loads((depth / f"{name}.json").read_text("utf-8")) for name in ("swaps", "trees")}
    measured["data_trees"] = [json.loads(path.read_text("utf-8")) for path in sorted(depth.glob("data-tree-*.json"))]
    measured["plays"] = [json.loads(path.read_text("utf-8")) for path in plays]
    DATA.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    write(PAGE, tables(measured))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), [Path(path) for path in sys.argv[2:]])
