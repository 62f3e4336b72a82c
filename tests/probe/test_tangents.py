"""Products with Jacobians of blocks, against central differences of the whole model and against dense Jacobians."""

from functools import cache

import pytest
import tiny_models
import torch
from gauge_models import tiny_gauge
from tiny_models import random_prompts

import rgprobe as rg
from rgprobe.errors import NumericalRefusal, OptionError
from rgprobe.probe.tangents import block_products, linearized, prompt_flow, pushed_forward

IDS = random_prompts(1, 7)[0]
GAUGE = {
    "gauge": {},
    "gauge, full covariance": {"covariance": "full"},
    "gauge, free-energy descent": {"update": "vfe"},
    "gauge, not itself": {"include_self": False},
}
# transformers computes the norms of llama and gemma2 in float32, whatever the weights are: differences carry its rounding
ACCURACY = {"llama": 1e-3, "gemma2": 1e-3}
NAMES = [*tiny_models.FAMILIES, *GAUGE]


@cache
def probe_of(name):
    return rg.load(tiny_gauge(**GAUGE[name]) if name in GAUGE else tiny_models.FAMILIES[name]().double())


def directions(probe, count=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, len(IDS), probe.width, generator=generator, dtype=probe.dtype)


def later_states(probe, ids, shift, start):
    """States start ... L of a whole pass in which `shift` is added to state `start`."""
    seen = []
    hooks = [(probe.state_hook(start), lambda tensor, hook: tensor + shift)]
    hooks += [
        (probe.state_hook(s), lambda tensor, hook: seen.append(tensor[0])) for s in range(start, probe.n_blocks + 1)
    ]
    probe.stream(ids, hooks)
    return torch.stack(seen)


def central_difference(probe, ids, direction, start, step):
    """Of fourth order in the step, so that the step can stay well above rounding."""

    def slope(h):
        return (later_states(probe, ids, h * direction, start) - later_states(probe, ids, -h * direction, start)) / (
            2 * h
        )

    return (4 * slope(step) - slope(2 * step)) / 3


@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("name", NAMES)
def test_pushed_forward_is_what_a_small_step_does_to_the_whole_model(name, start):
    probe = probe_of(name)
    tangents = directions(probe)
    pushed = pushed_forward(probe, IDS, tangents, start=start)
    assert pushed.shape == (probe.n_blocks + 1 - start, *tangents.shape)
    torch.testing.assert_close(pushed[0], tangents)
    step = 1e-3 if name in ACCURACY else 1e-5
    for index, tangent in enumerate(tangents):
        expected = central_difference(probe, IDS, tangent, start, step)
        error = (pushed[:, index] - expected).norm(dim=(1, 2)) / expected.norm(dim=(1, 2))
        assert float(error.max()) < ACCURACY.get(name, 1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_products_of_blocks_and_of_the_stack_are_adjoint_and_agree_with_the_push(name):
    probe = probe_of(name)
    tangents, others = directions(probe), directions(probe, seed=1)
    for block in (1, None):
        products = block_products(probe, IDS, block)
        forward, back = products.jvp(tangents), products.vjp(others)
        scale = forward.norm() * others.norm()
        assert abs(float((forward * others).sum() - (tangents * back).sum()) / scale) < (
            1e-6 if name in ACCURACY else 1e-13
        )
        pushed = pushed_forward(probe, IDS, tangents, start=block or 0)[-1 if block is None else 1]
        torch.testing.assert_close(forward, pushed, rtol=1e-5, atol=1e-5 * float(forward.abs().max()))


def test_blocks_are_maps_of_the_residual_stream():
    probe = probe_of("gpt2")
    flow = prompt_flow(probe, IDS)
    states = later_states(probe, IDS, 0.0, 0)
    torch.testing.assert_close(flow.states, states)
    elsewhere = directions(probe)[0]
    moved = later_states(probe, IDS, elsewhere - states[1], 1)
    torch.testing.assert_close(flow.blocks[1](elsewhere), moved[1])
    torch.testing.assert_close(flow.stack(states[0]), states[-1])


def test_a_causal_model_carries_nothing_back_in_time_and_an_encoder_does():
    for name, carries in (("gpt2", False), ("gauge", False), ("bert", True)):
        probe = probe_of(name)
        tangent = torch.zeros(1, len(IDS), probe.width, dtype=probe.dtype)
        tangent[0, 4] = 1.0 + torch.arange(probe.width)
        before = pushed_forward(probe, IDS, tangent)[-1, 0, :4]
        assert bool(before.any()) is carries, name


def test_the_calling_mode_and_the_model_are_left_as_they_were():
    probe = probe_of("gpt2")
    tangents = directions(probe)
    expected = pushed_forward(probe, IDS, tangents)
    module = probe.bridge.original_model
    module.train()
    with torch.inference_mode():
        found = pushed_forward(probe, IDS, tangents)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)  # dropout was off meanwhile
    assert module.training
    assert not found.requires_grad
    assert all(parameter.grad is None for parameter in module.parameters())
    module.eval()
    torch.testing.assert_close(pushed_forward(probe, IDS, tangents), expected, rtol=0, atol=0)


def test_linearized_equals_the_dense_jacobian():
    weight = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    point = torch.tensor([0.3, -0.2, 0.9], dtype=torch.float64)

    def function(x):
        return torch.tanh(weight @ x) * x.square().sum()

    dense = torch.autograd.functional.jacobian(function, point)
    products = linearized(function, point)
    torch.testing.assert_close(products.value, function(point))
    torch.testing.assert_close(products.jvp(torch.eye(3, dtype=torch.float64)), dense.T)
    torch.testing.assert_close(products.vjp(torch.eye(5, dtype=torch.float64)), dense)


def test_linear_and_constant_maps_have_products_too():
    eye = torch.eye(3, dtype=torch.float64)
    doubling = linearized(lambda x: 2 * x, eye[0])
    torch.testing.assert_close(doubling.jvp(eye), 2 * eye)
    torch.testing.assert_close(doubling.vjp(eye), 2 * eye)
    for constant in (lambda x: 0 * x, lambda x: x.detach() + 1):
        found = linearized(constant, eye[0])
        torch.testing.assert_close(found.value, constant(eye[0]))
        torch.testing.assert_close(found.jvp(eye), 0 * eye)
        torch.testing.assert_close(found.vjp(eye), 0 * eye)


def test_what_is_not_defined_is_refused():
    probe = probe_of("gpt2")
    with pytest.raises(OptionError, match="start"):
        pushed_forward(probe, IDS, directions(probe), start=4)
    with pytest.raises(OptionError, match="tangents"):
        pushed_forward(probe, IDS, directions(probe)[:, :, 1:])
    with pytest.raises(OptionError, match="tangents"):
        pushed_forward(probe, IDS, directions(probe)[:0])
    with pytest.raises(OptionError, match="block"):
        block_products(probe, IDS, 3)


def test_a_block_that_remembers_its_calls_is_refused():
    probe = rg.load(tiny_models.gpt2())
    block, calls = probe.bridge.blocks[1], []

    def drift(module, args, output):
        calls.append(0)
        return output * (1 + len(calls))

    handle = block.register_forward_hook(drift)
    with pytest.raises(NumericalRefusal, match="block 1"):
        prompt_flow(probe, IDS)
    handle.remove()
