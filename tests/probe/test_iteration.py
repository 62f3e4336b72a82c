"""Orbits, cycles and fixed points of maps whose dynamics are known."""

import math

import pytest
import torch

from rgprobe.errors import NumericalRefusal, OptionError
from rgprobe.probe.iterated_blocks import on_directions
from rgprobe.probe.iteration import contraction, differences, fixed_point, iterate
from rgprobe.probe.tangents import linearized

DOTTIE = 0.7390851332151607  # cos x = x


def at(*values):
    return torch.tensor(values, dtype=torch.float64)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("factor", [0.9, 0.5, -0.3])
def test_a_contraction_converges_at_its_own_factor(factor):
    turn = torch.linalg.qr(drawn(7, 7))[0]
    centre = drawn(7, seed=1)
    orbit = iterate(lambda x: centre + factor * (x - centre) @ turn.mT, drawn(7, seed=2), steps=400)
    assert (orbit.status, orbit.period) == ("converged", 1)
    torch.testing.assert_close(orbit.point, centre, atol=1e-6, rtol=0)
    assert contraction(orbit.residuals) == pytest.approx(abs(factor), abs=1e-6)


@pytest.mark.parametrize(("r", "period"), [(2.9, 1), (3.2, 2), (3.5, 4), (3.55, 8)])
def test_the_logistic_map_doubles_its_period(r, period):
    orbit = iterate(lambda x: r * x * (1 - x), at(0.3), steps=3000)
    assert orbit.period == period
    assert orbit.status == ("converged" if period == 1 else "cyclic")


def test_chaos_a_slow_approach_and_a_period_beyond_the_longest_are_left_open():
    assert iterate(lambda x: 4 * x * (1 - x), at(0.3), steps=500).status == "insufficient"
    assert iterate(lambda x: x - x**3, at(0.5), steps=500).status == "insufficient"  # x falls like 1 / sqrt(2 t)
    turn = 2 * math.pi / 9
    rotation = at(math.cos(turn), -math.sin(turn), math.sin(turn), math.cos(turn)).view(2, 2)
    assert iterate(lambda x: rotation @ x, at(1.0, 0.0)).status == "insufficient"
    assert iterate(lambda x: rotation @ x, at(1.0, 0.0), longest=9).period == 9


def test_a_small_step_is_not_taken_for_a_cycle():
    # a turning point: one pair of points is close by, but the next is not
    orbit = iterate(lambda t: t + 1.0, at(-3.0), steps=20, watch=lambda t: (t + 0.5).square() + 5)
    assert orbit.status == "insufficient"


def test_what_grows_or_breaks_has_diverged():
    grows = iterate(lambda x: 3 * x, at(1.0), steps=100)
    assert grows.status == "diverged"
    assert len(grows.residuals) < 20
    assert iterate(lambda x: (x - 2).log(), at(4.0), steps=100).status == "diverged"


def test_only_what_is_watched_counts():
    orbit = iterate(lambda x: torch.stack([x[0] / 2, -x[1]]), at(1.0, 1.0), watch=lambda x: x[:1])
    assert orbit.status == "converged"
    assert iterate(lambda x: torch.stack([x[0] / 2, -x[1]]), at(1.0, 1.0)).period == 2


@pytest.mark.parametrize("push", [None, lambda point: lambda u: linearized(torch.cos, point).jvp(u[None])[0]])
def test_newton_finds_a_stable_fixed_point_with_its_rate(push):
    found = fixed_point(torch.cos, at(0.3, 1.2), push=push)
    torch.testing.assert_close(found.point, at(DOTTIE, DOTTIE), rtol=1e-12, atol=0)
    assert found.eigenvalue.real == pytest.approx(-math.sin(DOTTIE), rel=1e-8)
    assert found.stable
    assert found.residual < 1e-12


def test_newton_finds_the_unstable_fixed_points_of_a_flow_that_orbits_leave():
    found = fixed_point(lambda x: 3.9 * x * (1 - x), at(0.6))
    assert float(found.point) == pytest.approx(1 - 1 / 3.9)
    assert found.eigenvalue.real == pytest.approx(2 - 3.9, rel=1e-8)
    assert not found.stable


def test_newton_in_many_dimensions_needs_products_only():
    weight, bias = drawn(63, 63) * 0.3, drawn(63, seed=1)

    def function(x):
        return torch.tanh(weight @ x) + bias

    found = fixed_point(function, torch.zeros(63, dtype=torch.float64))
    torch.testing.assert_close(function(found.point), found.point, rtol=0, atol=1e-11)
    dense = torch.autograd.functional.jacobian(function, found.point)
    top = torch.linalg.eigvals(dense).abs().max()
    assert abs(found.eigenvalue) == pytest.approx(float(top), rel=0.02)  # 32 steps of Arnoldi in 63 dimensions


def test_differences_are_the_derivative():
    point, direction = drawn(5), drawn(5, seed=1)
    push = differences(lambda x: x.sin() * x.sum(), point)
    expected = linearized(lambda x: x.sin() * x.sum(), point).jvp(direction[None])[0]
    torch.testing.assert_close(push(direction), expected, rtol=1e-8, atol=1e-9)
    assert float(push(torch.zeros(5, dtype=torch.float64)).abs().max()) == 0.0


def test_without_a_fixed_point_newton_refuses():
    with pytest.raises(NumericalRefusal, match="fixed point"):
        fixed_point(lambda x: x + 1 + x * x, at(0.7))


def test_options_outside_their_domain_are_refused():
    for options in ({"steps": 0}, {"longest": 0}, {"tolerance": 0.0}):
        with pytest.raises(OptionError):
            iterate(torch.cos, at(1.0), **options)


def test_a_curve_too_short_has_no_contraction():
    assert math.isnan(contraction(at(1.0, 0.5, 0.25)))
    assert contraction(at(1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 1e-15)) == pytest.approx(0.5)


def test_power_iteration_of_directions_ends_at_the_leading_eigenvector():
    matrix = torch.diag(at(2.0, 1.0, 0.5))
    norms = at(3.0, 0.1)[:, None]
    orbit = iterate(on_directions(lambda x: x @ matrix, norms), torch.nn.functional.normalize(drawn(2, 3)), steps=100)
    assert orbit.status == "converged"
    torch.testing.assert_close(orbit.point.abs(), at(1.0, 0.0, 0.0).expand(2, 3), atol=1e-7, rtol=0)
    assert contraction(orbit.residuals) == pytest.approx(0.5, abs=1e-4)
