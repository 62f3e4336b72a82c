"""Cuts of feature space: projections against a plain loop, pairs against a search, moments of known distributions."""

import numpy as np
import pytest
import torch

from rgprobe.probe import feature_cuts as cuts

SHAPES = [(50, 7), (301, 33)]


def points_of(shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(shape, generator=generator, dtype=torch.float64) @ torch.randn(
        shape[1], shape[1], generator=generator, dtype=torch.float64
    )
    return mixed + 5.0


def pairs_by_search(correlation):
    """Again and again the largest |correlation| among what is left."""
    left, found = list(range(len(correlation))), []
    while len(left) > 1:
        a, b = max(((a, b) for a in left for b in left if a < b), key=lambda pair: abs(correlation[pair]))
        found.append((a, b, -1 if correlation[a, b] < 0 else 1))
        left = [index for index in left if index not in (a, b)]
    return found, left


@pytest.mark.parametrize("shape", SHAPES)
def test_principal_cut_is_the_projection_on_the_leading_eigenvectors(shape):
    points = points_of(shape)
    eigenvalues, vectors = np.linalg.eigh(np.cov(points.numpy().T))
    kept = vectors[:, np.argsort(eigenvalues)[::-1][: shape[1] // 4]]
    cut = cuts.principal_cut(points, cuts.principal_directions(points), 4)
    mean = points.numpy().mean(0)
    for row, found in zip(points.numpy(), cut(points).numpy(), strict=True):
        expected = mean + sum(((row - mean) @ kept[:, k]) * kept[:, k] for k in range(kept.shape[1]))
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_is_lost_where_nothing_is_cut(shape):
    points = points_of(shape)
    for cut in (
        cuts.principal_cut(points, cuts.principal_directions(points), 1),
        cuts.random_cut(points, 1, torch.Generator().manual_seed(1)),
        cuts.paired_cut(points, [np.array([-(index + 1)]) for index in range(shape[1])]),
    ):
        np.testing.assert_allclose(cut(points).numpy(), points.numpy(), rtol=1e-11, atol=1e-10)


def test_every_cut_is_a_projection_and_the_principal_one_keeps_most():
    points = points_of((301, 33))
    principal = cuts.principal_cut(points, cuts.principal_directions(points), 4)
    paired = cuts.paired_cut(points, cuts.paired_units(points, 2)[-1])
    blind = [cuts.random_cut(points, 4, torch.Generator().manual_seed(seed)) for seed in range(5)]
    for cut in (principal, paired, *blind):
        once = cut(points)
        np.testing.assert_allclose(cut(once).numpy(), once.numpy(), rtol=1e-9, atol=1e-9)
        assert torch.linalg.matrix_rank(cut.directions) == cut.directions.shape[1]
    lost = [float((points - cut(points)).square().sum()) for cut in (principal, paired, *blind)]
    assert min(lost) == lost[0]


@pytest.mark.parametrize("shape", SHAPES)
def test_pairs_are_those_of_an_exhaustive_search_at_every_level(shape):
    points = points_of(shape).numpy()
    units = (points - points.mean(0)) / points.std(0)
    clusters = [np.array([index + 1]) for index in range(shape[1])]
    for found in cuts.paired_units(torch.from_numpy(points), 3):
        pairs, alone = pairs_by_search(np.corrcoef(units.T))
        clusters = [
            *(np.append(clusters[a], sign * clusters[b]) for a, b, sign in pairs),
            *(clusters[i] for i in alone),
        ]
        units = np.stack([*(units[:, a] + s * units[:, b] for a, b, s in pairs), *(units[:, i] for i in alone)], 1)
        assert [sorted(np.sign(c[0]) * c) for c in found] == [sorted(np.sign(c[0]) * c) for c in clusters]


def test_paired_cut_replaces_units_by_their_signed_mean():
    points = points_of((50, 7))
    z = (points - points.mean(0)) / points.std(0, correction=0)
    cut = cuts.paired_cut(points, [np.array([1, -3]), np.array([2, 4, 5, -7]), np.array([6])])
    found = (cut(points) - points.mean(0)) / points.std(0, correction=0)
    pair = (z[:, 0] - z[:, 2]) / 2
    four = (z[:, 1] + z[:, 3] + z[:, 4] - z[:, 6]) / 4
    expected = torch.stack([pair, four, -pair, four, four, z[:, 5], -four], 1)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-10, atol=1e-10)


def test_a_coordinate_that_never_varies_breaks_nothing():
    points = points_of((50, 7))
    points[:, 2] = 3.0
    for cut in (
        cuts.principal_cut(points, cuts.principal_directions(points), 1),
        cuts.paired_cut(points, cuts.paired_units(points, 1)[0]),
    ):
        assert torch.isfinite(cut(points)).all()
        assert np.isfinite(cuts.field_moments(points, cut)).all()


def test_moments_are_those_of_the_standardised_field():
    points = points_of((301, 33))
    cut = cuts.principal_cut(points, cuts.principal_directions(points), 4)
    field = (cut(points) - points.mean(0)).numpy()
    field = field / field.std(0)
    second, fourth = cuts.field_moments(points, cut)
    assert second == pytest.approx(1, rel=1e-12)
    assert fourth == pytest.approx((field**4).mean(), rel=1e-10)


def test_averaging_independent_units_halves_their_excess_kurtosis():
    points = torch.from_numpy(np.random.default_rng(3).laplace(size=(20_000, 16)))
    found = []
    for clusters in cuts.paired_units(points, 3):
        second, fourth = cuts.field_moments(points, cuts.paired_cut(points, clusters))
        found.append(fourth / second**2 - 3)
    np.testing.assert_allclose(found, [1.5, 0.75, 0.375], atol=0.15)
