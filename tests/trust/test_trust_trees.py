"""Our linkage against SciPy's, on SciPy's own test data, where the two mean the same; and SciPy's functions on our linkage.

Isotropic beliefs of equal width that move to their mean cost w_a w_b |x_a - x_b|^2 / (2 (w_a + w_b)): Ward's criterion. SciPy's
heights h are those of single merges, h^2 = 4 N times our cost; ours are sums of costs. The merges are the same.
"""

import numpy as np
import pytest
import torch
from scipy.cluster import hierarchy
from scipy.cluster.tests.hierarchy_test_data import Q_X, X

from rgprobe.condensation import condense
from rgprobe.gaussian import Gaussian

DATA = {"X": X, "Q_X": Q_X}


def condensed(points):
    x = torch.from_numpy(np.ascontiguousarray(points)).double()
    return condense(Gaussian.from_diagonal(x, torch.ones_like(x)), centroid="shift")


@pytest.mark.parametrize("name", DATA)
def test_costs_are_those_of_ward(name):
    points = DATA[name]
    heights = hierarchy.linkage(points, "ward")[:, 2]
    np.testing.assert_allclose(condensed(points).merge_costs, heights**2 / (4 * len(points)), rtol=1e-9)


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_clusters_are_those_of_ward(name, count):
    ours = condensed(DATA[name]).cut(n_clusters=count)
    theirs = hierarchy.fcluster(hierarchy.linkage(DATA[name], "ward"), count, criterion="maxclust")
    assert len(set(zip(ours.tolist(), theirs.tolist(), strict=True))) == len(set(ours.tolist())) == count


@pytest.mark.parametrize("name", DATA)
def test_scipy_reads_our_linkage(name):
    tree = condensed(DATA[name])
    linkage, n = tree.linkage, len(DATA[name])
    assert hierarchy.is_valid_linkage(linkage, throw=True)
    assert hierarchy.is_monotonic(linkage)
    assert hierarchy.num_obs_linkage(linkage) == n
    assert sorted(hierarchy.leaves_list(linkage).tolist()) == list(range(n))
    assert hierarchy.to_tree(linkage).get_count() == n
    np.testing.assert_allclose(hierarchy.maxdists(linkage), linkage[:, 2])
    assert hierarchy.cophenet(linkage).max() == pytest.approx(tree.loss(1))
    for count in (2, 4):
        clusters = hierarchy.fcluster(linkage, count, criterion="maxclust")
        assert len(set(zip(clusters.tolist(), tree.cut(n_clusters=count).tolist(), strict=True))) == count
