"""Attention diagnostics on rows whose answer is known: random energies, two levels, planted laws of distance."""

import numpy as np
import pytest
import torch
from fake_trace import causal, fake_trace
from scipy.special import logsumexp

from rgprobe.diagnostics.attention_distance import attention_distance, pooled_span
from rgprobe.diagnostics.attention_entropy import attention_entropy
from rgprobe.diagnostics.free_energy import free_energy
from rgprobe.diagnostics.temperature import entropy_matched_beta, phase, temperature
from rgprobe.testbeds import random_energy

N = 48


def random_scores(beta, *, size=N, heads=3, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return causal((beta * torch.randn(2, heads, size, size, generator=generator, dtype=torch.float64)).to(dtype))


def rows_of(scores, *, sink):
    """The scores of every row that has at least eight keys, per (block, head)."""
    first = 0 if sink == "included" else 1
    rows = range(7 + first, scores.shape[-1])
    return [[[head[i, first : i + 1].double().numpy() for i in rows] for head in block] for block in scores]


def expected(scores, sink, function):
    return np.array(
        [[np.mean([function(row) for row in head]) for head in block] for block in rows_of(scores, sink=sink)]
    )


def divergences(row):
    alpha = np.exp(row - logsumexp(row))
    n = len(row)
    return np.mean(-np.log(alpha) - np.log(n)), np.sum(alpha * (np.log(alpha) + np.log(n)))


@pytest.mark.parametrize("sink", ["excluded", "included"])
@pytest.mark.parametrize("beta", [0.3, 3.0])
def test_free_energy_and_deficit_are_the_two_divergences_from_uniform(sink, beta):
    scores = random_scores(beta)
    found = free_energy(fake_trace(scores=[scores])).values.sel(sink=sink).isel(prompt=0)
    for index, name in enumerate(("free_energy", "entropy_deficit")):
        direct = expected(scores, sink, lambda row, index=index: divergences(row)[index])
        np.testing.assert_allclose(found[name].values, direct, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_shift_of_the_row_moves_nothing(dtype):
    # shifts that float32 represents exactly, so that what is left is the diagnostic's own error
    scores = (random_scores(2.0).clamp(-8, 8) * 1024).round() / 1024
    shift = 64.0 * torch.arange(N, dtype=torch.float64)[:, None]
    here, there = (
        free_energy(fake_trace(scores=[causal(s.to(dtype))])).values for s in (scores, scores.clamp_min(-9) + shift)
    )
    for name in ("free_energy", "entropy_deficit"):
        np.testing.assert_allclose(there[name].values, here[name].values, rtol=0, atol=1e-6)


def test_uniform_rows_have_no_free_energy_and_a_two_level_row_the_closed_one():
    size, gap = 20, 1.7
    flat = causal(torch.full((1, 1, size, size), 0.4, dtype=torch.float64))
    values = free_energy(fake_trace(scores=[flat])).values
    for name in ("free_energy", "entropy_deficit"):
        np.testing.assert_allclose(values[name].values, 0, atol=1e-12)
    levels = causal(torch.eye(size, dtype=torch.float64)[None, None] * gap)
    n = np.arange(8, size + 1.0)
    z = np.exp(gap) + n - 1
    own = np.exp(gap) / z
    entropy = np.log(z) - own * gap
    trace = fake_trace(scores=[levels])
    found = free_energy(trace).values.sel(sink="included").isel(prompt=0, block=0, head=0)
    assert float(found["free_energy"]) == pytest.approx(np.mean(np.log(z) - gap / n - np.log(n)), rel=1e-10)
    assert float(found["entropy_deficit"]) == pytest.approx(np.mean(np.log(n) - entropy), rel=1e-10)
    found = attention_entropy(trace).values.sel(sink="included").isel(prompt=0, block=0, head=0)
    assert float(found["heat_capacity"]) == pytest.approx(np.mean(gap**2 * own * (1 - own)), rel=1e-10)
    participation = 1 / (own**2 + (n - 1) / z**2)
    assert float(found["participation"]) == pytest.approx(np.mean(participation), rel=1e-10)
    assert float(found["normalised_entropy"]) == pytest.approx(np.mean(entropy / np.log(n)), rel=1e-10)


@pytest.mark.parametrize("sink", ["excluded", "included"])
def test_heat_capacity_is_the_response_of_the_entropy_to_the_temperature(sink):
    scores = random_scores(1.5)

    def entropy(row, scale):
        log_alpha = scale * row - logsumexp(scale * row)
        return -np.sum(np.exp(log_alpha) * log_alpha)

    step = 1e-4
    response = expected(
        scores, sink, lambda row: -(entropy(row, np.exp(step)) - entropy(row, np.exp(-step))) / (2 * step)
    )

    def quadratic_form(row):
        alpha = np.exp(row - logsumexp(row))
        return row @ (np.diag(alpha) - np.outer(alpha, alpha)) @ row

    found = attention_entropy(fake_trace(scores=[scores])).values["heat_capacity"].sel(sink=sink)[0].values
    np.testing.assert_allclose(found, response, rtol=1e-6)
    np.testing.assert_allclose(found, expected(scores, sink, quadratic_form), rtol=1e-10)


def test_a_prompt_whose_rows_see_fewer_than_eight_keys_is_refused():
    trace = fake_trace(scores=[random_scores(1.0, size=7)])
    for diagnostic in (free_energy, attention_entropy, temperature, attention_distance):
        assert diagnostic(trace).values.to_array().isnull().all()


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0, 4.0])
def test_the_spread_of_scores_recovers_the_planted_temperature(beta):
    scores = [random_scores(beta, size=128, heads=4, seed=seed) for seed in range(4)]
    found = temperature(fake_trace(scores=scores)).values.mean("prompt")
    for sink in ("excluded", "included"):
        at = found.sel(sink=sink)
        np.testing.assert_allclose(at["beta_sigma"], beta, rtol=0.03)
        n = np.arange(8, 129 if sink == "included" else 128)
        np.testing.assert_allclose(at["theta"], np.mean(beta**2 / (2 * np.log(n))) ** -0.5, rtol=0.03)


@pytest.mark.parametrize("beta", [0.11, 0.5, 0.83, 1.0, 2.0, 4.0])
def test_the_entropy_recovers_the_planted_temperature_of_gaussian_rows(beta):
    keys = np.array([16.0, 100.0, 700.0, np.nan])
    curve = np.mean([random_energy.exact(int(n), beta)["entropy"] for n in keys[:3]])
    assert float(entropy_matched_beta(np.array([curve]), keys)[0]) == pytest.approx(beta, rel=5e-4)
    scores = [random_scores(beta, size=128, heads=8, seed=seed) for seed in range(6)]
    found = temperature(fake_trace(scores=scores)).values.mean(["prompt", "head", "block"])
    np.testing.assert_allclose(found["beta_entropy"], beta, rtol=0.05)
    np.testing.assert_allclose(found["tail_index"], 1, rtol=0.05)


def test_a_sink_shows_in_the_tail_index_only_where_it_is_included():
    scores = random_scores(1.0, size=96)
    scores[..., 0] = 6.0
    found = temperature(fake_trace(scores=[scores])).values["tail_index"].mean(["prompt", "block", "head"])
    assert float(found.sel(sink="included")) > 1.5
    assert float(found.sel(sink="excluded")) == pytest.approx(1, rel=0.1)


def test_phase_words_follow_the_printed_convention():
    words = {float("nan"): "", 0.7: "condensed", 0.75: "crossover", 1.3: "crossover", 1.31: "exploration"}
    assert all(phase(theta) == word for theta, word in words.items())
    details = temperature(fake_trace(scores=[random_scores(0.1)])).details["phase_by_entropy"]
    assert set(details.values.ravel()) == {"exploration"}
    scores = torch.cat([random_scores(8.0), random_scores(0.1)])
    details = temperature(fake_trace(scores=[scores])).details["phase_by_entropy"]
    assert details.values[:, 0].tolist() == ["condensed", "condensed", "exploration", "exploration"]


def test_a_row_that_is_uniform_over_half_of_its_keys_is_not_called_condensed():
    """The other half 20 nats below: the spread of scores is that of a cold row, the entropy that of a warm one."""
    scores = torch.zeros(1, 2, 50, 50, dtype=torch.float64)
    scores[..., ::2] = -20.0
    measured = temperature(fake_trace(scores=[scores], is_causal=False))
    found = measured.values.sel(sink="included").isel(prompt=0, block=0, head=0)
    assert float(found["theta"]) == pytest.approx(np.sqrt(2 * np.log(50)) / scores[0, 0, 0].std().item())
    assert float(found["theta"]) < 0.3
    assert float(found["tail_index"]) < 0.2
    assert set(measured.details["phase_by_entropy"].values.ravel()) == {"exploration"}


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0, 4.0])
def test_both_reduced_temperatures_agree_on_gaussian_scores(beta):
    scores = [random_scores(beta, size=128, heads=8, seed=seed) for seed in range(6)]
    found = temperature(fake_trace(scores=scores)).values.mean(["prompt", "head", "block"])
    np.testing.assert_allclose(found["theta_entropy"], found["theta"], rtol=0.05)
    n = np.arange(8.0, 129.0)
    expected = 1 / (found["beta_entropy"].sel(sink="included") * np.sqrt(np.mean(1 / (2 * np.log(n)))))
    np.testing.assert_allclose(found["theta_entropy"].sel(sink="included"), expected, rtol=0.01)


@pytest.mark.parametrize("beta", [0.002, 0.0101, 0.0199, 0.0201])
def test_rows_flatter_than_the_table_have_a_temperature_and_flat_ones_none(beta):
    keys = np.array([16.0, 100.0, 700.0, np.nan])
    # E S to second order; the next order is beta^2 of this one
    entropy = np.mean([np.log(n) - (1 - 1 / n) * beta**2 / 2 for n in keys[:3]])
    assert float(entropy_matched_beta(np.array([entropy]), keys)[0]) == pytest.approx(beta, rel=1e-3)
    flat = np.log(keys[:3]).mean()
    assert np.isnan(entropy_matched_beta(np.array([flat, flat + 1e-12, flat - 1e-9]), keys)).all()


@pytest.mark.parametrize(("sink", "offset"), [("included", 0), ("excluded", 1)])
def test_uniform_causal_attention_looks_back_half_the_prefix(sink, offset):
    trace = fake_trace(scores=[causal(torch.zeros(1, 1, N, N, dtype=torch.float64))])
    keys = trace.attention["keys"].sel(sink=sink).values[0, 0]
    np.testing.assert_array_equal(keys[1:], np.arange(N)[1:] + 1 - offset)
    found = attention_distance(trace).values.sel(sink=sink).isel(prompt=0, block=0, head=0)
    assert float(found["distance"]) == pytest.approx(np.mean(np.arange(7, N - offset) / 2), rel=1e-12)
    assert float(found["decay_rate"]) == pytest.approx(0, abs=1e-3)
    assert np.isnan(found["span"])


def planted(log_law, size=256):
    back = (torch.arange(size)[:, None] - torch.arange(size)).clamp_min(0).double()
    return causal(log_law(back)[None, None])


@pytest.mark.parametrize("span", [2.0, 8.0, 30.0])
@pytest.mark.parametrize("sink", ["included", "excluded"])
def test_a_planted_exponential_span_is_recovered_and_preferred(span, sink):
    found = attention_distance(fake_trace(scores=[planted(lambda r: -r / span)])).values
    found = found.sel(sink=sink).isel(prompt=0, block=0, head=0)
    assert float(found["span"]) == pytest.approx(span, rel=0.05)
    assert float(found["power_evidence"]) < 0


@pytest.mark.parametrize("exponent", [0.7, 1.5, 2.5])
def test_a_planted_power_law_is_recovered_and_preferred(exponent):
    found = attention_distance(fake_trace(scores=[planted(lambda r: -exponent * torch.log1p(r))])).values
    found = found.isel(sink=0, prompt=0, block=0, head=0)
    assert float(found["exponent"]) == pytest.approx(exponent, rel=0.05)
    assert float(found["power_evidence"]) > 0


def test_a_span_above_a_quarter_of_the_row_is_refused():
    found = attention_distance(fake_trace(scores=[planted(lambda r: -r / 70.0)])).values.isel(sink=0)
    assert np.isnan(found["span"]).all()
    assert float(found["decay_rate"][0, 0, 0]) == pytest.approx(1 / 70, rel=0.05)


def differing(median, size=100, prompts=80):
    """Prompts of one head whose spans differ by a quarter, and those spans."""
    spans = median * np.exp(0.25 * np.random.default_rng(0).standard_normal(prompts))
    return fake_trace(scores=[planted(lambda r, s=s: -r / s, size) for s in spans]), spans


@pytest.mark.parametrize("sink", ["included", "excluded"])
@pytest.mark.parametrize("median", [15.0, 20.0, 23.0])
def test_a_span_is_not_selected_on_its_own_outcome(median, sink):
    trace, spans = differing(median)
    found = attention_distance(trace).values["span"].sel(sink=sink).isel(block=0, head=0)
    assert found.notnull().all()  # prompt by prompt, up to a third would have been above a quarter of the row
    assert float(found.mean()) == pytest.approx(1 / np.mean(1 / spans), rel=0.02)
    # the delta method: Var(1 / m) = Var(m) / m^4
    error = np.std(1 / spans, ddof=1) / np.mean(1 / spans) ** 2
    assert float(found.std(ddof=1)) == pytest.approx(error, rel=0.1)


def test_a_span_beyond_a_quarter_of_the_row_is_refused_for_all_prompts():
    found = attention_distance(differing(30.0)[0]).values
    assert found["span"].isnull().all()
    assert (1 / found["decay_rate"] < 25).any()  # although some prompts are within it


@pytest.mark.parametrize(("median", "reported", "share"), [(24.0, 20.4, 0.56), (30.0, 21.75, 0.23)])
def test_what_asking_every_prompt_would_have_kept(median, reported, share):
    """The numbers of docs/diagnostics/attention_distance.md."""
    spans = median * np.exp(0.25 * np.random.default_rng(1).standard_normal(200_000))
    assert spans[spans < 25].mean() == pytest.approx(reported, abs=0.1)
    assert (spans < 25).mean() == pytest.approx(share, abs=0.01)
    assert np.isnan(pooled_span(1 / spans, np.full(spans.shape, 100.0))).all() == (median == 30)


def test_pseudo_values_of_the_span_are_those_of_its_delete_one_copies():
    rates = np.array([0.11, np.nan, 0.05, 0.2, 0.0, 0.08])
    longest = np.array([99.0, 7.0, 60.0, 99.0, 80.0, 99.0])
    kept = [i for i in range(6) if i != 1]

    def span(members):
        return 1 / np.mean(rates[members])

    deleted = [span([j for j in kept if j != i]) for i in kept]
    direct = [span(kept) - 4 * (each - np.mean(deleted)) for each in deleted]
    found = pooled_span(rates, longest)
    assert np.isnan(found[1])
    np.testing.assert_allclose(found[kept], direct, rtol=1e-12)
    assert np.nanmean(found) == pytest.approx(span(kept), rel=1e-12)
    # on the mean, and with the mean row: 11.4 tokens are a quarter of 45.5
    assert np.isfinite(pooled_span(rates, np.full(6, 45.6))[kept]).all()
    assert np.isnan(pooled_span(rates, np.full(6, 45.4))).all()
    np.testing.assert_allclose(pooled_span(np.array([np.nan, 0.1]), np.array([9.0, 64.0])), [np.nan, 10.0])
    assert np.isnan(pooled_span(np.array([0.0, 0.0, 0.9]), np.full(3, 64.0))).all()  # all of the decay is in one prompt
    assert np.isnan(pooled_span(np.full(3, np.nan), np.full(3, np.nan))).all()


def test_blocks_with_and_without_a_sliding_window_are_fitted_each_on_its_own_rows():
    size, window = 128, 24
    everything = planted(lambda r: -r / 6.0, size)
    band = torch.ones(size, size, dtype=torch.bool).triu(1 - window)
    local = everything.masked_fill(~band, torch.finfo(torch.float64).min)
    flat = causal(torch.zeros(1, 1, size, size, dtype=torch.float64))
    trace = fake_trace(scores=[torch.cat([local.masked_fill(band.tril(), 0.0), everything, flat])])
    found = attention_distance(trace).values.sel(sink="included").isel(prompt=0, head=0)
    np.testing.assert_allclose(found["decay_rate"], [0, 1 / 6, 0], atol=5e-3)
    # T2 of Gaussian rows must not take a global block for a local one either
    noise = random_scores(1.0, size=size, heads=1)[:1]
    both = torch.cat([noise.masked_fill(~band, torch.finfo(torch.float64).min), noise])
    beta = temperature(fake_trace(scores=[both])).values["beta_entropy"].sel(sink="included")
    np.testing.assert_allclose(beta[0, :, 0], 1, rtol=0.06)


def others_only(scores):
    """No token sees itself, but for the first, which sees nothing else."""
    own = torch.eye(scores.shape[-1], dtype=torch.bool)
    own[0, 0] = False
    return scores.masked_fill(own, torch.finfo(scores.dtype).min)


@pytest.mark.parametrize("sink", ["included", "excluded"])
def test_tokens_that_do_not_see_themselves_have_laws_that_begin_at_the_token_before(sink):
    planted_laws = [planted(lambda r: 0 * r), planted(lambda r: -r / 8.0), planted(lambda r: -1.5 * torch.log1p(r))]
    trace = fake_trace(scores=[others_only(torch.cat(planted_laws))])
    found = attention_distance(trace).values.sel(sink=sink).isel(prompt=0, head=0)
    rows = np.arange(8 if sink == "included" else 9, 256)
    last_key = rows if sink == "included" else rows - 1
    assert float(found["distance"][0]) == pytest.approx(np.mean((1 + last_key) / 2), rel=1e-12)
    np.testing.assert_allclose(found["decay_rate"][:2], [0, 1 / 8], atol=1e-3)
    np.testing.assert_allclose(found["exponent"][[0, 2]], [0, 1.5], atol=5e-3)
    assert float(found["power_evidence"][1]) < 0 < float(found["power_evidence"][2])


def test_bidirectional_rows_have_a_distance_and_no_law():
    scores = torch.zeros(1, 1, 16, 16, dtype=torch.float64)
    found = attention_distance(fake_trace(scores=[scores], is_causal=False)).values.sel(sink="included")
    direct = np.mean([[abs(i - j) for j in range(16)] for i in range(16)])
    assert float(found["distance"][0, 0, 0]) == pytest.approx(direct, rel=1e-12)
    assert found[["decay_rate", "span", "exponent", "power_evidence"]].to_array().isnull().all()
