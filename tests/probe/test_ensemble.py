"""Ensemble beliefs: noise of a known covariance, the noise floor, dropout, and what is refused."""

import numpy as np
import pytest
import tiny_models
import torch
from gauge_models import tiny_gauge
from tiny_models import random_prompts

import rgprobe as rg
from rgprobe.errors import NumericalRefusal, OptionError
from rgprobe.gaussian import Gaussian, jeffreys, kl
from rgprobe.probe.coordinates import population_coordinates
from rgprobe.probe.ensemble import RIDGE, ensemble_belief
from rgprobe.probe.shrinkage import noise_floor

(IDS,) = random_prompts(1, 11)
SMALL = {"rank": 2, "samples": 40}


def trace(model, ids=(IDS,), **options):
    return rg.trace(model, list(ids), belief="ensemble", collect=["beliefs"], **{"positions": [2, 5, 10], **options})


def gaussian_draws(count, n, r, seed=0):
    generator = torch.Generator().manual_seed(seed)
    spread = torch.logspace(0, 1, r, dtype=torch.float64)
    return torch.randn(count, n, r, generator=generator, dtype=torch.float64) * spread


def test_two_estimates_of_one_gaussian_differ_by_the_floor():
    r, n = 6, 600
    beliefs = ensemble_belief(gaussian_draws(80, n, r))
    found = kl(beliefs[:40], beliefs[40:]).mean()
    assert float(found) == pytest.approx(noise_floor(r, n), rel=0.1)


def test_too_few_samples_for_a_covariance_are_refused():
    with pytest.raises(NumericalRefusal, match="20 samples for each of 3"):
        ensemble_belief(gaussian_draws(1, 59, 3))
    with pytest.raises(NumericalRefusal, match="samples=160"):
        trace(tiny_models.llama(), belief_options={"samples": 159})


@pytest.mark.parametrize("make", [tiny_models.llama, tiny_gauge])
def test_noise_on_embeddings_has_the_size_that_was_asked_for(make):
    noise, model = 0.2, make()
    found = trace(model, belief_options={**SMALL, "samples": 120, "noise": noise}).beliefs(0, 0)
    states = rg.trace(model, [IDS], positions=range(1, 11), collect=["states"]).states.values[0, 0]
    chosen = torch.from_numpy(states[[1, 4, 9]]).double()
    coordinates = population_coordinates(torch.from_numpy(states), rank=2)
    size = noise * chosen.square().mean(-1).sqrt()
    covariance = size[:, None, None] ** 2 * coordinates.lower @ coordinates.lower.T
    exact = Gaussian.from_covariance(coordinates.of(chosen)[:, None], covariance[:, None] + RIDGE * torch.eye(2))
    # both sides choose the signs of their axes; divergences do not depend on them
    signs = torch.sign((exact.mean * found.mean).sum((0, 1)))
    exact = Gaussian.from_covariance(exact.mean * signs, exact.covariance * signs[:, None] * signs)
    assert float(kl(exact, found).max()) < 3 * noise_floor(2, 120)


def test_at_the_input_end_divergences_fall_with_the_square_of_the_noise():
    near, far = (
        trace(tiny_models.llama(), belief_options={**SMALL, "noise": noise}).beliefs(0, 0) for noise in (0.01, 0.02)
    )
    means = [(belief.mean[0] - belief.mean[1]).square().sum() for belief in (near, far)]
    assert float(means[0] / means[1]) == pytest.approx(1, rel=0.05)
    ratio = jeffreys(near[0], near[1]) / jeffreys(far[0], far[1])
    assert float(ratio) == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize("make", [tiny_models.gpt2, tiny_models.bert, tiny_gauge])
def test_beliefs_do_not_depend_on_the_company_or_on_how_passes_are_batched(make, monkeypatch):
    model = make()
    alone = trace(model, belief_options=SMALL).beliefs(0, 1)
    together = trace(model, [*random_prompts(1, 11, seed=4), IDS], belief_options=SMALL).beliefs(1, 1)
    torch.testing.assert_close(together.covariance, alone.covariance, rtol=0, atol=0)
    monkeypatch.setattr("rgprobe.probe.ensemble.TOKENS_AT_ONCE", 70)
    batched = trace(model, belief_options=SMALL).beliefs(0, 1)
    torch.testing.assert_close(batched.mean, alone.mean, rtol=1e-3, atol=1e-4)
    assert float(alone.covariance.diagonal(dim1=-2, dim2=-1).min()) > 10 * RIDGE  # the noise reaches this state


def test_dropout_is_the_ensemble_where_the_model_has_it():
    model = tiny_models.gpt2()
    probe = rg.load(model)
    random_state = torch.get_rng_state()
    found = trace(probe, belief_options={**SMALL, "source": "dropout"})
    assert torch.equal(torch.get_rng_state(), random_state)
    variance = found.beliefs(0, 2).covariance.diagonal(dim1=-2, dim2=-1)
    assert (variance > 100 * RIDGE).all()
    dropouts = [module for module in probe.bridge.original_model.modules() if isinstance(module, torch.nn.Dropout)]
    assert dropouts
    assert not any(module._forward_hooks for module in dropouts)
    for other in (tiny_models.llama(), tiny_gauge()):
        with pytest.raises(OptionError, match="no dropout"):
            trace(other, belief_options={**SMALL, "source": "dropout"})


def test_dropout_leaves_expectations_as_they_are():
    model = tiny_models.gpt2(resid_pdrop=0.0, attn_pdrop=0.0, embd_pdrop=0.2)
    options = {**SMALL, "rank": 1, "samples": 400, "source": "dropout"}
    found = trace(model, belief_options=options, positions=[5]).beliefs(0, 0)
    clean = rg.trace(model, [IDS], positions=range(1, 11), collect=["states"]).states.values[0, 0]
    expected = population_coordinates(torch.from_numpy(clean), rank=1).of(torch.from_numpy(clean[4:5]))
    error = np.sqrt(found.covariance.item() / 400)
    assert abs(abs(found.mean.item()) - abs(expected.item())) < 4 * error


def test_the_floor_and_the_threshold_of_consensus_are_recorded():
    provenance = trace(tiny_models.llama(), belief_options=SMALL).provenance
    floor = 2 * 5 / 80
    assert provenance["belief_noise_nats"] == {"kl": floor, "consensus_threshold": 3 * floor}
    assert provenance["options"]["belief_options"] == {**SMALL, "source": "noise", "noise": 0.1}
