"""Stored patterns: the scalar equation against the descent in full space, counts of minima against random starts."""

import numpy as np
import pytest

from rgprobe.errors import OptionError
from rgprobe.testbeds import stored_patterns


def hessian(state, patterns, beta):
    scores = beta * patterns @ state
    p = np.exp(scores - scores.max())
    p /= p.sum()
    return np.eye(len(state)) - beta * patterns.T @ (np.diag(p) - np.outer(p, p)) @ patterns


@pytest.mark.parametrize(("patterns", "dim"), [(2, 3), (3, 5), (9, 17), (33, 40)])
@pytest.mark.parametrize(("norm", "excess"), [(1.0, 1.01), (0.7, 2.0), (2.0, 6.0)])
def test_descent_from_each_pattern_ends_at_the_exact_minimum(patterns, dim, norm, excess):
    beta = excess * stored_patterns.exact(patterns=patterns, norm=norm, beta=1.0).spinodal
    x = stored_patterns.sample(patterns=patterns, dim=dim, norm=norm, seed=patterns)
    known = stored_patterns.exact(patterns=patterns, norm=norm, beta=beta)
    found = stored_patterns.retrieve(x, x, beta=beta, steps=2000)
    np.testing.assert_allclose((found * x).sum(1) / norm**2, known.weight, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(found - x, axis=1) / norm, known.distance, atol=1e-9)
    np.testing.assert_allclose(stored_patterns.energy(found, x, beta=beta), known.energy, atol=1e-12 * norm**2 + 1e-13)
    assert np.linalg.eigvalsh(hessian(found[0], x, beta))[0] > 0
    centre = stored_patterns.energy(x.mean(0), x, beta=beta)
    assert float(centre) == pytest.approx(known.mean_energy, abs=1e-12)


@pytest.mark.parametrize("patterns", [2, 3, 5, 17])
def test_minima_are_as_many_as_counted(patterns):
    levels = stored_patterns.exact(patterns=patterns, beta=1.0)
    middle = (levels.spinodal + patterns) / 2
    x = stored_patterns.sample(patterns=patterns, dim=patterns + 2, seed=1)
    # two patterns have no middle: minima branch off the mean continuously, and at that point descent takes forever
    betas = [0.9 * levels.spinodal, 1.3 * patterns] + [middle] * (patterns > 2)
    for beta in betas:
        known = stored_patterns.exact(patterns=patterns, beta=beta)
        starts = np.concatenate([x, x.mean(0)[None] + 1e-3 * x])
        ends = stored_patterns.retrieve(starts, x, beta=beta, steps=1500)
        stable = [end for end in ends if np.linalg.eigvalsh(hessian(end, x, beta))[0] > 1e-9]
        distinct = np.unique(np.round(np.array(stable) @ x.T, 6) + 0.0, axis=0)
        assert len(distinct) == known.minima
    counts = [stored_patterns.exact(patterns=patterns, beta=beta).minima for beta in betas]
    assert counts == [1, patterns, patterns + 1][: len(betas)]


@pytest.mark.parametrize("patterns", [3, 4, 9])
def test_the_transition_is_where_the_energies_cross(patterns):
    at = stored_patterns.exact(patterns=patterns, beta=1.0).transition
    below, above = (stored_patterns.exact(patterns=patterns, beta=at * f) for f in (0.999, 1.001))
    assert below.energy > below.mean_energy
    assert above.energy < above.mean_energy
    crossing = stored_patterns.exact(patterns=patterns, beta=at)
    assert crossing.energy == pytest.approx(crossing.mean_energy, abs=1e-12)
    # Wu's order parameter at the transition: delta = (N - 2) / (N - 1)
    delta = (patterns * crossing.weight - 1) / (patterns - 1)
    assert delta == pytest.approx((patterns - 2) / (patterns - 1), rel=1e-9)


def test_no_update_raises_the_energy_and_it_is_never_negative():
    x = stored_patterns.sample(patterns=7, dim=11, norm=1.5, seed=2)
    state = np.random.default_rng(3).standard_normal((51, 11))
    for _ in range(8):
        after = stored_patterns.retrieve(state, x, beta=3.0)
        before, now = (stored_patterns.energy(y, x, beta=3.0) for y in (state, after))
        assert (now <= before + 1e-12).all()
        assert (now >= 0).all()
        state = after


def test_cold_minima_are_the_patterns_themselves():
    known = stored_patterns.exact(patterns=9, beta=60.0)
    # 1 - p = (N - 1) e^(-beta) (1 + ...), kept though 1 - p rounds away from 1
    assert known.distance == pytest.approx(8 * np.exp(-60.0) * np.sqrt(9 / 8), rel=1e-9)
    assert known.weight == 1.0


def test_above_the_spinodal_temperature_there_is_only_the_mean():
    known = stored_patterns.exact(patterns=5, beta=2.0)
    assert known.minima == 1
    assert np.isnan([known.weight, known.distance, known.energy]).all()


@pytest.mark.parametrize("options", [{"patterns": 1}, {"dim": 2}, {"norm": 0.0}, {"norm": float("nan")}])
def test_what_stores_nothing_is_refused(options):
    with pytest.raises(OptionError):
        stored_patterns.sample(**{"patterns": 3, "dim": 4, **options})


def test_infinite_temperature_is_refused():
    with pytest.raises(OptionError):
        stored_patterns.exact(patterns=3, beta=0.0)
