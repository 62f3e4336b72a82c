"""Every diagnostic on every kind of gauge model: nothing fails, and what is not a number has its reason."""

import numpy as np
import pytest
from gauge_models import tiny_gauge
from tiny_models import random_prompts

import rgprobe as rg
from rgprobe.diagnostics import applicable, select
from rgprobe.probe.prompt_trace import COLLECTIONS, PASSES, REDUCTIONS

IDS = random_prompts(2, 14)
EVERYTHING = (*COLLECTIONS, *REDUCTIONS, *PASSES)
SWITCHES = [
    {},
    {"attention": "uniform"},
    {"attention": "uniform", "frames": "none", "decode": "kl"},
    {"include_self": True},
    {"frames": "rotary"},
    {"frames": "none"},
    {"covariance": "isotropic"},
    {"covariance": "full"},
    {"update": "vfe"},
    {"update": "vfe", "covariance": "isotropic"},
    {"decode": "kl"},
    {"values": "means"},
]
# (diagnostic, quantity), and for which models and beliefs it is not a number throughout
NEVER = {("elimination", "class_mass")}  # no class of answers was given
SHORT = {  # what takes longer rows, or more recorded tokens
    *(("coarse_graining", name) for name in ("same_2", "same_4", "rescaled_2", "rescaled_4")),
    *(("crossover", name) for name in ("drift", "sharpening")),
}
CAUSAL = {("diffusion", name) for name in ("gap", "relaxation_time")}  # a triangular map has none
NOT_LENS = {("plateau", "kl")}
FLAT = {  # scores without a spread
    *(("crossover", name) for name in ("peak_factor", "peak_heat_capacity", "relative_width")),
    *(("response_temperature", name) for name in ("beta_response", "response_index", "theta_response")),
    *(("rotated_keys", name) for name in ("alignment_gain", "beta_sigma", "normalised_entropy", "theta")),
    ("temperature", "theta"),
    ("temperature", "theta_entropy"),
    ("temperature", "beta_entropy"),
    ("temperature", "tail_index"),
    *(
        ("gauge_temperature", name)
        for name in ("tau", "isotropic_temperature", "effective_variance", "precision_spread")
    ),
}
# a decay length may or may not be within what so short a row shows; an orbit may or may not converge
MAYBE = {("attention_distance", "span"), ("fixed_points", "log_radius")}
# what takes a set of prompts, groups of them, or longer ones; tests of their own give them that. Here they must not fail
POOLED = (
    "energy_landscape",
    "feature_rg",
    "operator_gain",
    "positional",
    "real_space_information",
    "running_couplings",
    "scaling_dimension",
    "scale_separation",
    "universality",
    "correlation",
    "correlation_length",
    "mutual_information",
    "intrinsic_dimension",
    "spectrum",
    "nongaussianity",
)
NO_UNITS = {("sparsity", name) for name in ("participation", "silent", "decimated")}


def missing(trace):
    """What is not a number throughout, among all that is defined for these beliefs of a gauge model."""
    found = set()
    for diagnostic in applicable(select("all"), belief=trace.belief, family="gauge"):
        measured = diagnostic.measure(trace)
        if diagnostic.calibrate is not None:
            measured = diagnostic.calibrate(measured, [measured])
        for quantity in diagnostic.quantities:
            value = measured.values[quantity.name].values
            assert not np.isinf(value).any(), quantity
            if np.isnan(value).all():
                assert diagnostic.undefined
                found.add((diagnostic.name, quantity.name))
    return {each for each in found - MAYBE if each[0] not in POOLED}


@pytest.mark.parametrize("switches", SWITCHES, ids=lambda s: ",".join(f"{k}={v}" for k, v in s.items()) or "default")
def test_every_diagnostic_runs_on_every_kind_of_gauge_model(switches):
    probe = rg.load(tiny_gauge(**switches))
    flat = FLAT if switches.get("attention") == "uniform" else set()
    without = NO_UNITS if switches.get("update") == "vfe" else set()
    for belief in ("lens", "thermal") if flat else ("lens", "thermal", "native"):
        trace = rg.trace(probe, IDS, belief=belief, positions=5, collect=EVERYTHING)
        always = SHORT | CAUSAL | (NEVER if belief == "lens" else NOT_LENS)
        assert missing(trace) == flat | without | always
