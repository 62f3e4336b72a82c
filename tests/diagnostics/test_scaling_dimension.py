"""Scaling dimensions of a linear flow with a known scale factor; refusals; Fieller's interval by simulation."""

import numpy as np
import pytest
import tiny_models
import torch
from tiny_models import random_prompts

import rgprobe as rg
from rgprobe.diagnostics.scaling_dimension import scaling_dimensions
from rgprobe.testbeds import linear_flow

GAINS = (1.2, 1.0, 0.8)
LAYERS = 4


def planted(prompts=7):
    """ln g of each planted direction, (prompts, directions, states)."""
    truth = linear_flow.exact(singular_values=torch.tensor([GAINS], dtype=torch.float64).repeat(LAYERS, 1))
    return np.tile(truth.log_gains.T.numpy(), (prompts, 1, 1))


def halving(prompts=7, spread=0.0, seed=0, factor=2.0):
    """ln N falls by ln 2 per layer, with an offset per prompt that is no coarse-graining."""
    noise = spread * np.random.default_rng(seed).normal(size=(prompts, LAYERS + 1))
    return 5.0 - np.log(factor) * np.arange(LAYERS + 1) + np.arange(prompts)[:, None] + noise


def test_planted_gains_over_a_planted_scale_factor():
    found = scaling_dimensions(planted(), halving())
    expected = np.log(GAINS) / np.log(2)
    np.testing.assert_allclose(found.y, np.tile(expected[:, None], (7, 1, LAYERS)), atol=1e-12)
    np.testing.assert_allclose(found.low, found.high, atol=1e-7)
    np.testing.assert_allclose(found.log_b, np.log(2), rtol=1e-12)
    assert found.refused == [""] * LAYERS


def test_the_mean_of_the_pseudo_values_is_the_ratio_of_means():
    gain = planted() + 0.1 * np.random.default_rng(1).normal(size=planted().shape)
    tokens = halving(spread=0.05)
    found = scaling_dimensions(gain, tokens)
    growth, shrinking = np.diff(gain).mean(0), -np.diff(tokens).mean(0)
    np.testing.assert_allclose(found.y.mean(0), growth / shrinking, rtol=1e-12)
    assert ((found.low < growth / shrinking) & (growth / shrinking < found.high)).all()


@pytest.mark.parametrize(("factor", "spread"), [(1.0, 0.0), (0.5, 0.05), (1.02, 0.5)])
def test_no_coarse_graining_has_no_scaling_dimension(factor, spread):
    found = scaling_dimensions(planted(), halving(spread=spread, factor=factor))
    assert np.isnan(found.y).all()
    assert np.isnan(found.low).all()
    assert all(reason.startswith("b is not above 1: ln b between") for reason in found.refused)


def test_four_prompts_are_too_few():
    found = scaling_dimensions(planted(4), halving(4))
    assert np.isnan(found.y).all()
    assert found.refused == ["fewer than 5 prompts"] * LAYERS


def test_prompts_without_gains_are_left_out():
    gain = planted(8)
    gain[2] = np.nan
    found = scaling_dimensions(gain, halving(8, spread=0.02))
    kept = scaling_dimensions(np.delete(gain, 2, 0), np.delete(halving(8, spread=0.02), 2, 0))
    assert np.isnan(found.y[2]).all()
    np.testing.assert_allclose(np.delete(found.y, 2, 0), kept.y, rtol=1e-12)


def test_the_interval_holds_the_ratio_as_often_as_it_says():
    """Correlated growth and ln b with a noisy denominator; 95% of 600 draws, to three standard errors."""
    generator = np.random.default_rng(0)
    inside = []
    for _ in range(600):
        b = 0.3 + 0.25 * generator.normal(size=12)
        a = 0.2 + 0.5 * (b - 0.3) + 0.1 * generator.normal(size=12)
        zero = np.zeros(12)
        found = scaling_dimensions(np.stack([zero, a], -1)[:, None], np.stack([zero, -b], -1))
        if not np.isnan(found.low[0, 0]):
            inside.append(found.low[0, 0] <= 0.2 / 0.3 <= found.high[0, 0])
    assert len(inside) > 400
    assert np.mean(inside) > 0.95 - 3 * np.sqrt(0.95 * 0.05 / len(inside))


def test_on_a_model_it_stands_beside_its_reasons():
    flow = rg.run(tiny_models.llama(), random_prompts(5, 9), diagnostics="scaling_dimension", nulls=0, positions=5)
    node = flow.to_xarray()["scaling_dimension"].to_dataset()
    refused = [str(reason) for reason in node["refused"].values]
    assert refused[0] == "first"
    value = node["value"].sel(quantity="y_pca").values
    for y, reason in zip(value[1:], refused[1:], strict=True):
        assert np.isnan(y) == bool(reason)
