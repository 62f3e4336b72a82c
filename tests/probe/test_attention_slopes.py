"""Slopes of the loss in attention weights, against finite differences; a step of descent that leaves no trace."""

import pytest
import tiny_models
import torch
from gauge_models import tiny_gauge
from tiny_models import random_prompts

import rgprobe as rg
from rgprobe.errors import OptionError
from rgprobe.probe.descent import gradient_step
from rgprobe.probe.patterns import attention_patterns, attention_slopes

IDS = random_prompts(1, 7)[0]
MODELS = {
    "gpt2": lambda: tiny_models.gpt2().double(),
    "llama": lambda: tiny_models.llama().double(),
    "gauge": tiny_gauge,
}


def loss(probe, hooks=()):
    with torch.inference_mode():
        logits = probe.bridge.run_with_hooks(IDS[None], fwd_hooks=list(hooks), return_type="logits")[0]
    return -logits.double().log_softmax(-1)[:-1].gather(-1, IDS[1:, None]).mean().item()


@pytest.mark.parametrize("name", ["gpt2", "gauge"])  # llama takes its softmax in single precision, whatever its weights
def test_slopes_are_finite_differences(name):
    probe = rg.load(MODELS[name]())
    patterns, slopes = attention_slopes(probe, IDS)
    torch.testing.assert_close(patterns, attention_patterns(probe, IDS))
    generator = torch.Generator().manual_seed(0)
    for block in range(probe.n_blocks):
        direction = torch.randn(patterns.shape[1:], generator=generator, dtype=torch.float64)
        direction *= torch.ones(7, 7).tril()

        def moved(by, direction=direction, block=block):
            return loss(probe, [(f"blocks.{block}.attn.hook_pattern", lambda tensor, hook: tensor + by * direction)])

        expected = (moved(1e-4) - moved(-1e-4)) / 2e-4
        assert float((slopes[block].double() * direction).sum()) == pytest.approx(expected, rel=1e-4, abs=1e-7)


def test_frozen_weights_have_slopes_too():
    model = tiny_models.gpt2().double()
    free = attention_slopes(rg.load(model), IDS)[1]
    torch.testing.assert_close(attention_slopes(rg.load(model.requires_grad_(False)), IDS)[1], free)


def test_prompts_without_a_next_token_are_refused():
    with pytest.raises(OptionError, match="at least 2 tokens"):
        attention_slopes(rg.load(tiny_gauge()), IDS[:1])
    with pytest.raises(OptionError, match="at most 256"):
        attention_slopes(rg.load(tiny_gauge()), IDS.repeat(40))


@pytest.mark.parametrize("name", MODELS)
def test_a_step_of_descent_lowers_the_loss_by_the_gradient_and_is_taken_back(name):
    probe = rg.load(MODELS[name]())
    before, kept = loss(probe), {key: value.clone() for key, value in probe.bridge.state_dict().items()}
    falls = []
    for relative in (1e-5, 2e-5):
        with gradient_step(probe, IDS, relative=relative) as stepped:
            falls.append(before - loss(stepped))
    assert falls[0] > 0
    assert falls[1] == pytest.approx(2 * falls[0], rel=0.02)
    assert all(torch.equal(value, kept[key]) for key, value in probe.bridge.state_dict().items())
    assert loss(probe) == before


def test_weights_come_back_after_a_failure():
    model = tiny_models.gpt2().double().requires_grad_(False)
    probe = rg.load(model)
    before, learning = loss(probe), [weight.requires_grad for weight in probe.bridge.parameters()]
    moved = []

    def fail():
        with gradient_step(probe, IDS, relative=0.1):
            moved.append(loss(probe))
            raise RuntimeError("it broke")

    with pytest.raises(RuntimeError, match="broke"):
        fail()
    assert moved[0] != before
    assert loss(probe) == before
    assert [weight.requires_grad for weight in probe.bridge.parameters()] == learning
    with pytest.raises(OptionError, match="positive length"), gradient_step(probe, IDS, relative=0.0):
        pass
