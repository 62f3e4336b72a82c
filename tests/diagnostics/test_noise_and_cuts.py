"""Perturbed passes: what changes nothing must change nothing, what leaves nothing must leave nothing, in both families."""

from dataclasses import replace

import gauge_models
import numpy as np
import pytest
import tiny_models
import torch
import xarray as xr
from fake_trace import fake_trace

import rgprobe as rg
from rgprobe.diagnostics import feature_rg as d33
from rgprobe.diagnostics.flip_rate import flip_rate
from rgprobe.probe import flips, truncation
from rgprobe.probe.flips import ATTENTION_RADII, STATE_RADII
from rgprobe.probe.perturbing import changed_predictions
from rgprobe.probe.population import population, population_ids

IDS = torch.randint(4, 61, (11,), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module", params=["gpt2", "llama", "gauge"])
def probe(request):
    wide = {"gpt2": {"n_embd": 32}, "llama": {"hidden_size": 32}}
    if request.param == "gauge":
        return rg.load(gauge_models.tiny_gauge(d_model=32))
    return rg.load(tiny_models.FAMILIES[request.param](**wide[request.param]))


def test_an_unchanged_pass_gives_the_models_own_predictions(probe):
    at = torch.tensor([3, 10])
    expected = probe.logits(IDS).double().log_softmax(-1)[at]
    for options in ({}, {"point": probe.state_hook(1), "change": lambda x: x, "copies": 2}):
        for found in changed_predictions(probe, IDS, at, **options):
            np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-5)


def test_changing_each_hook_point_changes_predictions(probe):
    at = torch.tensor([10])
    plain = changed_predictions(probe, IDS, at)
    uniform = lambda x: torch.ones_like(x) / x.shape[-1]  # noqa: E731
    for point, change in ((probe.state_hook(1), lambda x: 2 * x.flip(-1)), ("blocks.0.attn.hook_pattern", uniform)):
        found = changed_predictions(probe, IDS, at, point=point, change=change)
        assert float((found - plain).abs().max()) > 1e-3


def test_noise_has_exactly_the_radius_and_spares_the_sink():
    states = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0))
    moved = flips.noisy_states(states, torch.tensor([0.0, 0.5, 2.0]), torch.Generator().manual_seed(1), first=1)
    assert torch.equal(moved[:, 0], states[:, 0])
    assert torch.equal(moved[0], states[0])
    np.testing.assert_allclose((moved - states)[:, 1:].norm(dim=-1), [[0] * 4, [0.5] * 4, [2.0] * 4], rtol=1e-5)


def test_noisy_patterns_are_patterns_with_normal_noise_in_their_scores():
    pattern = torch.rand(2, 3, 50, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64).tril()
    pattern = pattern / pattern.sum(-1, keepdim=True)
    moved = flips.noisy_pattern(pattern, torch.tensor([0.0, 1.5]), torch.Generator().manual_seed(1))
    np.testing.assert_allclose(moved.sum(-1), 1)
    np.testing.assert_allclose(moved[0], pattern[0], rtol=1e-12)
    assert torch.equal(moved == 0, pattern == 0)
    last = (moved[1, :, -1] / pattern[1, :, -1]).log()
    assert float((last - last.mean(-1, keepdim=True)).std()) == pytest.approx(1.5, rel=0.15)


def test_flip_rates_rise_with_noise_and_are_zero_without(probe, monkeypatch):
    monkeypatch.setattr(flips, "STATE_RADII", (0.0, 1e-6, 30.0))
    monkeypatch.setattr(flips, "ATTENTION_RADII", (0.0, 1e-6, 1e-6))
    monkeypatch.setattr(flips, "DRAWS", 12)
    (prompt,) = probe.encode([IDS])
    found = flips.flips(probe, prompt, torch.tensor([10]), "exclude")
    visited = list(flips.visited_states(probe))
    residual = found["residual"].isel(state=visited).values
    assert (residual[:2] == 0).all()
    assert (residual[2] > 0.3).all()
    assert (found["attention"].isel(state=slice(1, None)) == 0).all()
    assert found["attention"].isel(state=0).isnull().all()


def test_flip_rates_by_name_and_only_for_models_that_predict_the_next_token(probe):
    trace = rg.trace(probe, [IDS, IDS[:1]], collect=["flips"])
    values = flip_rate(trace).values
    assert list(values) == [
        *(f"residual_{r:g}" for r in STATE_RADII), *(f"attention_{r:g}" for r in ATTENTION_RADII)
    ]  # fmt: skip
    assert values["residual_0.5"].isel(prompt=0).notnull().all()
    assert values["residual_0.5"].isel(prompt=1).isnull().all()
    again = flip_rate(rg.trace(probe, [IDS[:5], IDS], collect=["flips"])).values
    assert again.isel(prompt=1).equals(values.isel(prompt=0))  # whatever its company
    bert = rg.trace(rg.load(tiny_models.bert()), [IDS], collect=["flips"])
    assert all(array.isnull().all() for array in flip_rate(bert).values.values())


def test_population_is_what_streams_through_and_follows_the_weights():
    probe = rg.load(tiny_models.llama(hidden_size=32))
    found = population(probe, 1, (0, 1))
    ids = population_ids(probe)
    assert len(ids) == len(found.texts) == 24
    seen = []
    probe.stream(ids[3], [(probe.state_hook(1), lambda x, hook: seen.append(x[0, 1:].double()))])
    np.testing.assert_allclose(found.texts[3], seen[0])
    rows = [text[:4] for text in found.texts[:5]]
    pairs = [(a - b).square().sum() for i, x in enumerate(rows) for y in rows[:i] for a in x for b in y]
    small = type(found)(tuple(rows))
    assert small.spread == pytest.approx(float(torch.stack(pairs).mean().sqrt()), rel=1e-10)
    assert population(probe, 1, (0, 1)) is found
    with probe.randomised(0) as null:
        assert float((population(null, 1, (1,)).points - found.points).abs().max()) > 0.1
    with torch.no_grad():
        next(probe.bridge.original_model.parameters()).mul_(2.0)
    assert population(probe, 1, (0, 1)) is not found


def test_truncation_keeps_all_at_factor_one_and_orders_the_schemes(probe, monkeypatch):
    (prompt,) = probe.encode([IDS])
    recorded = torch.arange(1, 11)
    monkeypatch.setattr(truncation, "FACTORS", (1, 1, 1, 1))
    monkeypatch.setattr(truncation, "MOST", 2)
    found = truncation.truncation(probe, prompt, recorded, "exclude")
    visited = list(truncation.visited_states(probe))
    kl = found["kl"].isel(state=visited)
    assert visited == [0, probe.n_blocks]
    for scheme in ("principal", "random"):  # pairs are merged even so
        assert float(kl.sel(scheme=scheme).max()) < 1e-8
        np.testing.assert_allclose(found["variance_kept"].sel(scheme=scheme).isel(state=visited), 1, atol=1e-6)
    assert float(kl.sel(scheme="paired").min()) > 1e-6
    assert found["kl"].isel(state=1).isnull().all()


def test_feature_rg_of_a_run_has_its_null_and_its_kurtosis():
    probe = rg.load(tiny_models.llama(hidden_size=32))
    prompts = tiny_models.random_prompts(6, 9)
    measured = d33.feature_rg(rg.trace(probe, prompts, collect=["truncation"]))
    names = {f"{scheme}_{factor}" for scheme in truncation.FITTED for factor in (2, 4, 8, 16)}
    assert set(measured.internal_nulls["random_subspace"]) == names
    assert measured.internal_nulls["random_subspace"]["principal_4"].dims == ("draw", "prompt", "state")
    assert measured.values["principal_2"].notnull().all()
    collected = rg.trace(probe, prompts, collect=["truncation"]).reductions["truncation"]
    whole = collected.sel(fitted_scheme="principal", cutoff=1).mean("prompt")
    expected = whole["fourth_moment"] / whole["second_moment"] ** 2 - 3
    np.testing.assert_allclose(measured.values["kurtosis_1"].mean("prompt"), expected, rtol=1e-10)
    narrow = d33.feature_rg(rg.trace(rg.load(tiny_models.llama()), prompts, collect=["truncation"]))
    assert all(array.isnull().all() for array in narrow.values.values())


def test_kurtosis_of_few_prompts_is_refused():
    dims, shape = ("prompt", "state"), (4, 3)
    moments = xr.DataArray(np.ones((4, 2, 5, 3)), dims=("prompt", "fitted_scheme", "cutoff", "state"))
    collected = xr.Dataset(
        {
            "kl": (("prompt", "scheme", "factor", "state"), np.ones((4, 3, 4, 3))),
            "variance_kept": (("prompt", "scheme", "factor", "state"), np.ones((4, 3, 4, 3))),
            "second_moment": moments,
            "fourth_moment": moments,
        },
        coords={
            "scheme": list(truncation.SCHEMES),
            "factor": [2, 4, 8, 16],
            "fitted_scheme": list(truncation.FITTED),
            "cutoff": [1, 2, 4, 8, 16],
        },
    )
    trace = replace(fake_trace(states=np.ones((4, 3, 1, 2))), reductions={"truncation": collected})
    measured = d33.feature_rg(trace)
    assert measured.values["kurtosis_4"].dims == dims
    assert measured.values["kurtosis_4"].shape == shape
    assert measured.values["kurtosis_4"].isnull().all()
    assert measured.values["principal_4"].notnull().all()
