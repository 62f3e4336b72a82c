"""Diagnostics along depth on flows whose answer is known: identity, contraction, planted groups and communities."""

import math
from functools import partial

import numpy as np
import pytest
import tiny_models
import torch
import xarray as xr
from fake_trace import causal, fake_trace
from tiny_models import random_prompts

import rgprobe as rg
from rgprobe import categorical
from rgprobe.assembly import NullMeasurements, assemble_node
from rgprobe.condensation import condense, partition_loss
from rgprobe.diagnostics import available, select
from rgprobe.diagnostics.condensation import condensation, tree_of
from rgprobe.diagnostics.consensus import belief_jeffreys, consensus
from rgprobe.diagnostics.consensus import calibrate as calibrate_consensus
from rgprobe.diagnostics.elimination import elimination
from rgprobe.diagnostics.modularity import modularity, spectral_communities
from rgprobe.diagnostics.plateau import DIAGNOSTIC as PLATEAU
from rgprobe.diagnostics.plateau import angles, debiased_cka, plateau
from rgprobe.diagnostics.plateau import calibrate as calibrate_plateau
from rgprobe.diagnostics.row_permutations import permuted_rows
from rgprobe.errors import OptionError
from rgprobe.nulls import compare_with_draws

IDS = random_prompts(4, 30)


def log_softmax(x):
    return x - np.logaddexp.reduce(x, axis=-1, keepdims=True)


def flow_of(states, readout):
    """A trace whose states are given and whose predictions are a linear readout of them, with the lens' own KL."""
    log_p = log_softmax(states @ readout)
    steps = torch.from_numpy(log_p)
    kl = categorical.kl(steps[:, :-1], steps[:, 1:]).numpy()
    kl = np.concatenate([kl, np.full_like(kl[:, :1], np.nan)], 1)
    lens = xr.Dataset({"kl_to_next": (("prompt", "state", "position"), kl)})
    return fake_trace(states=states, lens=lens)


def contraction(rate, depth=14, tokens=12, width=10, seed=0):
    """x_{l+1} = x* + c (x_l - x*), from a small deviation."""
    rng = np.random.default_rng(seed)
    fixed = rng.standard_normal((1, 1, tokens, width))
    deviation = 1e-2 * rng.standard_normal((1, 1, tokens, width))
    powers = rate ** np.arange(depth)[None, :, None, None]
    return flow_of(fixed + powers * deviation, rng.standard_normal((width, 17)))


def test_identity_layers_stand_still():
    states = np.tile(np.random.default_rng(0).standard_normal((2, 1, 9, 6)), (1, 5, 1, 1))
    values = plateau(flow_of(states, np.eye(6))).values
    for name in ("angle", "kl", "kernel_step"):
        assert (values[name] == 0).all(), name
    np.testing.assert_allclose(values["cka_distance"], 0, atol=1e-14)


@pytest.mark.parametrize("rate", [0.5, 0.7, 0.85])
def test_a_contraction_slows_down_at_its_own_rate(rate):
    values = plateau(contraction(rate)).values.isel(prompt=0)
    layers = np.arange(values.sizes["transition"])
    for name, order in (("angle", 1), ("kernel_step", 1), ("kl", 2), ("cka_distance", 2)):
        slope = np.polyfit(layers, np.log(values[name].values), 1)[0]
        assert slope == pytest.approx(order * math.log(rate), rel=0.02), name


def test_angles_of_a_planted_rotation_and_cka_of_unrelated_and_rotated_states():
    rng = np.random.default_rng(1)
    planted = np.radians(0.01)
    x = np.tile([1.0, 0.0], (3, 1))
    turned = np.tile([np.cos(planted), np.sin(planted)], (3, 1))
    np.testing.assert_allclose(angles(x, 7.0 * turned), 0.01, rtol=1e-9)
    a, b = rng.standard_normal((2, 200, 400))
    rotation = np.linalg.qr(rng.standard_normal((400, 400)))[0]
    assert debiased_cka(a @ a.T, (a @ rotation) @ (a @ rotation).T) == pytest.approx(1, abs=1e-10)
    # the biased estimator is 0.67 here
    assert (
        abs(np.mean([debiased_cka(a[i : i + 40] @ a[i : i + 40].T, b[i : i + 40] @ b[i : i + 40].T) for i in (0, 80)]))
        < 0.1
    )
    assert math.isnan(debiased_cka(np.eye(3), np.eye(3)))


def test_the_kernel_distance_is_the_mean_over_null_kernels():
    one, *null = (plateau(contraction(0.5, seed=seed)) for seed in range(4))
    found = calibrate_plateau(one, null).values["kernel_distance_to_init"].values[0]
    kernel, *others = (m.private["kernel"].values[0] for m in (one, *null))
    norm = partial(np.linalg.norm, axis=(-1, -2))
    np.testing.assert_allclose(found, np.mean([norm(kernel - k) / norm(k) for k in others], 0)[1:], rtol=1e-12)
    assert calibrate_plateau(one, []).values["kernel_distance_to_init"].isnull().all()
    same = calibrate_plateau(one, [one]).values["kernel_distance_to_init"]
    assert (same == 0).all()


def test_a_random_network_is_as_far_from_random_networks_as_they_are_from_each_other():
    # any of them may be the model: over all choices, the mean difference from the null vanishes, however few they are
    drawn = [plateau(contraction(0.5, seed=seed)) for seed in range(4)]
    differences = []
    for one in drawn:
        null = [other for other in drawn if other is not one]
        assembled = assemble_node(PLATEAU, one, NullMeasurements(null), seed=0)
        differences.append(assembled["difference"].sel(quantity="kernel_distance_to_init").values[0])
    assert np.abs(differences).min() > 1e-4
    np.testing.assert_allclose(np.mean(differences, 0), 0, atol=1e-12)


def test_elimination_ends_at_zero_and_its_gains_add_up():
    trace = rg.trace(tiny_models.llama(), IDS, positions=7)
    values = elimination(trace).values
    assert (values["kl_to_output"].isel(state=-1) == 0).all()
    assert values["bits_gained"].isel(state=0).isnull().all()
    np.testing.assert_allclose(values["bits_gained"].sum("state"), values["kl_to_output"].isel(state=0), rtol=1e-12)
    lens = trace.lens
    np.testing.assert_allclose(values["entropy"], lens["entropy"].mean("position") / math.log(2))
    np.testing.assert_allclose(values["effective_hypotheses"], np.exp(lens["entropy"]).mean("position"))
    np.testing.assert_allclose(values["output_participation"], (1 / lens["purity"]).mean("position"))
    surprisal = -lens["answer_log_probability"].values[..., :-1].mean(-1) / math.log(
        2
    )  # nothing follows the last token
    np.testing.assert_allclose(values["answer_surprisal"], surprisal, rtol=1e-12)
    rank = np.exp(np.log(lens["answer_rank"].values[..., :-1]).mean(-1))
    np.testing.assert_allclose(values["answer_rank"], rank, rtol=1e-12)
    deviation = lens["logit_deviation"].mean("position")
    np.testing.assert_allclose(values["output_theta"], math.sqrt(2 * math.log(61)) / deviation, rtol=1e-12)


def grouped_beliefs(groups=4, each=6, classes=30, noise=0.05, seed=0):
    rng = np.random.default_rng(seed)
    centres = 2.5 * rng.standard_normal((groups, classes))
    labels = np.repeat(np.arange(groups), each)
    return log_softmax(centres[labels] + noise * rng.standard_normal((groups * each, classes))), labels


def test_costs_of_a_tree_add_up_to_the_information_between_token_and_prediction():
    beliefs = [np.stack([grouped_beliefs(seed=seed)[0]] * 2) for seed in range(3)]
    trace = fake_trace(log_probabilities=beliefs)
    found = condensation(trace)
    p = np.exp(beliefs[0][0])
    mean = p.mean(0)
    information = np.mean(np.sum(p * (np.log(p) - np.log(mean)), -1))
    assert float(found.values["information"][0, 0]) == pytest.approx(information, rel=1e-9)
    tree = tree_of(trace, 0, 0)
    assert tree.merge_costs.sum() == pytest.approx(information, rel=1e-9)
    assert np.nansum(found.details["merge_costs"].values[0, 0]) == pytest.approx(information, rel=1e-9)
    np.testing.assert_array_equal(found.details["parents"].values[0, 0], condense(p).parents)


def test_planted_groups_condense_far_better_than_partitions_that_do_not_know_them():
    trace = fake_trace(log_probabilities=[grouped_beliefs(seed=seed)[0][None] for seed in range(3)])
    found = condensation(trace)
    quarter = found.values["quarter_loss"].values
    assert (quarter < 0.02).all()  # six clusters suffice for four groups
    for null in found.internal_nulls.values():
        assert (null["quarter_loss"].values[np.isfinite(null["quarter_loss"].values)] >= 0).all()
    assert (found.internal_nulls["random_partition"]["quarter_loss"].values > 0.3).all()
    assert (found.values["effective_fraction"] <= 4 / 24).all()
    labels = np.random.default_rng(0).permutation(tree_of(trace, 0, 0).cut(n_clusters=6))
    direct = partition_loss(tree_of(trace, 0, 0).beliefs, labels) / tree_of(trace, 0, 0).loss(1)
    assert float(direct) > 0.3


def test_the_position_matched_null_is_another_prompts_tree():
    shared, mine = grouped_beliefs()[0], grouped_beliefs(seed=1)[0]
    order = np.random.default_rng(2).permutation(24)
    trace = fake_trace(log_probabilities=[shared[None], mine[None], mine[order][None]])
    found = condensation(trace).internal_nulls["position_matched"]["quarter_loss"].values[:, :, 0]
    # the first two texts have their groups at the same places, so each other's tree is as good as their own
    own = condensation(trace).values["quarter_loss"].values[:, 0]
    assert np.nanmin(found[:, 0]) == pytest.approx(own[0], abs=0.02)
    assert np.nanmin(found[:, 2]) > 0.3
    alone = fake_trace(log_probabilities=[shared[None]])
    assert "position_matched" not in condensation(alone).internal_nulls


def test_jeffreys_divergences_are_symmetric_with_zero_diagonal_and_the_direct_sums():
    beliefs = grouped_beliefs(groups=3, each=2, noise=0.5)[0]
    matrix = belief_jeffreys(beliefs)
    p = np.exp(beliefs)
    direct = np.array([[np.sum((a - b) * (np.log(a) - np.log(b))) for b in p] for a in p])
    np.testing.assert_allclose(matrix, direct, rtol=1e-9, atol=1e-14)
    assert np.array_equal(matrix, matrix.T)
    assert (np.diag(matrix) == 0).all()


def test_consensus_is_the_mean_over_pairs_and_the_share_below_the_null_quantile():
    def measured(noise, seed):
        return consensus(fake_trace(log_probabilities=[grouped_beliefs(noise=noise, seed=seed)[0][None]]))

    one = measured(0.05, 0)
    matrix = belief_jeffreys(grouped_beliefs(noise=0.05, seed=0)[0])
    pairs = matrix[~np.eye(24, dtype=bool)]
    assert float(one.values["jeffreys"][0, 0]) == pytest.approx(pairs.mean(), rel=1e-10)
    nulls = [measured(2.0, seed) for seed in (5, 6)]
    found = calibrate_consensus(one, nulls)
    pooled = [m.details["jeffreys_matrix"].values[0, 0][~np.eye(24, dtype=bool)] for m in nulls]
    threshold = np.quantile(np.concatenate(pooled), 0.05)
    share = np.mean(pairs < threshold)
    assert float(found.details["threshold"][0]) == pytest.approx(threshold, rel=1e-6)
    assert float(found.values["fraction_below"][0, 0]) == pytest.approx(share, abs=1e-12)
    assert share > 0.1
    assert one.values["fraction_below"].isnull().all()


def test_thermal_divergences_add_over_heads():
    from rgprobe.gaussian import pairwise_kl

    trace = rg.trace(tiny_models.llama(), IDS[:1], positions=5, belief="thermal")
    beliefs = trace.beliefs(0, 1)
    direct = sum(pairwise_kl(beliefs[:, head]) for head in range(tiny_models.HEADS))
    np.testing.assert_allclose(belief_jeffreys(beliefs), (direct + direct.T).numpy(), rtol=1e-12)
    tree = condensation(trace)
    assert dict(tree.values.sizes) == {"prompt": 1, "block": tiny_models.LAYERS}
    assert tree.values["information"].notnull().all()


def test_a_tree_of_one_head_condenses_the_beliefs_of_that_head():
    trace = rg.trace(tiny_models.llama(), IDS[:1], positions=5, belief="thermal")
    np.testing.assert_array_equal(tree_of(trace, 0, 1, head=2).parents, condense(trace.beliefs(0, 1)[:, 2]).parents)
    with pytest.raises(OptionError, match="head: expected a whole number from 0 to 3, received 4"):
        tree_of(trace, 0, 1, head=4)
    with pytest.raises(OptionError, match="which have no heads"):
        tree_of(fake_trace(log_probabilities=[grouped_beliefs()[0][None]]), 0, 0, head=0)


def test_uniform_causal_attention_has_no_communities_where_the_textbook_null_sees_some():
    n = 96
    uniform = np.tri(n) / np.arange(1, n + 1)[:, None]
    found = modularity(fake_trace(graph=uniform[None, None]))
    assert float(found.values["modularity"][0, 0]) == pytest.approx(0, abs=1e-9)
    w = uniform + uniform.T - np.diag(np.diag(uniform))
    textbook = (w - np.outer(w.sum(1), w.sum(0)) / w.sum()) / w.sum()
    labels, q = spectral_communities(textbook)
    assert q == pytest.approx(0.134, abs=0.002)
    assert len(set(labels.tolist())) > 1


@pytest.mark.parametrize("is_causal", [True, False])
def test_a_planted_pair_of_blocks_is_found(is_causal):
    n = 24
    block = np.arange(n) % 2
    weights = np.where(block[:, None] == block, 1.0, 0.2) * (np.tri(n) if is_causal else 1.0)
    weights /= weights.sum(1, keepdims=True)
    found = modularity(fake_trace(graph=weights[None, None], is_causal=is_causal))
    assert float(found.values["modularity"][0, 0]) > 0.2
    mask = np.tri(n) if is_causal else np.ones((n, n))
    rank_one = mask / mask.sum(1, keepdims=True)
    labels, q = spectral_communities((weights - rank_one) / weights.sum())
    assert q > 0.2
    agreement = np.mean(labels == block)
    assert max(agreement, 1 - agreement) >= 0.9


def graphs(scores):
    """Causal attention of one block by prompt, each with tokens of its own: null draws are seeded by them."""
    weights = np.where(np.tri(scores.shape[-1], dtype=bool), np.exp(scores), 0)
    trace = fake_trace(graph=(weights / weights.sum(-1, keepdims=True))[:, None])
    trace.token_ids[:] = np.arange(len(scores))[:, None]
    return trace


def beyond_permuted_rows(trace):
    """Comparison of modularity with the draws that it brings."""
    measured = modularity(trace)
    null = measured.internal_nulls["permuted_rows"]["modularity"].transpose("draw", "prompt", "block").values
    return compare_with_draws(measured.values["modularity"].values, null)


@pytest.mark.parametrize("spread", [0.5, 2.0, 4.0])
def test_what_a_search_finds_in_independent_scores_is_found_in_permuted_rows_as_well(spread):
    trace = graphs(spread * np.random.default_rng(0).standard_normal((24, 27, 27)))
    assert float(modularity(trace).values["modularity"].mean()) > 0.05  # above what the page calls none
    found = beyond_permuted_rows(trace)
    assert found.p_value[0] > 0.05
    assert abs(found.difference[0]) < 0.1 * found.null[0]


def test_planted_communities_beat_permuted_rows():
    block = np.arange(27) % 3
    noise = np.random.default_rng(1).standard_normal((12, 27, 27))
    found = beyond_permuted_rows(graphs(2.0 * (block[:, None] == block) + noise))
    assert found.low[0] > 0.1


@pytest.mark.parametrize("hidden", ["future", "past", "self", "nothing"])
def test_permuted_rows_keep_what_the_mask_hides_where_it_is(hidden):
    n = 11
    every = np.ones((n, n), dtype=bool)
    allowed = {"future": np.tri(n), "past": np.tri(n) - np.tri(n, k=-4), "self": np.tri(n, k=-1), "nothing": every}[
        hidden
    ] > 0
    patterns = np.random.default_rng(0).random((3, 2, n, n))
    drawn = permuted_rows(patterns, np.random.default_rng(1), allowed=allowed)
    np.testing.assert_array_equal(drawn[..., ~allowed], patterns[..., ~allowed])
    for index in np.ndindex(3, 2, n):
        row = allowed[index[-1]]
        np.testing.assert_array_equal(np.sort(drawn[index][row]), np.sort(patterns[index][row]))
    assert (drawn[..., allowed] != patterns[..., allowed]).mean() > 0.5
    again = permuted_rows(patterns, np.random.default_rng(1), allowed=allowed)
    np.testing.assert_array_equal(drawn, again)


def test_null_draws_of_a_prompt_do_not_depend_on_its_company():
    scores = np.random.default_rng(2).standard_normal((3, 13, 13))
    together, alone = graphs(scores), graphs(scores[1:2])
    alone.token_ids[:] = 1
    one, other = (modularity(trace).internal_nulls["permuted_rows"]["modularity"] for trace in (together, alone))
    np.testing.assert_array_equal(one.isel(prompt=1), other.isel(prompt=0))


def test_a_sliding_window_alone_is_no_community():
    n, window = 40, 8
    band = np.tri(n) - np.tri(n, k=-window)
    trace = fake_trace(scores=[causal(torch.zeros(1, 2, n, n)).masked_fill(torch.from_numpy(band) == 0, -torch.inf)])
    uniform = band / band.sum(1, keepdims=True)
    graph = xr.DataArray(uniform[None, None], dims=("prompt", "block", "position", "source"))
    object.__setattr__(trace, "graph", graph)
    object.__setattr__(trace, "attention", trace.attention.sel(sink=["included", "excluded"]))
    assert float(modularity(trace).values["modularity"][0, 0]) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("first", ["included", "excluded"])
def test_tokens_that_do_not_see_themselves_alone_are_no_community(first):
    n = 40
    seen = np.tri(n, k=-1)
    seen[0, 0] = 1
    trace = fake_trace(scores=[torch.zeros(1, 2, n, n).masked_fill(torch.from_numpy(seen) == 0, -torch.inf)])
    if first == "excluded":
        seen[:, 0] = 0
    graph = seen / seen.sum(1, keepdims=True).clip(1)
    object.__setattr__(trace, "graph", xr.DataArray(graph[None, None], dims=("prompt", "block", "position", "source")))
    order = [first, "excluded" if first == "included" else "included"]
    object.__setattr__(trace, "attention", trace.attention.sel(sink=order))
    assert float(modularity(trace).values["modularity"][0, 0]) == pytest.approx(0, abs=1e-9)


def test_the_registry_knows_every_diagnostic_and_refuses_unknown_names():
    known = available()
    catalogue = {diagnostic.catalogue for diagnostic in known.values()}
    assert {"D1", "D2", "D3", "D5", "D12", "D15", "D17", "D19"} <= catalogue
    assert [d.name for d in select("temperature,elimination,temperature")] == ["temperature", "elimination"]
    assert len(select("all")) == len(known)
    with pytest.raises(OptionError, match="entropyy"):
        select("entropyy")
    for diagnostic in known.values():
        names = [quantity.name for quantity in diagnostic.quantities]
        assert len(names) == len(set(names))
        assert diagnostic.assumption
        assert diagnostic.undefined
