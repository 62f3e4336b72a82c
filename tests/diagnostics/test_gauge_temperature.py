"""The temperature of gauge attention: the isotropic limit is dot-product attention, and T is read off precisions."""

import math

import numpy as np
import pytest
import tiny_models
import torch
from gauge_models import activations, tiny_gauge
from tiny_models import random_prompts

import rgprobe as rg
from rgprobe.diagnostics.gauge_temperature import gauge_temperature
from rgprobe.errors import OptionError
from rgprobe.gaussian import Gaussian, pairwise_kl

IDS = random_prompts(3, 13)


def isotropic(variance, **switches):
    """All beliefs have one and the same variance per head."""
    model = tiny_gauge(covariance="isotropic", state_dependent_precision=False, **switches)
    with torch.no_grad():
        model.tokens.precision.weight.zero_()
        model.tokens.precision.bias.copy_(-torch.tensor(variance, dtype=torch.float64).log())
    return model


def measured(model, ids=IDS, **options):
    return gauge_temperature(rg.trace(model, ids, collect=["couplings"], **options)).values


def test_isotropic_gauge_attention_is_dot_product_attention_at_its_temperature():
    variance = [0.6, 1.7]
    model = isotropic(variance)
    values = measured(model).isel(prompt=0, sink=0)
    seen, k = activations(model, IDS[0]), model.cfg.d_head
    for block, part in enumerate(model.blocks):
        prior = part.attn.prior(part.ln1(seen[f"blocks.{block}.hook_resid_pre"])).detach()
        for head in range(2):
            kappa = part.attn.log_temperature[head].exp().item()
            here = values.isel(block=block, head=head)
            t, tau = float(here["isotropic_temperature"]), float(here["tau"])
            assert tau == pytest.approx(kappa * math.sqrt(k), rel=1e-12)
            assert t == pytest.approx(kappa * variance[head], rel=1e-12)
            assert float(here["precision_spread"]) == pytest.approx(0, abs=1e-6)
            mean = seen[f"blocks.{block}.hook_belief_mean"][:, head]
            bias = prior[:, head] - mean.square().sum(-1) / (2 * float(here["effective_variance"]) * tau)
            scores = mean @ mean.T / (t * math.sqrt(k)) + bias
            hidden = torch.ones(13, 13, dtype=torch.bool).triu()
            pattern = scores.masked_fill(hidden, -torch.inf)[1:].softmax(-1)
            torch.testing.assert_close(
                pattern, seen[f"blocks.{block}.attn.hook_pattern"][head, 1:], rtol=1e-10, atol=1e-10
            )


@pytest.mark.parametrize(("count", "k"), [(6, 3), (9, 1), (17, 5)])
def test_scores_are_the_terms_that_the_module_prints(count, k):
    generator = torch.Generator().manual_seed(count)
    factor = torch.randn(count, k, k, generator=generator, dtype=torch.float64)
    mean = 2 * torch.randn(count, k, generator=generator, dtype=torch.float64)
    beliefs = Gaussian.from_covariance(mean, factor @ factor.mT / k + 0.3 * torch.eye(k, dtype=torch.float64))
    lambdas, sigmas, tau = beliefs.precision, beliefs.covariance, 0.7 * math.sqrt(k)
    coupling = torch.einsum("ik,jkl,jl->ij", mean, lambdas, mean)
    queries = torch.einsum("ik,jkl,il->ij", mean, lambdas, mean)
    keys = torch.einsum("jk,jkl,jl->j", mean, lambdas, mean)
    traces = torch.einsum("jkl,ilk->ij", lambdas, sigmas)
    printed = (coupling - (queries + keys + traces - lambdas.logdet()) / 2) / tau
    wanted = (-pairwise_kl(beliefs) / tau).softmax(-1)
    torch.testing.assert_close(printed.softmax(-1), wanted, rtol=1e-9, atol=1e-12)
    # without what a query loses with precise keys they are other weights
    assert ((printed + queries / (2 * tau)).softmax(-1) - wanted).abs().max() > 0.02


@pytest.mark.parametrize("covariance", ["diagonal", "isotropic", "full"])
def test_the_effective_variance_is_the_harmonic_mean_over_keys_and_coordinates(covariance):
    model = tiny_gauge(covariance=covariance)
    values = measured(model)
    beliefs = rg.trace(model, IDS[1:2], belief="native", positions=range(13), sink="include")
    for block in range(2):
        precision = beliefs.beliefs(0, block).precision  # (token, head, K, K), common frame
        kappa = model.blocks[block].attn.log_temperature.detach().exp().numpy()
        for sink, first in (("excluded", 1), ("included", 0)):
            found = values.sel(sink=sink).isel(prompt=1, block=block)
            trace = precision[first:].diagonal(dim1=-2, dim2=-1).mean((0, -1)).numpy()
            square = precision[first:].square().sum((-2, -1)).mean(0).numpy() / 6
            np.testing.assert_allclose(found["effective_variance"], 1 / trace, rtol=1e-9)
            np.testing.assert_allclose(found["isotropic_temperature"], kappa / trace, rtol=1e-9)
            np.testing.assert_allclose(found["precision_spread"], np.sqrt(square / trace**2 - 1), rtol=1e-7, atol=1e-7)


def test_it_is_the_coupling_of_the_means_averaged_over_uncorrelated_queries():
    """<mu_i^T Lambda_j x / tau> over keys j, for a direction x drawn at random, is |x|^2 / (T sqrt(K)) along x."""
    model = tiny_gauge()
    found = measured(model, IDS[:1]).sel(sink="included").isel(prompt=0, block=1, head=0)
    precision = rg.trace(model, IDS[:1], belief="native", positions=range(13), sink="include").beliefs(0, 1).precision
    coupling = precision[:, 0].mean(0) / float(found["tau"])
    directions = torch.randn(200_000, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    along = ((directions @ coupling) * directions).sum(-1).mean() / directions.square().sum(-1).mean()
    assert float(along) == pytest.approx(1 / (float(found["isotropic_temperature"]) * math.sqrt(6)), rel=0.01)


def test_the_sink_policy_says_which_comes_first_and_short_prompts_are_nan():
    values = measured(tiny_gauge(), [IDS[0], IDS[1][:1]], sink="include")
    assert values["sink"].values.tolist() == ["included", "excluded"]
    temperature = values["isotropic_temperature"].isel(prompt=1)
    assert temperature.sel(sink="excluded").isnull().all()
    assert temperature.sel(sink="included").notnull().all()
    assert values["tau"].notnull().all()


def test_a_run_has_intervals_for_what_varies_and_none_for_the_parameter():
    flow = rg.run(tiny_gauge(), IDS, nulls=2, diagnostics="gauge_temperature,temperature")
    node = flow.to_xarray()["gauge_temperature"].to_dataset()
    width = (node["value_high"] - node["value_low"]).sel(sink="excluded")
    np.testing.assert_allclose(width.sel(quantity="tau"), 0, atol=1e-12)
    assert (width.sel(quantity="isotropic_temperature") > 1e-6).all()
    assert (node["verdict"].sel(quantity="tau") == "identity").all()
    assert node["null"].sel(quantity="tau").isnull().all()
    assert node["null"].sel(quantity="isotropic_temperature").notnull().all()


def test_where_it_is_not_defined():
    values = measured(tiny_gauge(attention="uniform"))
    assert all(values[name].isnull().all() for name in values)
    assert dict(values.sizes) == {"sink": 2, "prompt": 3, "block": 2, "head": 2}
    with pytest.raises(OptionError, match="couplings of a gauge model"):
        measured(tiny_models.llama())
    flow = rg.run(tiny_models.llama(), IDS[:1], nulls=0, diagnostics="temperature,gauge_temperature")
    assert flow.diagnostics == ("temperature",)
    with pytest.raises(OptionError, match="defined for lens beliefs of a standard model, received gauge_temperature"):
        rg.run(tiny_models.llama(), IDS[:1], nulls=0, diagnostics="gauge_temperature")
