"""docs/faithfulness.md shows the table of docs/faithfulness.json, which `analyses/faithfulness.py` measured.

To write it again: `python tests/test_faithfulness_page.py DIR... [--unseen DIR...]`, the folders that the analysis wrote.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from measured_page import DOCS, IMAGES, analysis, shown, write

import rgprobe as rg
from rgprobe.probe.patching import patched_divergence

PAGE, RECORD, UNSEEN = DOCS / "faithfulness.md", DOCS / "faithfulness.json", DOCS / "faithfulness-unseen.json"
FIGURE = IMAGES / "faithfulness.svg"


def tables():
    module = analysis("faithfulness")
    seen, unseen = (json.loads(path.read_text("utf-8")) for path in (RECORD, UNSEEN))
    return {"table": "\n".join(module.table(seen)), "unseen": "\n".join(module.unseen_table(unseen))}


def test_the_page_shows_what_was_measured():
    assert shown(PAGE) == tables()


def test_the_tree_is_compared_with_the_best_grouping_not_with_a_convenient_one():
    module = analysis("faithfulness")
    row = {"relative": {"tree": [0.1, 0.3], "ward": [0.5, 0.5], "k_means": [0.2, 0.2], "bipartite": [0.9, 0.9]}}
    best, ratio, low, high = module.compared(row)
    assert best == "k_means"
    assert low <= ratio == 1.0 <= high


def test_merging_by_measured_loss_takes_the_pair_that_loses_least():
    module, model = analysis("faithfulness"), rg.load("standard-small", device="cpu")
    ids = model.encode(["The king is dead, long live the king of all the land and sea"])[0].ids[:14]
    merged, scored, labels = torch.arange(1, 7), torch.arange(7, len(ids)), np.array([0, 0, 1, 2, 3, 3])

    def loss(grouped):
        def means(states):
            row = states.clone()
            for cluster in np.unique(grouped):
                members = merged[grouped == cluster]
                row[members] = states[members].mean(0)
            return row

        return float(patched_divergence(model, ids, [means], state=3, score=scored)[0])

    pairs = [(a, b) for a in range(4) for b in range(a)]
    best = min(pairs, key=lambda pair: loss(np.where(labels == pair[1], pair[0], labels)))
    found = module.merged_by_measured_loss(model, ids, merged, scored, 3, labels, 3)
    assert len(np.unique(found)) == 3
    together = np.equal.outer(found, found)
    expected = np.where(labels == best[1], best[0], labels)
    np.testing.assert_array_equal(together, np.equal.outer(expected, expected))
    whole = module.merged_by_measured_loss(model, ids, merged, scored, 3, labels, 1)
    assert (whole == 0).all()
    np.testing.assert_array_equal(labels, [0, 0, 1, 2, 3, 3])


def measured(folders):
    """Rows of the folders, rounded, without the paths of models."""
    rows = [row for name in folders for row in json.loads((Path(name) / "faithfulness.json").read_text("utf-8"))]
    for row in rows:
        row["model"] = Path(row["model"]).name
        row["relative"] = {name: [round(value, 6) for value in values] for name, values in row["relative"].items()}
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("seen", nargs="*")
    parser.add_argument("--unseen", nargs="*", default=[])
    given = parser.parse_args()
    for path, folders in ((RECORD, given.seen), (UNSEEN, given.unseen)):
        if folders:
            path.write_text(json.dumps(measured(folders)) + "\n", "utf-8")
    if given.seen:
        analysis("faithfulness").draw(json.loads(RECORD.read_text("utf-8")), FIGURE)
    write(PAGE, tables())
