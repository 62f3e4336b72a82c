"""Lyapunov exponents from tangents, against planted flows, dense Jacobians of directions and the definition."""

import pytest
import torch

from rgprobe.errors import OptionError
from rgprobe.probe.stretching import angular, norm_growth, stretching_rates, tangent_frame
from rgprobe.probe.tangents import linearized
from rgprobe.testbeds import linear_flow


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_an_aligned_flow_stretches_each_of_its_directions_by_what_was_planted():
    planted = torch.tensor([[1.5, 1.2, 1.0, 0.8, 0.3]]).repeat(7, 1)
    flow = linear_flow.sample(singular_values=planted, frames="aligned", seed=3)
    layers = [lambda rows, w=weight: rows @ w.mT for weight in flow.weights]
    rates = stretching_rates(layers, flow.directions.T)
    torch.testing.assert_close(rates, planted.double().log(), rtol=1e-9, atol=1e-9)


def test_the_sum_of_all_rates_is_the_logarithm_of_the_volume():
    weights = drawn(3, 7, 7)
    rates = stretching_rates([lambda rows, w=weight: rows @ w.mT for weight in weights], drawn(7, 7, seed=1))
    torch.testing.assert_close(rates.sum(1), torch.linalg.slogdet(weights).logabsdet)


def test_one_tangent_is_its_own_growth():
    weights, tangent = drawn(3, 7, 7), drawn(1, 7, seed=1)
    rates = stretching_rates([lambda rows, w=weight: rows @ w.mT for weight in weights], tangent)
    end = weights[2] @ weights[1] @ weights[0] @ tangent[0]
    assert float(rates.sum()) == pytest.approx(float((end.norm() / tangent.norm()).log()))


def test_the_angular_part_is_the_derivative_of_directions_with_norms_held():
    state, weight = drawn(5, 3), drawn(3, 3, seed=1)

    def layer(x):  # mixes tokens and coordinates
        return x + torch.tanh(x.roll(1, 0) @ weight) * 2

    norms = state.norm(dim=-1, keepdim=True)

    def of_directions(n):
        moved = layer(norms * n)
        return moved / moved.norm(dim=-1, keepdim=True)

    frame = tangent_frame(4, state, seed=0, across=True)
    assert float((frame * state).sum(-1).abs().max()) < 1e-12
    push = angular(linearized(layer, state).jvp, state, layer(state))
    dense = torch.autograd.functional.jacobian(of_directions, state / norms).reshape(15, 15)
    torch.testing.assert_close(push(frame).flatten(1), frame.flatten(1) @ dense.T)


def test_growth_of_norms_is_no_part_of_the_angular_exponent():
    turn = torch.linalg.qr(drawn(3, 3))[0]
    states = [drawn(5, 3)]
    for _ in range(6):
        states.append(1.7 * states[-1] @ turn.mT)
    pushes = [lambda u: 1.7 * u @ turn.mT] * 6
    growth = torch.tensor(1.7).double().log()
    full = stretching_rates(pushes, tangent_frame(2, states[0], seed=0))
    across = stretching_rates(
        (angular(push, a, b) for push, a, b in zip(pushes, states, states[1:], strict=False)),
        tangent_frame(2, states[0], seed=0, across=True),
    )
    torch.testing.assert_close(full, growth.expand(6, 2))
    torch.testing.assert_close(across, torch.zeros(6, 2, dtype=torch.float64))
    torch.testing.assert_close(norm_growth(torch.stack(states)), growth.expand(6))


def test_a_collapsed_direction_is_minus_infinity_and_too_many_are_refused():
    flat = torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    rates = stretching_rates([lambda rows: rows @ flat], torch.eye(2, dtype=torch.float64))
    assert rates.tolist() == [[0.0, float("-inf")]]
    with pytest.raises(OptionError, match="frame"):
        stretching_rates([], drawn(3, 2))
