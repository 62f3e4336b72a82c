"""Downstream beliefs: gradients against differences, information against enumeration, and what the network cannot see."""

import numpy as np
import pytest
import tiny_models
import torch
from gauge_models import tiny_gauge
from tiny_models import random_prompts

import rgprobe as rg
from rgprobe.errors import OptionError
from rgprobe.probe.coordinates import population_coordinates
from rgprobe.probe.downstream import (
    DownstreamCollector,
    _states,
    active_coordinates,
    score_gradients,
    score_information,
)
from rgprobe.probe.fisher_belief import readout_information

MODELS = {**tiny_models.FAMILIES, "gauge": tiny_gauge}
(IDS,) = random_prompts(1, 9)
SMALL = {"rank": 2, "samples": 6}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def trace(model, ids=(IDS,), **options):
    return rg.trace(model, list(ids), belief="downstream", collect=["beliefs"], **{"positions": [2, 5, 8], **options})


def test_a_linear_network_with_gaussian_outputs_has_information_w_w():
    weight, state = random(7, 5), random(5, seed=1).requires_grad_()
    output = weight @ state

    def sampled(g):
        y = output.detach() + torch.randn(7, generator=g, dtype=torch.float64)
        return -0.5 * (y - output).square().sum()

    (gradients,) = score_gradients(sampled, [state], draws=3000, generator=generator())
    exact = weight.T @ weight
    assert gradients.shape == (3000, 5)
    assert float((score_information(gradients) - exact).norm() / exact.norm()) < 0.06


@pytest.mark.parametrize("name", MODELS)
def test_gradients_of_every_state_are_those_of_the_model_s_own_outputs(name):
    probe = rg.load(MODELS[name]().double())
    states = _states(probe, IDS)
    gradients = torch.autograd.grad(probe._readout(states[-1])[0].log_softmax(-1)[5, 7], states)
    step = 5e-4 * random(probe.width)
    for state in range(probe.n_blocks):

        def moved(sign, state=state):
            def shift(tensor, hook):
                tensor = tensor.clone()
                tensor[0, 3] += sign * step
                return tensor

            with torch.no_grad(), probe.evaluating():
                logits = probe.bridge.run_with_hooks(IDS[None], fwd_hooks=[(probe.state_hook(state), shift)])
            return float(logits[0, 5].log_softmax(-1)[7])

        slope = (moved(1) - moved(-1)) / 2  # norms of some families run in float32 all the same
        assert float(gradients[state][0, 3] @ step) == pytest.approx(slope, rel=2e-2, abs=1e-5), state


@pytest.mark.parametrize("name", ["llama", "gauge"])
def test_at_the_output_end_it_is_the_information_of_the_readout(name):
    probe = rg.load(MODELS[name]())
    state = random(1, probe.width).to(probe.dtype).requires_grad_()
    log_p = probe._readout(state[None])[0].double().log_softmax(-1)
    p = log_p.detach().exp()

    def sampled(g):
        return log_p.gather(-1, torch.multinomial(p, 1, generator=g)).sum()

    (gradients,) = score_gradients(sampled, [state], draws=1200, generator=generator())
    second_moment = gradients[:, 0].double().T @ gradients[:, 0].double() / 1200
    exact = readout_information(probe, state.detach(), torch.eye(probe.width))[0]
    assert float((second_moment - exact).norm() / exact.norm()) < 0.15


def test_the_active_directions_hold_all_that_outputs_notice():
    population = population_coordinates(random(40, 6))
    gradients = random(9, 30, 2, seed=2) @ random(2, 6, seed=1)  # in a plane
    coordinates, pulled = active_coordinates(population, gradients, rank=2)
    assert pulled.shape == (9, 30, 2)
    torch.testing.assert_close(coordinates.pull_back(gradients), pulled)
    axes = coordinates.lift @ population.lower.T
    torch.testing.assert_close(axes @ axes.T, torch.eye(2, dtype=torch.float64))
    torch.testing.assert_close(pulled @ axes, population.pull_back(gradients))
    (first, _), mass = active_coordinates(population, gradients, rank=1), pulled.square().sum((0, 1))
    assert float(first.pull_back(gradients).square().sum()) == pytest.approx(float(mass.max()))


@pytest.mark.parametrize("name", ["gpt2", "gauge"])
def test_beliefs_do_not_depend_on_the_company_and_repeat(name):
    model = MODELS[name]()
    alone, again = (trace(model, belief_options=SMALL).beliefs(0, 1) for _ in range(2))
    together = trace(model, [*random_prompts(2, 9, seed=3), IDS], belief_options=SMALL).beliefs(2, 1)
    for other in (again, together):
        torch.testing.assert_close(other.mean, alone.mean, rtol=0, atol=0)
        torch.testing.assert_close(other.covariance, alone.covariance, rtol=0, atol=0)
    assert alone.batch_shape == (3, 1)
    assert alone.dim == 2


def test_scored_at_the_last_token_alone_earlier_states_of_the_output_end_are_unseen():
    last = trace(tiny_models.llama(), belief_options={**SMALL, "scored": "last"}).beliefs(0, 3)
    scale = last.covariance.diagonal(dim1=-2, dim2=-1).mean(-1)[:, 0]
    assert (scale[:2] > 100 * scale[2]).all()  # only the floor is left of their precision
    np.testing.assert_allclose(scale[0], scale[1])


def test_a_model_with_frozen_weights_has_the_same_beliefs_and_keeps_none_of_the_graph():
    free, frozen = tiny_models.gpt2(), tiny_models.gpt2().requires_grad_(False)
    found = [trace(model, belief_options=SMALL).beliefs(0, 2) for model in (free, frozen)]
    torch.testing.assert_close(found[0].precision, found[1].precision)
    assert all(parameter.grad is None for parameter in free.parameters())
    assert not found[0].mean.requires_grad


def test_the_noise_floor_is_recorded_and_options_are_checked():
    provenance = trace(tiny_models.llama(), belief_options=SMALL).provenance
    assert provenance["belief_noise_nats"] == {"kl": 2 * 3 / 12, "consensus_threshold": 3 * 2 * 3 / 12}
    assert provenance["options"]["belief_options"] == {**SMALL, "scored": "recorded"}
    with pytest.raises(OptionError, match=r"recorded \| last"):
        trace(tiny_models.llama(), belief_options={"scored": "all"})


def test_it_attaches_nothing_to_the_pass_of_others():
    probe = rg.load(tiny_models.llama())
    collector = DownstreamCollector(probe, IDS, torch.tensor([8]), sink="exclude", rank=2, samples=2, scored="recorded")
    assert collector.hooks() == []
