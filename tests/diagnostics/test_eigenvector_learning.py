"""D24: fits by pairs against a design matrix, overlaps against SciPy, symmetries against their orbits."""

import numpy as np
import pytest
from scipy.linalg import subspace_angles
from scipy.stats import ortho_group

from rgprobe.diagnostics.eigenvector_learning import (
    centred,
    commutant_share,
    expected_commutant_share,
    head_maps,
    leading_subspace,
    subspace_overlap,
)
from rgprobe.errors import NumericalRefusal, OptionError
from rgprobe.testbeds import ring_blocks


def attention(tokens, scores):
    """Causal attention whose score is a function of the two tokens alone."""
    s = scores[tokens[:, :, None], tokens[:, None, :]]
    s = np.where(np.tril(np.ones(s.shape[1:], dtype=bool)), s, -np.inf)
    weights = np.exp(s - s.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def test_maps_are_averages_by_state_and_a_fit_by_pairs():
    rng = np.random.default_rng(0)
    tokens = rng.integers(4, size=(13, 11))
    values, pattern = rng.normal(size=(13, 11, 5)), attention(tokens, rng.normal(size=(4, 4)))
    # not a function of the states alone
    pattern = pattern * rng.uniform(0.5, 2.0, size=pattern.shape)
    maps = head_maps(tokens, values, pattern, states=4)
    by_state = np.stack([values[tokens == state].mean(0) for state in range(4)])
    np.testing.assert_allclose(maps.values, by_state - by_state.mean(0), atol=1e-12)
    fitted = np.empty((4, 4))
    for s in range(4):
        # one unknown per query of this state, and one per state of the key
        queries = [(w, i) for w in range(13) for i in range(1, 11) if tokens[w, i] == s]
        keys = [(q, w, i, j) for q, (w, i) in enumerate(queries) for j in range(i)]
        design = np.zeros((len(keys), len(queries) + 4))
        for row, (q, w, _, j) in enumerate(keys):
            design[row, q] = design[row, len(queries) + tokens[w, j]] = 1.0
        logs = [np.log(pattern[w, i, j]) for _, w, i, j in keys]
        fitted[s] = np.linalg.lstsq(design, np.array(logs), rcond=None)[0][-4:]
    np.testing.assert_allclose(maps.pattern, centred(fitted), atol=1e-9)
    assert maps.counts.tolist() == [(tokens == state).sum() for state in range(4)]


def test_planted_scores_are_found_again():
    rng = np.random.default_rng(1)
    planted = rng.normal(size=(6, 6))
    tokens = rng.integers(6, size=(300, 24))
    maps = head_maps(tokens, np.eye(6)[tokens], attention(tokens, planted), states=6)
    np.testing.assert_allclose(maps.pattern, centred(planted), atol=1e-9)
    np.testing.assert_allclose(maps.values, np.eye(6) - 1 / 6, atol=1e-12)


@pytest.mark.parametrize(("d", "p", "k"), [(7, 3, 2), (7, 2, 3), (12, 5, 5), (5, 5, 1)])
def test_overlap_is_the_mean_squared_cosine_of_the_principal_angles(d, p, k):
    rng = np.random.default_rng(d + p)
    found, wanted = rng.normal(size=(d, p)), rng.normal(size=(d, k))
    angles = subspace_angles(found, wanted)
    assert subspace_overlap(found, wanted) == pytest.approx((np.cos(angles) ** 2).sum() / k, abs=1e-12)
    assert subspace_overlap(found, found @ rng.normal(size=(p, p))) == pytest.approx(1.0)


def test_random_subspaces_overlap_as_often_as_they_should():
    rng = np.random.default_rng(0)
    wanted = np.eye(11)[:, :5]
    draws = [subspace_overlap(rng.normal(size=(11, 4)), wanted) for _ in range(4000)]
    assert np.mean(draws) == pytest.approx(4 / 11, abs=4 * np.std(draws) / np.sqrt(4000))


def test_leading_directions_are_those_of_the_largest_singular_values():
    rng = np.random.default_rng(2)
    left, right = ortho_group.rvs(6, random_state=3), ortho_group.rvs(4, random_state=4)
    matrix = left[:, :4] * np.array([0.1, 3.0, 1.0, 2.0]) @ right
    assert subspace_overlap(leading_subspace(matrix, 2), left[:, [1, 3]]) == pytest.approx(1.0)
    with pytest.raises(NumericalRefusal, match="singular value 3"):
        leading_subspace(rng.normal(size=(6, 2)) @ rng.normal(size=(2, 5)), 3)
    with pytest.raises(OptionError, match="dimensions"):
        leading_subspace(matrix, 5)


@pytest.mark.parametrize("sizes", [(3, 4), (5, 7)])
def test_what_is_free_under_the_symmetries_is_one_number_per_orbit(sizes):
    group = ring_blocks.symmetries(ring_blocks.chain(sizes=sizes))
    states = sum(sizes)
    orbits = {frozenset((int(g[s]), int(g[t])) for g in group) for s in range(states) for t in range(states)}
    single = {frozenset(int(g[s]) for g in group) for s in range(states)}
    assert expected_commutant_share(group, centred=False) == pytest.approx(len(orbits) / states**2)
    free = (len(orbits) - 2 * len(single) + 1) / (states - 1) ** 2
    assert expected_commutant_share(group, centred=True) == pytest.approx(free)
    rng = np.random.default_rng(0)
    for centre, expected in ((False, len(orbits) / states**2), (True, free)):
        # a ratio of quadratic forms of an isotropic Gaussian: its mean is the ratio of the dimensions
        draws = [rng.normal(size=(states, states)) for _ in range(300)]
        shares = [commutant_share(centred(one) if centre else one, group) for one in draws]
        assert np.mean(shares) == pytest.approx(expected, abs=4 * np.std(shares) / np.sqrt(300))


def test_the_chain_itself_commutes_with_its_symmetries():
    built = ring_blocks.chain(sizes=(4, 5))
    group = ring_blocks.symmetries(built)
    assert commutant_share(built.transition, group) == pytest.approx(1.0)
    noisy = built.transition + 0.05 * np.random.default_rng(0).normal(size=(9, 9))
    assert commutant_share(noisy, group) < 0.99


def test_what_cannot_be_read_is_refused():
    rng = np.random.default_rng(0)
    tokens = rng.integers(3, size=(20, 9))
    pattern = attention(tokens, np.zeros((3, 3)))
    with pytest.raises(OptionError, match="tokens"):
        head_maps(tokens + 1, np.eye(4)[tokens], pattern, states=3)
    with pytest.raises(NumericalRefusal, match="every pair"):
        head_maps(tokens, np.eye(4)[tokens], pattern, states=4)
    with pytest.raises(NumericalRefusal, match="positive weights"):
        head_maps(tokens, np.eye(4)[tokens], pattern * (pattern < 0.12), states=3)
    with pytest.raises(NumericalRefusal, match="wanted"):
        subspace_overlap(np.eye(4), np.ones((4, 2)))
    with pytest.raises(NumericalRefusal, match="matrix"):
        commutant_share(np.zeros((3, 3)), np.arange(3)[None])
