"""Response curves and crossovers on rows whose answer is known: two levels, Gaussian scores, flat rows."""

import numpy as np
import pytest
import torch
import xarray as xr
from fake_trace import causal, fake_trace, handing_over

from rgprobe.diagnostics.crossover import crossover, crossover_word, locate_peak, scaling
from rgprobe.diagnostics.response import gaussian_peak, response_temperature
from rgprobe.errors import OptionError
from rgprobe.probe.response import FACTORS, LENGTHS, ResponseCollector, response_curve, truncated_lengths
from rgprobe.probe.sampled_rows import sample_rows
from rgprobe.probe.scores import WholeScores
from rgprobe.testbeds import random_energy, two_level


def response_of(prompts, *, is_causal=True):
    """prompts: scores (block, head, n, n), masked already."""
    found = []
    for scores in prompts:
        probe, attention = handing_over(is_causal=is_causal)
        collector = ResponseCollector(probe, attention, 0)
        for block in scores:
            attention.score_listeners[0](WholeScores(block))
        found.append(collector.dataset())
    trace = fake_trace(scores=prompts, is_causal=is_causal)
    trace.reductions["response"] = xr.concat(found, "prompt")
    trace.provenance["options"] = {"sink": "exclude"}
    return trace


def direct(row, factor):
    scaled = factor * row
    weights = np.exp(scaled - scaled.max())
    weights /= weights.sum()
    return weights @ (scaled - weights @ scaled) ** 2, -np.sum(weights * np.log(weights))


def rows_of_two_levels(keys, rho, half):
    drawn = two_level.sample(keys=keys, rho=rho, beta=1.0, rows=4, seed=keys)
    # beta such that the peak falls between factors, at about 1
    return torch.from_numpy(drawn.scores) * half


@pytest.mark.parametrize(("keys", "ratio"), [(64, 1.205), (256, 1.121), (1024, 1.079)])
@pytest.mark.parametrize("offset", [0.7, 1.0, 1.11])
def test_two_level_scores_peak_where_the_closed_form_says(keys, ratio, offset):
    known = two_level.exact(keys=keys, rho=0.3)
    scores = rows_of_two_levels(keys, 0.3, known.half_weight_beta * offset)
    capacity, slope, entropy = response_curve(scores, torch.ones(scores.shape, dtype=torch.bool)).mean(1).numpy()
    place, height, width = locate_peak(np.log(FACTORS), capacity, slope)
    found = np.exp(place) * offset
    assert found == pytest.approx(ratio, rel=0.01)
    assert found == pytest.approx(known.peak_ratio, rel=0.01)
    assert height == pytest.approx(known.peak_heat_capacity, rel=0.015)
    x = np.exp(np.linspace(-1.5, 1.5, 3001)) * known.half_weight_beta
    curve = np.array([two_level.exact(keys=keys, rho=0.3, beta=b).heat_capacity for b in x])
    above = np.log(x[curve > curve.max() / 2])
    assert width == pytest.approx(above[-1] - above[0], rel=0.03)
    at = two_level.exact(keys=keys, rho=0.3, beta=known.half_weight_beta * offset)  # lambda = 1
    assert (capacity[8], entropy[8]) == pytest.approx((at.heat_capacity, at.entropy), rel=1e-10)


def test_curves_are_those_of_the_definition_and_do_not_see_a_shift():
    generator = torch.Generator().manual_seed(0)
    scores = 2 * torch.randn(3, 5, 21, generator=generator, dtype=torch.float64)
    allowed = torch.ones(5, 21, dtype=torch.bool)
    allowed[:, 17:] = False
    hidden = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)
    found = response_curve(hidden, allowed)
    for index, factor in enumerate(FACTORS):
        for head in range(3):
            for row in range(5):
                capacity, entropy = direct(scores[head, row, :17].numpy(), factor)
                assert float(found[0, head, row, index]) == pytest.approx(capacity, rel=1e-9)
                assert float(found[2, head, row, index]) == pytest.approx(entropy, rel=1e-9, abs=1e-12)
    step = 1e-5
    near = (
        response_curve(scores, allowed, FACTORS * np.exp(step))[0]
        - response_curve(scores, allowed, FACTORS * np.exp(-step))[0]
    )
    np.testing.assert_allclose(found[1], near / (2 * step), rtol=1e-6, atol=1e-8)
    # C = -dS / d ln lambda
    fall = (
        response_curve(scores, allowed, FACTORS * np.exp(step))[2]
        - response_curve(scores, allowed, FACTORS * np.exp(-step))[2]
    )
    np.testing.assert_allclose(found[0], -fall / (2 * step), rtol=1e-6, atol=1e-8)
    shifted = response_curve((hidden + 64.0 * torch.arange(5.0)[:, None]).float(), allowed)
    np.testing.assert_allclose(shifted, response_curve(hidden.float(), allowed), rtol=1e-3, atol=1e-5)
    exactly = response_curve(torch.where(allowed, (scores * 256).round() / 256 + 64.0, hidden), allowed)
    np.testing.assert_allclose(
        exactly, response_curve(torch.where(allowed, (scores * 256).round() / 256, hidden), allowed), atol=1e-12
    )


def test_independent_gaussian_scores_have_a_peak_too_and_it_is_the_random_energy_models():
    n = 256
    assert gaussian_peak(np.array([n])) == pytest.approx(2.6, abs=0.1)
    scores = torch.from_numpy(random_energy.sample(n, 1.0, rows=4000, seed=1))
    capacity, slope, _ = response_curve(scores, torch.ones(1, n, dtype=torch.bool)).mean(1).numpy()
    # 4,000 rows place the mean curve's peak to about 1%
    assert np.exp(locate_peak(np.log(FACTORS), capacity, slope)[0]) == pytest.approx(
        gaussian_peak(np.array([n]))[0], rel=0.03
    )
    assert np.isnan(gaussian_peak(np.array([7.0, np.nan]))).all()


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0, 4.0])
def test_the_response_recovers_the_planted_temperature(beta):
    generator = torch.Generator().manual_seed(3)
    prompts = [causal(beta * torch.randn(1, 16, 128, 128, generator=generator, dtype=torch.float64)) for _ in range(6)]
    found = response_temperature(response_of(prompts)).values.mean(["prompt", "block", "head"])
    for sink in ("excluded", "included"):
        # 96 heads of 16 rows each: 1% of statistical error
        assert float(found["beta_response"].sel(sink=sink)) == pytest.approx(beta, rel=0.03)
        assert float(found["response_index"].sel(sink=sink)) == pytest.approx(1, rel=0.03)
        assert float(found["theta_response"].sel(sink=sink)) == pytest.approx(np.sqrt(2 * np.log(96)) / beta, rel=0.04)


def test_planted_two_level_heads_drift_and_sharpen_as_the_closed_form_does():
    size = 256
    scores = causal(8.0 * torch.eye(size, dtype=torch.float64)[None, None])
    measured = crossover(response_of([scores] * 3))
    found = measured.values.sel(sink="included").isel(prompt=0, block=0, head=0)
    lengths = truncated_lengths(129)  # the shortest sampled row sees half of the prompt and itself
    exact = [two_level.exact(keys=int(n), rho=0.0) for n in lengths]
    assert float(found["drift"]) == pytest.approx(
        scaling(np.log(lengths), np.log([known.peak_beta for known in exact])), rel=0.02
    )
    x = np.linspace(-3, 3, 6001)
    curves = [[two_level.exact(keys=int(n), rho=0.0, beta=b).heat_capacity for b in np.exp(x)] for n in lengths[::2]]
    widths = [np.ptp(x[np.array(curve) > max(curve) / 2]) for curve in curves]
    exact_slope = np.polyfit(np.log(lengths[::2]), np.log(widths), 1)[0]
    assert float(found["sharpening"]) == pytest.approx(-exact_slope, rel=0.1)
    assert measured.details["crossover"].values.tolist() == [["crossover, sharper in longer rows"]]
    assert "critical" not in str(measured.details["crossover"].values)


def test_scaling_needs_four_lengths_and_the_word_says_so():
    assert np.isnan(scaling(np.log(np.array([8.0, 16, 32, np.nan])), np.ones(4)))
    assert scaling(np.log(np.array([8.0, 16, 32, 64])), 0.5 * np.log(np.array([8.0, 16, 32, 64]))) == pytest.approx(0.5)
    few, none = np.array([0.3, 0.3]), np.full(4, np.nan)
    assert crossover_word(np.ones(2), few) == crossover_word(np.ones(4), none) == "crossover, no finite-size scaling"
    assert crossover_word(np.ones(4), np.array([0.3, -0.3, 0.2, -0.2])) == "crossover, no sharper in longer rows"
    assert crossover_word(none, none) == ""
    assert len(truncated_lengths(32)) == LENGTHS
    assert len(truncated_lengths(31)) == 0


def test_flat_short_and_cold_rows_are_refused():
    flat = response_of([causal(torch.zeros(1, 1, 40, 40, dtype=torch.float64))])
    short = response_of([causal(torch.randn(1, 1, 7, 7, dtype=torch.float64))])
    for trace in (flat, short):
        for diagnostic in (crossover, response_temperature):
            assert diagnostic(trace).values.to_array().isnull().all()
        assert set(crossover(trace).details["crossover"].values.ravel()) == {""}
    generator = torch.Generator().manual_seed(0)
    cold = causal(2e3 * torch.randn(1, 1, 64, 64, generator=generator, dtype=torch.float64))
    assert crossover(response_of([cold])).values["peak_factor"].isnull().all()
    with pytest.raises(OptionError, match="response"):
        crossover(fake_trace(scores=[cold]))


def test_sampled_rows_are_nearest_first_and_leave_the_sink_out():
    scores = causal(torch.arange(12.0).expand(2, 12, 12).clone())
    rows = sample_rows(WholeScores(scores), causal=True, sink=False)
    assert rows.index.tolist() == [6, 7, 8, 9, 10, 11]
    assert rows.scores[1, 0, :6].tolist() == [6, 5, 4, 3, 2, 1]
    assert rows.allowed.sum(-1).tolist() == [6, 7, 8, 9, 10, 11]
    both = sample_rows(WholeScores(torch.arange(9.0).expand(1, 9, 9)), causal=False, sink=True, rows=3)
    assert both.index.tolist() == [0, 4, 8]
    assert both.scores[0, 1].tolist() == [4, 3, 5, 2, 6, 1, 7, 0, 8]
