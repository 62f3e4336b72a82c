"""Dearer reductions of attention on models of every family: what rotations keep, who refuses, and whose company matters."""

import numpy as np
import pytest
import tiny_models
import torch
from fake_trace import causal
from gauge_models import activations, tiny_gauge
from tiny_models import random_prompts

import rgprobe as rg
from rgprobe.errors import OptionError
from rgprobe.probe.reductions import REDUCTIONS
from rgprobe.probe.rotations import DRAWS, dot_product_change, mahalanobis_change, random_rotations

PROMPTS = [ids[:length] for ids, length in zip(random_prompts(3, 40), (40, 23, 2), strict=True)]


@pytest.fixture(scope="module")
def llama():
    return rg.trace(tiny_models.llama(), PROMPTS, positions=8, collect=list(REDUCTIONS))


def test_a_prompts_reductions_do_not_depend_on_its_company(llama):
    alone = rg.trace(tiny_models.llama(), PROMPTS[1:2], positions=8, collect=list(REDUCTIONS))
    for name in REDUCTIONS:
        here, there = llama.reductions[name].isel(prompt=[1]), alone.reductions[name]
        for variable in there.data_vars:
            assert here[variable].equals(there[variable]), (name, variable)


def test_what_was_not_asked_for_is_not_collected(llama):
    assert set(llama.reductions) == set(REDUCTIONS)
    assert rg.trace(tiny_models.llama(), PROMPTS[2:]).reductions == {}
    with pytest.raises(OptionError, match="collect"):
        rg.trace(tiny_models.llama(), PROMPTS[2:], collect=["heat"])


def test_fisher_traces_are_one_less_the_purity_of_the_same_rows(llama):
    trace = rg.trace(tiny_models.llama(), PROMPTS[:1], positions=8, collect=["attention", "fisher"])
    participation = trace.attention["participation_by_token"].isel(prompt=0, token=trace.recorded(0))
    expected = (1 - 1 / participation).mean("token")  # NaN where a row sees fewer than eight keys
    np.testing.assert_allclose(trace.reductions["fisher"]["trace"][0], expected, atol=1e-6)


def test_rotations_are_orthogonal_and_keep_norms_and_angles():
    rotation = random_rotations(5, 7, torch.Generator().manual_seed(0))
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(7, dtype=torch.float64).expand(5, 7, 7))
    assert len({round(float(r.det())) for r in random_rotations(16, 3, torch.Generator().manual_seed(1))}) == 2
    queries, keys = torch.randn(2, 5, 11, 7, dtype=torch.float64)
    turned = keys @ rotation.mT
    torch.testing.assert_close(turned @ turned.mT, keys @ keys.mT)
    change = dot_product_change(queries, keys, torch.tensor(0.3), rotation)
    torch.testing.assert_close(change, 0.3 * (queries @ turned.mT - queries @ keys.mT))
    # uniform rotations: the mean square of q.Ok is |q|^2 |k|^2 / K
    many = random_rotations(20_000, 7, torch.Generator().manual_seed(2))
    square = torch.einsum("a,nab,b->n", queries[0, 0], many, keys[0, 0]).square().mean()
    assert float(square) == pytest.approx(float(queries[0, 0].square().sum() * keys[0, 0].square().sum() / 7), rel=0.04)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_turned_means_change_gauge_scores_as_the_divergence_does(covariance):
    model = tiny_gauge(covariance=covariance)
    seen = activations(model, PROMPTS[0][:20])
    means = seen["blocks.1.hook_belief_mean"].transpose(0, 1)
    if covariance == "full":
        tril = seen["blocks.1.hook_belief_scale_tril"].transpose(0, 1)
        precision = torch.cholesky_inverse(tril)
    else:
        precision = torch.diag_embed(seen["blocks.1.hook_belief_log_precision"].transpose(0, 1).exp().expand_as(means))
    tau = 1 / model.blocks[1].attn.inverse_temperature().detach()
    rotation = random_rotations(2, means.shape[-1], torch.Generator().manual_seed(0))

    def affinity(keys):
        gap = means[:, :, None] - keys[:, None]
        return -torch.einsum("hija,hjab,hijb->hij", gap, precision, gap) / (2 * tau)

    found = mahalanobis_change(means, means, lambda v: torch.einsum("hjab,hjb->hja", precision, v), tau, rotation)
    torch.testing.assert_close(found, affinity(means @ rotation.mT) - affinity(means), rtol=1e-9, atol=1e-9)
    trace = rg.trace(model, [PROMPTS[0][:20]], collect=["rotations"])
    assert trace.reductions["rotations"]["theta"].notnull().all()


def test_aligned_keys_are_told_from_rotated_ones(llama):
    found = rg.run(tiny_models.llama(), PROMPTS, nulls=0, diagnostics="rotated_keys").to_xarray()["rotated_keys"]
    # the weights were drawn at random: alignment is near 1, its rotations are 1 in the mean square
    assert float(found["value"].sel(quantity="alignment_gain").mean()) == pytest.approx(1, abs=0.25)
    assert float(found["null"].sel(quantity="alignment_gain").mean()) == pytest.approx(1, abs=0.1)
    model = tiny_models.llama()
    for layer in model.model.layers:  # two query heads share a key head: each query weight is made its key's
        key = layer.self_attn.k_proj.weight.data
        layer.self_attn.q_proj.weight.data = key.unflatten(0, (2, 6)).repeat_interleave(2, 0).flatten(0, 1).clone()
    aligned = rg.run(model, PROMPTS, nulls=0, diagnostics="rotated_keys").to_xarray()["rotated_keys"]
    # every one of twelve heads lies above its rotations, which by chance happens once in 4,096 times
    gain = aligned["difference"].sel(quantity="alignment_gain", null_model="rotated_keys", sink="excluded")
    assert bool((gain > 0).all())
    assert not bool((found["difference"].sel(quantity="alignment_gain", sink="excluded") > 0).all())


REFUSED = {"neox": "rotary", "gemma2": "reproduce"}


@pytest.mark.parametrize("family", list(tiny_models.FAMILIES))
def test_models_whose_queries_and_keys_cannot_be_had_say_why(family):
    trace = rg.trace(tiny_models.FAMILIES[family](), PROMPTS[:1], collect=["rotations"])
    found = trace.reductions["rotations"]
    reasons = set(found["reason"].values.ravel())
    if family in REFUSED:
        assert all(REFUSED[family] in reason for reason in reasons)
        assert found["theta"].isnull().all()
    else:
        assert reasons == {""}
        assert found["theta"].shape == (1, 1 + DRAWS, 2, 3, 4)
        assert found["theta"].notnull().all()


def test_the_observed_theta_of_sampled_rows_is_that_of_their_scores():
    model = tiny_models.gpt2()
    probe, seen = rg.load(model), []
    hooks = [
        (f"blocks.{block}.attn.hook_attn_scores", lambda tensor, hook: seen.append(tensor[0])) for block in range(3)
    ]
    probe.stream(PROMPTS[0], hooks)
    found = rg.trace(model, PROMPTS[:1], collect=["rotations"]).reductions["rotations"]["theta"].isel(prompt=0, draw=0)
    rows = torch.linspace(20, 39, 16).round().long()
    for block, scores in enumerate(seen):
        masked = causal(scores.double())
        expected = [
            np.mean([float(masked[head, i, 1 : i + 1].var()) / (2 * np.log(i)) for i in rows.tolist()]) ** -0.5
            for head in range(4)
        ]
        np.testing.assert_allclose(found.sel(sink="excluded")[block], expected, rtol=1e-6)


@pytest.mark.parametrize("switches", [{"attention": "dot"}, {"attention": "uniform"}])
def test_gauge_models_without_divergences_are_refused_with_a_reason(switches):
    found = rg.trace(tiny_gauge(**switches), [PROMPTS[0][:20]], collect=["rotations"]).reductions["rotations"]
    assert all(next(iter(switches.values())) in reason for reason in found["reason"].values.ravel())


NAMES = "response_temperature,crossover,rotated_keys,diffusion,fisher,fisher_alignment,coarse_graining"


@pytest.mark.parametrize("family", ["gpt2", "bert", "gauge"])
def test_runs_of_both_families_store_and_read_back(family, tmp_path):
    model = tiny_gauge() if family == "gauge" else tiny_models.FAMILIES[family]()
    flow = rg.run(model, [ids[:30] for ids in PROMPTS], nulls=1, diagnostics=NAMES)
    assert set(flow.diagnostics) == set(NAMES.split(","))
    flow.save(tmp_path / "flow.nc")
    assert rg.open_flow(tmp_path / "flow.nc").to_xarray().identical(flow.to_xarray())
    gap = flow.to_xarray()["diffusion"]["value"].sel(quantity="gap")
    assert bool(gap.notnull().all()) is (family == "bert")


def test_an_untrained_model_does_not_beat_its_null():
    """At most 5% of all verdicts, for a model drawn by the architecture's own initialiser."""
    prompts = random_prompts(20, 40)
    flow = rg.run(tiny_models.fresh_gpt2(0), prompts, nulls=5, seed=1, positions=16, diagnostics=NAMES)
    words = [word for name in flow.diagnostics for word in flow.to_xarray()[name]["verdict"].values.ravel()]
    tested = [word for word in words if word in ("beats null", "within null")]
    assert len(tested) > 100
    assert tested.count("beats null") <= 0.05 * len(tested)
