"""Diagnostics on traces that are there already: the result that `run` gives, from the same traces."""

import pytest
import torch
import xarray as xr
from fake_trace import causal
from hooked_model import VOCABULARY, HookedTransformer
from tiny_models import random_prompts

import rgprobe as rg
from rgprobe.errors import OptionError
from rgprobe.planted_trace import planted_trace

WANTED = "collapse,temperature,consensus"


def test_traces_of_a_model_and_its_nulls_give_what_a_run_gives():
    model, prompts = rg.load(HookedTransformer()), random_prompts(3, 14, vocabulary=VOCABULARY)
    flow = rg.run(model, prompts, nulls=2, shuffles=0, seed=3, diagnostics=WANTED)
    collect = flow.provenance["options"]["collect"]
    nulls = []
    for seed in flow.provenance["nulls"]["random_init_seeds"]:
        with model.randomised(seed) as null:
            nulls.append(rg.trace(null, prompts, collect=collect))
    made = rg.measure(rg.trace(model, prompts, collect=collect), random_inits=nulls, seed=3, diagnostics=WANTED)
    for name in flow.diagnostics:
        xr.testing.assert_identical(made.to_xarray()[name].to_dataset(), flow.to_xarray()[name].to_dataset())
    assert made.provenance["source"] == flow.provenance["source"]


def test_random_initialisations_of_a_hooked_model_differ_and_leave_it_alone():
    model, (prompt,) = HookedTransformer(), random_prompts(1, 14, vocabulary=VOCABULARY)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    rows = rg.run(model, [prompt], nulls=2, diagnostics="collapse").to_xarray()["collapse"]["random_init_by_seed"]
    assert (rows.isel(seed=0) != rows.isel(seed=1)).any()
    assert all(bool((tensor == before[name]).all()) for name, tensor in model.state_dict().items())


def test_planted_arrays_say_what_they_hold(tmp_path):
    scores = causal(torch.randn(2, 2, 12, 12))
    trace = planted_trace(scores=[scores], graph=scores.softmax(-1).mean(1).double().numpy()[None])
    flow = rg.measure(trace)
    assert "temperature" in flow.diagnostics
    assert flow.provenance["not_measured"]["collapse"] == "needs states (not collected)"
    flow.save(tmp_path / "flow.nc")
    assert rg.open_flow(tmp_path / "flow.nc").diagnostics == flow.diagnostics


def test_nulls_of_other_prompts_and_unknown_names_are_refused():
    model = rg.load(HookedTransformer())
    one, two = (rg.trace(model, random_prompts(n, 9, vocabulary=VOCABULARY)) for n in (1, 2))
    with pytest.raises(OptionError, match="1 prompts and lens beliefs"):
        rg.measure(one, random_inits=[two])
    with pytest.raises(OptionError, match="temprature"):
        rg.measure(one, diagnostics="temprature")
