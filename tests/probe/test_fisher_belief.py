"""Fisher beliefs against dense Jacobians, the ranks that the norms leave, and the population's own covariance."""

import numpy as np
import pytest
import tiny_models
import torch
from gauge_models import tiny_gauge
from tiny_models import random_prompts

import rgprobe as rg
from rgprobe.diagnostics.consensus import belief_jeffreys
from rgprobe.errors import OptionError
from rgprobe.gaussian import Gaussian
from rgprobe.probe import fisher_belief
from rgprobe.probe.coordinates import RIDGE
from rgprobe.probe.fisher_belief import categorical_information, readout_information

MODELS = {
    **tiny_models.FAMILIES,
    "gauge": tiny_gauge,
    "gauge by divergence": lambda: tiny_gauge(decode="kl"),
}
(IDS,) = random_prompts(1, 13)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def dense(probe, state, directions):
    """J^T (diag p - p p^T) J with every matrix written out."""
    state = state.to(probe.dtype).clone()
    jacobian = torch.autograd.functional.jacobian(lambda x: probe._readout(x[None, None])[0, 0], state).double()
    p = probe.readout(state[None])[0].double().softmax(-1)
    j = jacobian @ directions.double().T
    return j.T @ (torch.diag(p) - torch.outer(p, p)) @ j


def test_information_is_the_dense_formula():
    tangents, log_p = random(2, 3, 17), random(2, 17, seed=1).log_softmax(-1)
    p = log_p.exp()
    expected = tangents @ (torch.diag_embed(p) - p[:, :, None] * p[:, None]) @ tangents.mT
    torch.testing.assert_close(categorical_information(tangents, log_p), expected)
    torch.testing.assert_close(categorical_information(tangents + 1e6, log_p), expected, atol=1e-7, rtol=1e-7)


def test_information_is_the_curvature_of_the_divergence():
    tangents, logits = random(2, 9), random(9, seed=1)
    step = 1e-3 * torch.tensor([1.0, -2.0], dtype=torch.float64)
    moved = (logits + step @ tangents).log_softmax(-1)
    divergence = (logits.softmax(-1) * (logits.log_softmax(-1) - moved)).sum()
    information = categorical_information(tangents, logits.log_softmax(-1))
    assert float(divergence) == pytest.approx(float(step @ information @ step) / 2, rel=1e-2)


@pytest.mark.parametrize("name", MODELS)
def test_readouts_of_every_kind_agree_with_the_dense_jacobian(name):
    probe = rg.load(MODELS[name]())
    states = random(5, probe.width).to(probe.dtype)
    directions = random(5 if probe.width > 18 else 3, probe.width, seed=1)
    found = readout_information(probe, states, directions)
    expected = torch.stack([dense(probe, state, directions) for state in states])
    tolerance = 1e-9 if probe.dtype == torch.float64 else 1e-4
    torch.testing.assert_close(found, expected, atol=tolerance * float(expected.abs().max()), rtol=tolerance)


def test_the_vocabulary_meets_a_common_span_where_that_saves_work():
    probe = rg.load(tiny_models.gpt2())
    states, directions = random(5, 24).float(), random(5, 24, seed=1).float()
    features, _, _ = fisher_belief._linear_head(probe, states, probe.readout(states))
    tangents = fisher_belief._push(features, states, directions)
    span = fisher_belief._common_span(tangents)
    assert len(span) == 18
    torch.testing.assert_close(tangents @ span.T @ span, tangents, atol=1e-4, rtol=1e-4)
    unrelated = random(5, 5, 24)
    assert torch.equal(fisher_belief._common_span(unrelated), torch.eye(24, dtype=torch.float64))


@pytest.mark.parametrize(("name", "lost"), [("gpt2", 2), ("neox", 2), ("llama", 1), ("gemma2", 1), ("gauge", 1)])
def test_the_norm_is_blind_to_length_and_layernorm_to_the_mean(name, lost):
    probe = rg.load(MODELS[name]())
    states = random(3, probe.width).to(probe.dtype)
    information = readout_information(probe, states, torch.eye(probe.width))
    eigenvalues = torch.linalg.eigvalsh(information)
    assert ((eigenvalues > 1e-6 * eigenvalues[:, -1:]).sum(-1) == probe.width - lost).all()
    along = states.double()
    assert (torch.einsum("na,nab,nb->n", along, information, along) < 1e-4 * eigenvalues[:, -1]).all()


@pytest.mark.parametrize("name", ["llama", "gauge"])
def test_beliefs_are_the_population_s_precision_plus_the_information(name):
    model, rank = MODELS[name](), 4
    options = {"positions": [3, 7, 12], "belief": "fisher", "belief_options": {"rank": rank}}
    trace = rg.trace(model, [IDS], **options)
    every = rg.trace(model, [IDS], positions=range(1, 13), collect=["states"]).states.values[0].astype(np.float64)
    probe = rg.load(model)
    for state in (0, 2):
        population = every[state]
        _, singular, axes = np.linalg.svd(population - population.mean(0), full_matrices=False)
        variances = singular[:rank] ** 2 / len(population)
        chosen = torch.from_numpy(population[[2, 6, 11]])
        information = readout_information(probe, chosen, torch.from_numpy(axes[:rank].copy()))
        prior = torch.diag(1 / torch.from_numpy(variances + RIDGE * variances.mean()))
        mean = (chosen - torch.from_numpy(population.mean(0))) @ torch.from_numpy(axes[:rank].T.copy())
        covariance = torch.linalg.inv(prior + information)
        expected = Gaussian.from_covariance(mean[:, None], ((covariance + covariance.mT) / 2)[:, None])
        np.testing.assert_allclose(belief_jeffreys(trace.beliefs(0, state)), belief_jeffreys(expected), rtol=2e-3)
    assert (trace.depth_dim, trace.n_depths) == ("state", probe.n_blocks + 1)
    assert trace.provenance["options"]["belief_options"] == {"rank": rank}
    assert trace.provenance["belief_noise_nats"] is None


@pytest.mark.parametrize("length", [1, 2])
def test_short_prompts_have_beliefs(length):
    trace = rg.trace(tiny_models.gpt2(), [IDS[:length]], belief="fisher")
    assert trace.beliefs(0, 1).batch_shape == (1, 1)


def test_a_readout_of_unknown_form_refuses_states_for_reading_only():
    probe = rg.load(tiny_models.gpt2())
    probe._readout = None
    with pytest.raises(ArithmeticError, match="readout"):
        readout_information(probe, torch.randn(2, 24), torch.eye(24))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 3}, "unknown option"),
        ({"rank": 0}, "whole number"),
        ({"rank": 2.5}, "whole number"),
        ({"rank": True}, "whole"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(OptionError, match=message):
        rg.trace(tiny_models.gpt2(), [IDS], belief="fisher", belief_options=options)
    with pytest.raises(OptionError, match="no options"):
        rg.trace(tiny_models.gpt2(), [IDS], belief_options={"rank": 2})
