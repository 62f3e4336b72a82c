"""Hypercube: moments, isometry, and where a nearest-neighbour estimate of its dimension lands."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from rgprobe.errors import OptionError
from rgprobe.testbeds import hypercube


def log_ratios(x):
    distance, _ = cKDTree(x).query(x, k=3)
    return np.log(distance[:, 2] / distance[:, 1])


@pytest.mark.parametrize(("dim", "ambient"), [(1, 1), (3, 7), (5, 33)])
def test_points_have_the_moments_of_the_cube(dim, ambient):
    points = 4001
    x = hypercube.sample(points=points, dim=dim, ambient=ambient, seed=2)
    known = hypercube.exact(dim=dim)
    # pairs of their own, independent: variance of a squared distance is k Var((u - v)^2) = 7 k / 180
    squared = ((x[: points // 2] - x[points // 2 : -1]) ** 2).sum(1)
    error = np.sqrt(7 * dim / 180 / len(squared))
    assert abs(squared.mean() - known.mean_squared_distance) < 4 * error
    values = np.linalg.svd(x, compute_uv=False)
    assert (values > 1e-10 * values[0]).sum() == known.intrinsic_dimension


def test_in_one_dimension_faces_do_not_matter():
    points = 20_001
    found = log_ratios(hypercube.sample(points=points, dim=1, ambient=3, seed=1)).mean()
    # E ln mu = 1 with standard deviation 1; neighbours share gaps, so errors are at most twice those of independence
    assert abs(found - hypercube.exact(dim=1).mean_log_ratio) < 8 / np.sqrt(points)


def test_a_sampled_five_dimensional_cube_looks_like_4_7():
    found = [1 / log_ratios(hypercube.sample(points=2001, dim=5, ambient=9, seed=s)).mean() for s in range(5)]
    # standard error of one estimate k / sqrt(points) = 0.11; the bias by faces, not noise, keeps it from 5
    assert np.mean(found) == pytest.approx(4.7, abs=0.15)


@pytest.mark.parametrize("options", [{"points": 0}, {"dim": 0}, {"ambient": 1}])
def test_what_is_no_cube_is_refused(options):
    with pytest.raises(OptionError):
        hypercube.sample(**{"points": 3, "dim": 2, "ambient": 3, **options})
