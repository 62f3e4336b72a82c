"""The comparison of models by the geometry of families: equal up to a rotation is equal, unrelated is unrelated."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[1] / "analyses" / "universality.py"


@pytest.fixture(scope="module")
def analysis():
    spec = importlib.util.spec_from_file_location("universality_analysis", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def geometry(seed, states, width):
    return np.random.default_rng(seed).standard_normal((states, 24, width))


def test_a_rotation_and_a_scale_change_nothing(analysis):
    means = geometry(0, 5, 9)
    turn, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((9, 9)))
    rows = analysis.compared(("a", "b"), [means, 3 * means @ turn + 1], 4, 99)
    assert [row["depth"] for row in rows] == [0.25, 0.5, 0.75, 1]
    for row in rows:
        assert row["cka"] == pytest.approx(1, rel=1e-10)
        assert row["rank"] == pytest.approx(1, rel=1e-10)
        assert row["cka_p"] == row["rank_p"] == 0.01


def test_unrelated_geometries_do_not_agree_whatever_their_depth_and_width(analysis):
    rows = analysis.compared(("a", "b"), [geometry(2, 5, 9), geometry(3, 31, 40)], 4, 99)
    assert all(abs(row["cka"]) < 0.25 for row in rows)
    assert min(row["cka_p"] for row in rows) > 0.01


def test_one_point_for_all_families_is_no_evidence(analysis):
    flat = np.ones((2, 24, 3))
    with np.errstate(invalid="ignore", divide="ignore"):
        (row,) = analysis.compared(("a", "b"), [flat, geometry(4, 2, 3)], 1, 9)
    assert np.isnan(row["cka"])
    assert row["cka_p"] == row["rank_p"] == 1
