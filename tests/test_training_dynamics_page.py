"""docs/training-dynamics.md shows what `training_dynamics.py`, `tree_dynamics.py` and `modular_addition.py` measured.

To write it again: `python tests/test_training_dynamics_page.py DIR`, a folder that one or more of the analyses wrote.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from measured_page import DOCS, IMAGES, analysis, shown, write

PAGE = DOCS / "training-dynamics.md"
RECORDS = {  # what an analysis leaves, and where it is kept; tables, and the figure beside them
    "training_dynamics": ("dynamics_tables", "training-dynamics"),
    "tree_dynamics": ("tree_dynamics", "tree-dynamics"),
    "modular_addition": ("modular_addition", "modular-addition"),
}


def tables():
    found = {}
    for script, name in RECORDS.values():
        found |= analysis(script).tables(json.loads((DOCS / f"{name}.json").read_text("utf-8")))
    return found


def test_the_page_shows_what_was_measured():
    assert shown(PAGE) == tables()


def test_heads_are_counted_by_the_way_they_went():
    ways = {
        "in order": [2.0, 1.0, 0.5], "skipped": [2.0, 2.0, 0.5], "halted": [2.0, 2.0, 1.0], "stayed": [2.0, 2.0, 2.0],
        "back": [2.0, 0.5, 2.0],
    }  # fmt: skip
    theta = np.array(list(ways.values())).T[None, :, None, :]
    found = analysis("dynamics_answers").passages(theta)
    assert {name: float(share[0]) for name, share in found.items()} == dict.fromkeys(ways, 0.2)


def test_cold_heads_decide_the_pooled_temperature():
    answers = analysis("dynamics_answers")
    assert answers.pooled_temperature(np.array([[1.0, 1e6]])) == pytest.approx(2**0.5)


def test_half_of_the_way_is_found_between_checkpoints():
    answers = analysis("dynamics_answers")
    assert answers.half_way([0, 1, 3], [0.0, 0.25, 0.75]) == pytest.approx(np.expm1(1.25 * np.log(2)))
    assert answers.half_way([0, 1, 3], [1.0, 0.2, 0.0]) == pytest.approx(np.expm1(0.625 * np.log(2)))


def test_the_jackknife_of_a_mean_is_its_standard_error():
    answers = analysis("dynamics_answers")
    values = {"a-0": 1.0, "a-1": 2.0, "a-2": 6.0}
    found = answers.jackknife(
        lambda left: float(np.mean([v for name, v in values.items() if name != left])), list(values)
    )
    np.testing.assert_allclose(found, answers.over_seeds(list(values.values())), rtol=1e-12)


def test_pairs_of_runs_are_sorted_by_family():
    answers = analysis("dynamics_answers")
    pairs = [("a-0", "a-1"), ("a-0", "b-1"), ("a-1", "b-0"), ("b-0", "b-1"), ("a-0", "b-0")]
    row = np.array([1.0, 2.0, 4.0, 8.0, 100.0])
    assert answers._pair_mean(row, pairs, ("a", "a"), None) == 1.0
    assert answers._pair_mean(row, pairs, ("a", "b"), None) == 3.0  # a-0 and b-0 saw the same batches
    assert answers._pair_mean(row, pairs, ("b", "a"), "a-1") == 2.0


def test_sums_on_either_side_do_not_meet_and_are_right():
    sums = analysis("modular_addition")
    seen, unseen = ({tuple(pair) for pair in part} for part in sums.pairs(0))
    assert not seen & unseen
    assert len(seen | unseen) == sums.MODULUS**2
    assert all((b, a) in seen for a, b in seen)
    inputs, targets = sums.lines(np.array(sorted(seen)), 8, seed=0)
    assert inputs.shape == targets.shape == (2, 12)
    first = sums.FIRST_ID
    for ids, wanted in zip(inputs.tolist(), targets.tolist(), strict=True):
        for place in range(2, 12, 3):
            assert (ids[place - 1] + ids[place] - 2 * first) % sums.MODULUS == wanted[place] - first
    assert (targets[:, [0, 1, 3, 4]] == -100).all()


def grokking(seed, decay, *, late):
    """A run that has memorised from checkpoint 3 on, and generalises about checkpoint `late`, if at all."""
    noise = np.random.default_rng([seed, int(decay)]).normal(scale=0.01, size=(12, 4))
    rows = []
    for k in range(12):
        guessed = 0.06 if k % 3 == 1 else 0.05
        test = guessed if decay == 0 or k < late else 0.5 if k == late else 0.95
        rows.append({
            "step": 2**k - 1, "train accuracy": min(1.0, 0.05 + 0.4 * k), "test accuracy": test, "train loss": 4 - 0.3 * k,
            "test loss": 4 - 3 * test, "theta": float(np.exp(3 - 1.5 * min(k, 3) + noise[k, 0])), "entropy": 0.5 + noise[k, 1],
        })  # fmt: skip
    return {"seed": seed, "decay": float(decay), "steps": 2047, "rows": rows}


def test_a_passage_is_where_unseen_sums_are_learnt_and_is_compared_over_the_same_steps():
    sums = analysis("modular_addition")
    runs = [grokking(seed, decay, late=7) for decay in (1, 0) for seed in range(3)]
    assert sums.passage(runs[0]) == (6, 8)
    # half of 0.05 to 1 lies between 2^1 - 1 and 2^2 - 1 steps, straight in log(1 + step)
    assert sums.half_way(runs[0], "train accuracy") == pytest.approx(2 ** (0.475 / 0.4) - 1)
    assert np.isnan(sums.half_way(runs[3], "test accuracy"))  # without decay the curve ends where it began
    rows = {row.split(" | ")[0].strip("| "): row for row in sums.tables(runs)["passage"].splitlines()}
    assert "steps 63-255, 63-255, 63-255" in next(iter(rows))
    assert rows["test accuracy (1)"].endswith("+0.9 (+0.9 to +0.9) | yes |")
    assert rows["ln theta"].endswith("| no |")  # it fell while the sums were memorised


def planted_trees_of(reader, seeds):
    """Loss halves at every checkpoint; the tree is there from the fourth on, in one state of two."""
    generator = np.random.default_rng(0)
    rows = [
        {"step": 2**k, "loss": 2.0**-k, **{
            name: [[float(k >= 4)] * 5, (generator.uniform(0.3, 0.5, 5)).tolist()] for name in ("interaction", "thermal")}}
        for k in range(10)
    ]  # fmt: skip
    null = [{name: [[0.2] * 5, [0.1] * 5] for name in ("interaction", "thermal")}] * 3
    return {
        "runs": [{"reader": reader, "seed": seed, "steps": 512, "rows": rows} for seed in range(seeds)],
        "untrained": null,
    }


def test_trees_are_read_at_their_state_and_beside_the_best_of_untrained_models():
    trees = analysis("tree_dynamics")
    entry = planted_trees_of("gauge", 2)
    assert trees.scores(entry, "interaction").shape == (2, 10, 5)
    np.testing.assert_array_equal(trees.null_scores(entry, "interaction"), np.full((3, 5), 0.2))
    found = trees.tables({"gauge": entry})["trees"]
    row = next(line for line in found.splitlines() if line.startswith("| gauge (2), interaction"))
    assert "| 0.00 | 0.00 (1) | 1.00 | 0.20 | +0.80 (+0.28 to +0.80) |" in row


@pytest.mark.parametrize("reader", ["bidirectional", "gauge"])
def test_a_reader_is_watched_while_it_is_trained(tmp_path, reader, monkeypatch):
    trees = analysis("tree_dynamics")
    monkeypatch.setattr(trees, "CONTEXTS", 4)
    monkeypatch.setattr(trees, "TESTED", 50)
    record = trees.train_one(tmp_path, reader, seed=0, steps=2, sentences=2)
    assert [row["step"] for row in record["rows"]] == [0, 1, 2]
    assert np.array(record["rows"][0]["interaction"]).shape == (3 + (reader == "bidirectional"), 2)
    assert record["rows"][0]["loss"] != record["rows"][2]["loss"]
    assert len(trees.untrained(tmp_path, reader, count=1, sentences=2)) == 1


def test_a_network_is_measured_on_the_way_to_its_sums(monkeypatch):
    sums = analysis("modular_addition")
    monkeypatch.setattr(sums, "PAIRS", 8)
    record = sums.train_one(0, 1.0, 2)
    assert [row["step"] for row in record["rows"]] == [0, 1, 2]
    assert set(sums.SERIES) <= set(record["rows"][0])
    assert record["rows"][0]["theta"] > 10  # an untrained head is hot


def main(folder):
    for left, (_, name) in RECORDS.items():
        if (folder / f"{left}.json").exists():
            shutil.copy(folder / f"{left}.json", DOCS / f"{name}.json")
            shutil.copy(folder / f"{name}.svg", IMAGES / f"{name}.svg")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    write(PAGE, tables())
