"""Diffusion and coarse-graining of attention on maps whose spectrum or scale structure was planted."""

import numpy as np
import pytest
import torch
import xarray as xr
from fake_trace import causal, fake_trace, handing_over

from rgprobe.diagnostics.coarse_graining import coarse_grained, coarse_graining, rescaled, same
from rgprobe.diagnostics.diffusion import diffusion, metastable_memberships, slow_eigenvectors
from rgprobe.errors import OptionError
from rgprobe.probe.mixing import (
    LONGEST,
    MixingCollector,
    dobrushin,
    reversible_form,
    row_spread,
    singular_participation,
    stationary_law,
)
from rgprobe.probe.scores import WholeScores
from rgprobe.testbeds import markov_blocks


def mixing_of(prompts, *, is_causal=True, sink="include"):
    """prompts: scores (block, head, n, n)."""
    found = []
    for scores in prompts:
        probe, attention = handing_over(is_causal=is_causal)
        collector = MixingCollector(probe, attention, 0)
        for block in scores:
            attention.score_listeners[0](WholeScores(block))
        found.append(collector.dataset())
    trace = fake_trace(graph=np.ones((1, 1, 3, 3)))
    trace.reductions["mixing"] = xr.concat(found, "prompt")
    trace.provenance["options"] = {"sink": sink}
    return trace


def scores_of(matrices):
    return torch.from_numpy(np.log(np.maximum(matrices, 1e-300)))[:, None]


@pytest.mark.parametrize("epsilon", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("sizes", [(5, 5), (7, 4)])
def test_two_weakly_coupled_blocks_relax_at_one_minus_two_epsilon(epsilon, sizes):
    built = markov_blocks.chain(sizes=sizes, epsilon=epsilon, seed=3)
    known = markov_blocks.exact(built)
    assert known.lambda_2 == pytest.approx(1 - 2 * epsilon)
    found = diffusion(mixing_of([scores_of(built.transition[None])], is_causal=False)).values.isel(prompt=0, block=0)
    included = found.sel(sink="included")
    assert float(included["gap"]) == pytest.approx(2 * epsilon, abs=1e-9)
    assert float(included["relaxation_time"]) == pytest.approx(-1 / np.log(1 - 2 * epsilon), rel=1e-8)
    values, vectors = slow_eigenvectors(built.transition, sum(sizes))
    np.testing.assert_allclose(values, known.eigenvalues, atol=1e-10)
    second = vectors[:, 1] * np.sign(vectors[0, 1])
    np.testing.assert_allclose(second, known.right[:, 1] * np.sign(known.right[0, 1]), atol=1e-8)
    np.testing.assert_allclose(stationary_law(torch.from_numpy(built.transition)), built.stationary, atol=1e-12)


def test_the_reversibilisation_of_a_driven_chain_has_real_eigenvalues_and_its_stationary_law():
    ring = 0.7 * np.roll(np.eye(9), 1, 1) + 0.2 * np.roll(np.eye(9), -1, 1) + 0.1 * np.eye(9)
    form, law = reversible_form(torch.from_numpy(ring))
    np.testing.assert_allclose(law, 1 / 9, atol=1e-12)
    modes = 0.1 + 0.9 * np.cos(2 * np.pi * np.arange(9) / 9)
    np.testing.assert_allclose(np.linalg.eigvalsh(form.numpy()), np.sort(modes), atol=1e-12)


@pytest.mark.parametrize("sizes", [(5, 7), (4, 6, 5)])
def test_memberships_recover_planted_blocks(sizes):
    built = markov_blocks.chain(sizes=sizes, epsilon=0.05, seed=1)
    shuffled = np.random.default_rng(0).permutation(sum(sizes))
    found = metastable_memberships(built.transition[np.ix_(shuffled, shuffled)], len(sizes))
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-9)
    labels = built.labels[shuffled]
    assert len({(label, block) for label, block in zip(labels, found.argmax(1), strict=True)}) == len(sizes)
    assert found.max(1).min() > 0.99  # eigenvectors are exactly constant on these blocks
    for blocks in (1, 99):
        with pytest.raises(OptionError):
            metastable_memberships(built.transition, blocks)


def test_dobrushin_bounds_the_spread_and_singular_values_are_those_of_the_map():
    generator = np.random.default_rng(0)
    maps = generator.dirichlet(np.full(11, 0.3), size=(2, 11))
    a, b = torch.from_numpy(maps)
    pairs = [abs(a[i] - a[j]).sum() / 2 for i in range(11) for j in range(11)]
    assert dobrushin(a) == pytest.approx(float(max(pairs)), rel=1e-12)
    assert dobrushin(a @ b) <= dobrushin(a) * dobrushin(b) + 1e-12
    assert row_spread(a) == pytest.approx(float((a - a.mean(0)).abs().sum(1).mean() / 2), rel=1e-12)
    measured = diffusion(mixing_of([scores_of(maps)], is_causal=False))
    found = measured.values.sel(sink="included").isel(prompt=0)
    spectrum = np.linalg.svd(maps, compute_uv=False)
    np.testing.assert_allclose(measured.details["singular_values"], spectrum[:, :8], rtol=1e-5)
    np.testing.assert_allclose(found["singular_participation"], (spectrum**2).sum(1) ** 2 / (spectrum**4).sum(1))
    assert singular_participation(torch.ones(7)) == pytest.approx(7)
    steps = [(np.eye(11) + m) / 2 for m in maps]
    spreads = [row_spread(torch.from_numpy(r)) for r in (np.eye(11), steps[0], steps[1] @ steps[0])]
    np.testing.assert_allclose(found["rollout_spread"], spreads[1:])
    np.testing.assert_allclose(found["mixing_rate"], np.log(spreads[:-1]) - np.log(spreads[1:]))


def test_a_causal_map_has_no_gap_and_uniform_rows_mix_in_one_step():
    flat = causal(torch.zeros(1, 2, 9, 9, dtype=torch.float64))
    found = diffusion(mixing_of([flat])).values.isel(prompt=0, block=0)
    assert found[["gap", "relaxation_time"]].to_array().isnull().all()
    # the first row holds key 0 alone, the last one a ninth of it; without the sink one key fewer
    np.testing.assert_allclose(found["dobrushin"].sel(sink=["included", "excluded"]), [8 / 9, 7 / 8])
    both = diffusion(mixing_of([torch.zeros(1, 1, 9, 9, dtype=torch.float64)], is_causal=False)).values
    np.testing.assert_allclose(both["dobrushin"], 0, atol=1e-12)
    np.testing.assert_allclose(both["gap"], 1, atol=1e-9)


def test_prompts_too_short_or_too_long_are_refused_and_ragged_ones_share_arrays():
    lengths = (1, 2, 9, LONGEST + 2)
    trace = mixing_of([causal(torch.zeros(1, 1, n, n, dtype=torch.float64)) for n in lengths])
    found = diffusion(trace).values["rollout_spread"].sel(sink="included").isel(block=0)
    assert found.notnull().values.tolist() == [False, True, True, False]
    with pytest.raises(OptionError, match="mixing"):
        diffusion(fake_trace(graph=np.ones((1, 1, 3, 3))))


def random_pattern(size, *, seed, concentration=0.4):
    generator = np.random.default_rng(seed)
    weights = np.tril(generator.gamma(concentration, size=(size, size))) + 1e-9 * np.eye(size)
    return weights / weights.sum(1, keepdims=True)


def refined(pattern, scale):
    """Attention among scale times as many tokens whose coarse-graining is the given pattern, exactly."""
    size = len(pattern)
    blocks = np.zeros((size, scale, size, scale))
    blocks[:] = pattern[:, None, :, None] / scale
    for i in range(size):  # inside a group: the same mass, causally
        blocks[i, :, i] = pattern[i, i] * np.tri(scale) / np.arange(1, scale + 1)[:, None]
    return blocks.reshape(size * scale, size * scale)


@pytest.mark.parametrize("scale", [2, 4])
def test_a_refined_pattern_coarse_grains_back_and_is_recognised(scale):
    fine = random_pattern(8, seed=0)
    planted = refined(fine, scale)
    np.testing.assert_allclose(coarse_grained(planted, scale), fine, atol=1e-12)
    padded = np.zeros((len(planted), len(planted)))
    padded += np.eye(len(planted))
    for start in range(0, len(planted), 8):
        padded[start : start + 8, start : start + 8] = fine
    assert rescaled(planted, padded, scale) == pytest.approx(1, abs=1e-12)
    assert abs(rescaled(random_pattern(8 * scale, seed=1), padded, scale)) < 0.6
    assert same(planted, refined(fine, scale), scale) == pytest.approx(1, abs=1e-12)


def test_planted_self_similarity_beats_permuted_rows_and_unrelated_patterns_do_not():
    fine = random_pattern(8, seed=0)
    tiled = np.kron(np.eye(4), fine)
    planted = refined(fine, 4)
    graph = np.stack([[planted, tiled, random_pattern(32, seed=seed + 1)] for seed in range(24)])
    trace = fake_trace(graph=graph)
    trace.token_ids[:] = np.arange(24)[:, None]
    measured = coarse_graining(trace)
    null = measured.internal_nulls["permuted_rows"]
    assert measured.values["rescaled_4"].values[:, 1] == pytest.approx(1)
    assert float(null["rescaled_4"][:, :, 1].max()) < 0.9
    # the third pattern is random and differs from prompt to prompt: it lies among its own permutations
    for name in ("same_2", "same_4"):
        gap = measured.values[name].values[:, 2] - null[name].values[:, :, 2].mean(0)
        assert abs(gap.mean()) < 3 * gap.std(ddof=1) / np.sqrt(24), name
    assert measured.values.isel(block=0).to_array().isnull().all()


def test_few_tokens_flat_patterns_and_remainders():
    small = fake_trace(graph=np.tril(np.ones((1, 2, 7, 7))) / 7)
    assert coarse_graining(small).values.to_array().isnull().all()
    assert coarse_grained(random_pattern(11, seed=0), 4).shape == (2, 2)
    np.testing.assert_allclose(coarse_grained(random_pattern(11, seed=0), 2).sum(1), 1)
    flat = np.full((16, 16), 1 / 16)
    assert np.isnan(same(flat, flat, 2, causal=False))
