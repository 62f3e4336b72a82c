"""docs/training-dynamics.md shows the tables of docs/training-dynamics.json, measured by `analyses/training_dynamics.py`.

To write it again: `python tests/test_training_dynamics_page.py DIR`, the folder that the analysis wrote.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from measured_page import DOCS, IMAGES, analysis, shown, write

PAGE, RECORD = DOCS / "training-dynamics.md", DOCS / "training-dynamics.json"


def tables():
    return analysis("dynamics_tables").tables(json.loads(RECORD.read_text("utf-8")))


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
    answers, sums = analysis("dynamics_answers"), analysis("modular_addition")
    assert answers.half_way([0, 1, 3], [0.0, 0.25, 0.75]) == pytest.approx(np.expm1(1.25 * np.log(2)))
    assert answers.half_way([0, 1, 3], [1.0, 0.2, 0.0]) == pytest.approx(np.expm1(0.625 * np.log(2)))
    assert sums.half_way(np.array([1, 100]), np.array([0.0, 1.0])) == pytest.approx(10)


def test_the_jackknife_of_a_mean_is_its_standard_error():
    answers = analysis("dynamics_answers")
    values = {"a-0": 1.0, "a-1": 2.0, "a-2": 6.0}
    found = answers.jackknife(
        lambda left: float(np.mean([v for name, v in values.items() if name != left])), list(values)
    )
    np.testing.assert_allclose(found, answers.over_seeds(list(values.values())), rtol=1e-12)


def test_pairs_of_runs_are_sorted_by_family():
    answers = analysis("dynamics_answers")
    pairs = [("a-0", "a-1"), ("a-0", "b-0"), ("a-1", "b-0"), ("b-0", "b-1")]
    row = np.array([1.0, 2.0, 4.0, 8.0])
    assert answers._pair_mean(row, pairs, ("a", "a"), None) == 1.0
    assert answers._pair_mean(row, pairs, ("a", "b"), None) == 3.0
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


def main(folder):
    shutil.copy(folder / "training_dynamics.json", RECORD)
    shutil.copy(folder / "training-dynamics.svg", IMAGES / "training-dynamics.svg")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    write(PAGE, tables())
