"""D30: effective rank of planted spectra, ranks of chains by level against what is known, drift against a plain CKA."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import ortho_group

from rgprobe.diagnostics.rank_order import effective_rank, kernel_drift, rank_profile
from rgprobe.errors import NumericalRefusal
from rgprobe.testbeds import ring_chain


@pytest.mark.parametrize(("rows", "width"), [(63, 5), (7, 7), (4, 9)])
def test_effective_rank_of_a_planted_spectrum(rows, width):
    rank = min(rows, width)
    values = np.geomspace(1, 0.05, rank)
    left, right = ortho_group.rvs(rows, random_state=0), ortho_group.rvs(width, random_state=1)
    matrix = left[:, :rank] * values @ right[:rank]
    p = values / values.sum()
    assert effective_rank(matrix) == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-10)
    assert effective_rank(7.0 * matrix @ ortho_group.rvs(width, random_state=2)) == pytest.approx(
        effective_rank(matrix)
    )


def test_centring_takes_a_common_offset_out():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(50, 6))
    rows -= rows.mean(0)
    assert effective_rank(rows + 100.0, centre=True) == pytest.approx(effective_rank(rows), rel=1e-10)
    assert effective_rank(rows + 100.0) < 1.5


@pytest.mark.parametrize("xi", [1.2, 6.7])
def test_one_hot_tokens_have_the_full_rank_by_position_whatever_the_chain(xi):
    built = ring_chain.chain(states=16, correlation_length=xi)
    hot = np.eye(16)[ring_chain.sample(built, rows=400, length=64)][None]
    assert rank_profile(hot)[0] == pytest.approx(16, abs=0.01)
    assert rank_profile(hot, centre=True)[0] == pytest.approx(15, abs=0.01)


def test_pooled_and_single_sequences_see_the_memory_of_the_chain():
    ranks = {}
    for xi in (1.2, 6.7):
        built = ring_chain.chain(states=16, correlation_length=xi)
        hot = np.eye(16)[ring_chain.sample(built, rows=4000, length=64)][None]
        ranks[xi] = {level: rank_profile(hot[:, : 4000 if level == "pooled" else 50], level=level, centre=True)[0]
                     for level in ("pooled", "sequence")}  # fmt: skip
        # the mean of T tokens has variance (1/T) sum_r (1 - |r|/T) lambda^|r| along a mode of eigenvalue lambda
        lags = np.arange(-63, 64)
        variance = ((1 - abs(lags) / 64) * built.eigenvalues[1:, None] ** abs(lags)).sum(1)
        p = np.sqrt(variance) / np.sqrt(variance).sum()
        assert ranks[xi]["pooled"] == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=0.02)
    assert ranks[6.7]["pooled"] < ranks[1.2]["pooled"] - 0.5
    assert ranks[6.7]["sequence"] < ranks[1.2]["sequence"] - 1


def test_drift_is_one_minus_cka():
    rng = np.random.default_rng(0)
    layers = rng.normal(size=(3, 41, 7))
    centring = np.eye(41) - 1 / 41
    kernels = [centring @ x @ x.T @ centring for x in layers]
    expected = [1 - (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()) for a, b in pairwise(kernels)]
    np.testing.assert_allclose(kernel_drift(layers), expected, atol=1e-12)
    turned = np.stack([layers[0], 3 * layers[0] @ ortho_group.rvs(7, random_state=0) + 1.0])
    np.testing.assert_allclose(kernel_drift(turned), 0.0, atol=1e-12)


def test_what_has_no_rank_is_refused():
    with pytest.raises(NumericalRefusal, match="finite"):
        effective_rank(np.array([[1.0, np.nan]]))
    with pytest.raises(NumericalRefusal, match="no variance"):
        effective_rank(np.ones((5, 3)), centre=True)
    with pytest.raises(NumericalRefusal, match="layer 1"):
        kernel_drift(np.stack([np.eye(4), np.ones((4, 4))]))
