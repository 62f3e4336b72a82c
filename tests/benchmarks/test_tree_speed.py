"""The tree benchmark: its inputs are pinned, its record survives JSON, its table holds ratios."""

import json

import numpy as np
import pytest
import torch

from rgprobe.benchmarks.tree_inputs import CASES, TreeCase, distances, sample
from rgprobe.benchmarks.tree_speed import TreeOptions, TreeResult, TreeTiming, measure_trees, tree_table
from rgprobe.errors import BadInput
from rgprobe.gaussian import Gaussian


def rows(seed):
    return np.random.default_rng(seed).dirichlet(np.ones(9), size=33)


CASE = TreeCase("small", "nine classes", rows, "moment", largest=17)


def test_every_size_up_to_a_cases_largest_is_measured():
    told = []
    result = measure_trees(
        TreeOptions((7, 17, 33), repeats=1), cases=(CASE,), on_progress=lambda *step: told.append(step)
    )
    assert [(timing.case, timing.tokens) for timing in result.timings] == [("small", 7), ("small", 17)]
    assert all(timing.tree > 0 and timing.linkage > 0 for timing in result.timings)
    assert told == [(0, 2, "small, 7 tokens"), (1, 2, "small, 17 tokens"), (2, 2, "done")]


def made_up():
    timings = tuple(TreeTiming("small", n, 3e-6 * n**2, 1e-6 * n**2) for n in (8, 16, 32))
    return TreeResult({"small": "nine classes", "none": "not measured"}, timings, {"seed": 0}, {"numpy": "2"})


def test_growth_and_ratios():
    result = made_up()
    assert result.exponent("small") == pytest.approx(2.0)
    assert np.isnan(result.exponent("none"))
    assert tree_table(result).rows == (("small", "3", "3", "3", "2.00"), ("none", "-", "-", "-", "nan"))


def test_a_record_survives_its_file():
    text = made_up().to_json()
    assert TreeResult.from_json(text).timings == made_up().timings
    with pytest.raises(BadInput, match="tree speed"):
        TreeResult.from_json(json.dumps({"schema": "other"}))


def test_distances_are_those_of_the_definition():
    p = rows(1)[:5]
    mean = torch.from_numpy(np.random.default_rng(2).normal(size=(5, 3)))
    q = Gaussian.from_diagonal(mean, torch.ones(5, 3, dtype=torch.float64))
    for points, got in ((np.sqrt(p), distances(p)), (mean.numpy(), distances(q))):
        expected = [np.linalg.norm(points[i] - points[j]) for i in range(5) for j in range(i + 1, 5)]
        np.testing.assert_allclose(got, expected, atol=1e-12)


def test_a_sample_is_pinned_by_its_seed():
    np.testing.assert_array_equal(sample(rows(0), 7, 3), sample(rows(0), 7, 3))
    assert not np.array_equal(sample(rows(0), 7, 3), sample(rows(0), 7, 4))
    assert len({row.tobytes() for row in sample(rows(0), 33, 5)}) == 33


def test_cases_have_names_of_their_own_and_enough_beliefs():
    assert len({case.name for case in CASES}) == len(CASES)
    for name in ("native-shift", "isotropic-pool"):
        (case,) = (case for case in CASES if case.name == name)
        assert len(case.beliefs(0)) >= case.largest
