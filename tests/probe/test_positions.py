"""Positions moved in tiny models: against position ids where transformers takes them, and symmetries that are exact."""

import math

import numpy as np
import pytest
import tiny_models
import torch
from gauge_models import tiny_gauge
from tiny_models import random_prompts

import rgprobe as rg
from rgprobe.errors import OptionError
from rgprobe.probe.displacement import displaced, has_phases
from rgprobe.probe.gains import input_states
from rgprobe.probe.positions import SHIFT, _states, fourier_modes, moved, position_table

IDS = random_prompts(1, 20)[0]
PHASES = {"llama": tiny_models.llama, "neox": tiny_models.neox, "gemma2": tiny_models.gemma2, "gauge": tiny_gauge}
ADDED = {"gpt2": tiny_models.gpt2, "bert": tiny_models.bert}


def loaded(name):
    return rg.load({**PHASES, **ADDED}[name]().double())


@pytest.fixture(scope="module", params=list(PHASES))
def rotating(request):
    return loaded(request.param)


@pytest.fixture(scope="module", params=list(ADDED))
def adding(request):
    return loaded(request.param)


def relative(a, b):
    return float((a - b).norm() / b.norm())


def test_displacements_are_gone_again(rotating):
    states = _states(rotating, IDS)
    assert relative(_states(rotating, IDS, torch.linspace(0, 3.7, 20)), states) > 1e-3
    assert relative(_states(rotating, IDS), states) == 0


@pytest.mark.parametrize("name", ["llama", "neox", "gemma2"])
def test_a_common_displacement_changes_nothing_where_positions_are_rotary(name):
    probe = loaded(name)
    assert relative(_states(probe, IDS, torch.full((20,), 3.7)), _states(probe, IDS)) < 1e-5  # cosines in float32


@pytest.mark.parametrize(("covariance", "symmetric"), [("full", True), ("isotropic", True), ("diagonal", False)])
def test_covariances_that_stay_while_frames_turn_know_the_absolute_place(covariance, symmetric):
    probe = rg.load(tiny_gauge(covariance=covariance))
    change = relative(_states(probe, IDS, torch.full((20,), 3.7)), _states(probe, IDS))
    assert (change < 1e-9) is symmetric
    assert bool(moved(probe, IDS, first=1, additive=False)[0].max() == 0) is symmetric


@pytest.mark.parametrize("name", ["llama", "neox"])
def test_displaced_positions_are_the_position_ids_of_transformers(name):
    model = PHASES[name]().double()
    probe = rg.load(model)
    shift = torch.zeros(20, dtype=torch.long)
    shift[1:] = 5
    with torch.no_grad():
        expected = model(IDS[None], position_ids=(torch.arange(20) + shift)[None], output_hidden_states=True)
    found = _states(probe, IDS, shift.double())
    for state in range(probe.n_blocks):  # the last hidden state of transformers is behind the final norm
        torch.testing.assert_close(found[state], expected.hidden_states[state][0], rtol=1e-5, atol=1e-5)


def test_frames_of_whole_displacements_are_those_of_later_tokens():
    model = tiny_gauge()
    geometry = model.tokens(IDS[None], model.embed(IDS[None]))
    twice = torch.cat([IDS[:1].expand(5), IDS])[None]
    later = model.tokens(twice, model.embed(twice)).frames.matrix[:, 5:]
    with displaced(rg.load(model), torch.full((20,), 5.0)):
        moved_frames = model.tokens(IDS[None], model.embed(IDS[None])).frames.matrix
    torch.testing.assert_close(moved_frames, later)
    assert not torch.allclose(geometry.frames.matrix, later)


def test_models_without_phases_say_so(adding):
    assert not has_phases(adding)
    assert not has_phases(rg.load(tiny_gauge(frames="none")))
    with pytest.raises(OptionError, match="displacement"), displaced(adding, torch.zeros(3)):
        pass


def test_added_positions_are_found_by_looking(adding, rotating):
    assert position_table(rotating, 20, 7) is None
    table = position_table(adding, 20, 7)
    assert table.shape == (20, adding.width)
    weights = adding.bridge.original_model
    if hasattr(weights, "transformer"):
        expected = weights.transformer.wpe.weight[:20]
        torch.testing.assert_close(table, (expected - expected.mean(0)).detach())


def test_translation_of_added_positions_is_that_of_transformers():
    model = tiny_models.gpt2().double()
    with torch.no_grad():
        here = model(IDS[None], output_hidden_states=True).hidden_states
        there = model(IDS[None], position_ids=torch.arange(SHIFT, 20 + SHIFT)[None], output_hidden_states=True)
    found = moved(rg.load(model), IDS, first=1, additive=True)[0]
    for state in range(3):
        change = (there.hidden_states[state] - here[state])[0, 1:]
        assert found[state] == pytest.approx(float(change.square().sum(-1).mean().sqrt()))


def test_moves_where_positions_are_phases(rotating):
    found = moved(rotating, IDS, first=1, additive=False)
    np.testing.assert_allclose(found[:, 0], 0, atol=1e-12)  # nothing has been mixed yet at the input end
    assert (found[1:, 1:] > 0).all()


def test_the_last_token_sees_an_order_only_through_positions_or_a_second_block():
    model = tiny_gauge(frames="none", log_prior=False, successor_values=False, n_layers=1)
    probe = rg.load(model)
    found = moved(probe, IDS, first=1, additive=False)
    assert found[3].max() < 1e-12  # one block of attention without positions is a sum over keys
    assert np.isnan(found[:2]).all()
    assert loaded("gauge").n_blocks == 2
    assert moved(loaded("gauge"), IDS, first=1, additive=False)[3, 1:].min() > 1e-3


def test_a_prompt_that_fills_the_context_is_cut_to_make_room(rotating):
    (full,) = random_prompts(1, rotating.context)
    assert np.isfinite(moved(rotating, full, first=1, additive=False)[2]).all()


def test_modes_are_followed_in_a_trace(adding):
    found = rg.trace(adding, [IDS, IDS[:5]], positions=4, collect=["positions"]).reductions["positions"]
    modes = found["mode"].isel(prompt=0)
    assert modes.sel(period=64).isnull().all()  # longer than the prompt
    np.testing.assert_allclose(modes.sel(period=[16, 4]).isel(state=0), 0, atol=1e-9)
    assert modes.sel(period=[16, 4]).notnull().all()
    assert found["phase"].isnull().all()
    assert found.isel(prompt=1).to_dataarray().isnull().all()


def test_phases_are_followed_in_a_trace(rotating):
    found = rg.trace(rotating, [IDS, IDS], positions=4, collect=["positions"]).reductions["positions"]
    assert found["mode"].isnull().all()
    phase = found["phase"].isel(prompt=0)
    assert phase.isel(state=0).isnull().all()
    assert phase.sel(period=[16, 4]).isel(state=slice(1, None)).notnull().all()
    assert found.isel(prompt=0).equals(found.isel(prompt=1))


def test_phase_lengths_do_not_depend_on_the_step(monkeypatch):
    probe = loaded("gauge")
    coarse = rg.trace(probe, [IDS], collect=["positions"]).reductions["positions"]["phase"]
    monkeypatch.setattr("rgprobe.probe.positions.STEP", 1e-5)
    fine = rg.trace(probe, [IDS], collect=["positions"]).reductions["positions"]["phase"]
    np.testing.assert_allclose(coarse, fine, atol=5e-3)


def test_fourier_modes_are_orthonormal_and_of_their_period():
    modes = fourier_modes(37, 8)
    torch.testing.assert_close(modes.T @ modes, torch.eye(2, dtype=torch.float64))
    torch.testing.assert_close(modes[8:], modes[:-8])
    assert float(modes.sum(0).abs().max()) < 1e-12
    power = torch.fft.rfft(fourier_modes(32, 8)[:, 0]).abs()
    assert int(power.argmax()) == 4
    assert math.isclose(float(power[4] ** 2 / power.square().sum()), 1, rel_tol=1e-9)


def test_input_states_are_those_of_a_whole_pass(rotating):
    torch.testing.assert_close(input_states(rotating, IDS[None])[0], _states(rotating, IDS)[0])
