"""From a model to a result file: the same bytes, the same numbers whoever is in the batch, and no false alarms."""

import json

import numpy as np
import pytest
import tiny_models
import torch
import xarray as xr
from gauge_models import tiny_gauge
from tiny_models import random_prompts

import rgprobe as rg
from rgprobe.cli.tree_file import trees_json
from rgprobe.condensation import CondensationTree, condense
from rgprobe.errors import BadInput, OptionError
from rgprobe.nulls import shuffle_tokens
from rgprobe.rg_flow import RGFlow

LENGTHS = (30, 23, 12, 2, 1)
PROMPTS = [ids[:length] for ids, length in zip(random_prompts(5, 30), LENGTHS, strict=True)]


@pytest.fixture(scope="module")
def flow():
    return rg.run(tiny_models.llama(), PROMPTS, nulls=2, seed=3, positions=6)


def test_equal_runs_write_equal_bytes(tmp_path):
    for name in ("a.nc", "b.nc"):
        chosen = "temperature,elimination,condensation"
        rg.run(tiny_models.llama(), PROMPTS[:2], nulls=1, seed=3, positions=4, diagnostics=chosen).save(tmp_path / name)
    assert (tmp_path / "a.nc").read_bytes() == (tmp_path / "b.nc").read_bytes()


def test_a_result_reads_back_identical(flow, tmp_path):
    flow.save(tmp_path / "a.nc")
    opened = rg.open_flow(tmp_path / "a.nc")
    assert opened.to_xarray().identical(flow.to_xarray())
    assert opened.provenance == flow.provenance
    opened.save(tmp_path / "b.nc")
    assert (tmp_path / "a.nc").read_bytes() == (tmp_path / "b.nc").read_bytes()
    assert opened.tokens == flow.tokens
    assert repr(opened) == repr(flow)


def test_another_seed_draws_other_nulls_and_measures_the_same(flow):
    other = rg.run(tiny_models.llama(), PROMPTS[:2], nulls=1, seed=4, positions=6, diagnostics="elimination")
    mine, theirs = (f.to_xarray()["elimination"].to_dataset() for f in (flow, other))
    assert mine["per_prompt"][:2].equals(theirs["per_prompt"])
    assert not np.allclose(mine["null"][0, 2], theirs["null"][0, 2])


# made of all prompts together, or completed by the null, which runs of one prompt here do not have
SHARED = {"attention_distance": "span", "consensus": "fraction_below", "plateau": "kernel_distance_to_init"}


def test_a_prompts_numbers_do_not_depend_on_its_company(flow):
    for index in (0, 2, 4):
        alone = rg.run(tiny_models.llama(), [PROMPTS[index]], nulls=0, positions=6)
        for name in flow.diagnostics:
            together = flow.to_xarray()[name]["per_prompt"].isel(prompt=[index])
            single = alone.to_xarray()[name]["per_prompt"]
            kept = [q for q in single["quantity"].values if q != SHARED.get(name)]
            together, single = together.sel(quantity=kept), single.sel(quantity=kept)
            # padding to the longest prompt may regroup a sum: rounding only
            np.testing.assert_allclose(together.values, single.values, rtol=1e-12, atol=1e-14, err_msg=name)


def test_prompts_of_one_and_two_tokens_run_and_what_is_undefined_is_nan(flow):
    assert flow.to_xarray()["prompts"]["token_mask"].sum("token").values.tolist() == list(LENGTHS)
    for name in ("temperature", "free_energy", "attention_entropy", "attention_distance", "modularity", "collapse"):
        assert flow.to_xarray()[name]["per_prompt"].isel(prompt=[3, 4]).isnull().all(), name
    for name in ("condensation", "consensus"):
        assert flow.to_xarray()[name]["per_prompt"].isel(prompt=4).isnull().all(), name
    entropy = flow.to_xarray()["elimination"]["per_prompt"].sel(quantity="entropy")
    assert entropy.notnull().all()
    plateau = flow.to_xarray()["plateau"]["per_prompt"]
    assert plateau.sel(quantity=["cka_distance", "kernel_step", "kernel_distance_to_init"])[4].isnull().all()
    assert plateau.sel(quantity="angle")[4].notnull().all()


@pytest.mark.parametrize("belief", ["lens", "thermal", "native"])
@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_single_short_prompt_runs_alone(belief, length):
    model = tiny_gauge() if belief == "native" else tiny_models.llama()
    flow = rg.run(model, [PROMPTS[0][:length]], nulls=1, belief=belief)
    words = {str(word) for name in flow.diagnostics for word in flow.to_xarray()[name]["verdict"].values.ravel()}
    assert words <= {"", "descriptive", "identity"}


def test_a_stored_tree_is_the_tree_of_its_beliefs(flow, tmp_path):
    flow.save(tmp_path / "a.nc")
    opened = rg.open_flow(tmp_path / "a.nc")
    trace = rg.trace(tiny_models.llama(), PROMPTS, positions=6)
    for prompt, depth in ((0, 0), (1, 3), (3, 2), (4, 1)):
        stored, direct = opened.tree(prompt, depth), condense(np.exp(trace.beliefs(prompt, depth)))
        np.testing.assert_array_equal(stored.parents, direct.parents)
        np.testing.assert_array_equal(stored.merge_costs, direct.merge_costs)
        np.testing.assert_allclose(stored.linkage, direct.linkage)
        assert tuple(stored.labels) == trace.recorded_tokens(prompt) == opened.recorded_tokens(prompt)


def test_ties_are_counted_in_the_file_too(tmp_path):
    ids = [5, 6, 5, 6, 5, 6, 5, 6, 7, 8, 5, 6]
    trace = rg.trace(tiny_models.llama(), [ids])
    rg.measure(trace, diagnostics="condensation").save(tmp_path / "a.nc")
    opened = rg.open_flow(tmp_path / "a.nc")
    direct = [condense(np.exp(trace.beliefs(0, depth))) for depth in range(trace.n_depths)]
    assert direct[0].n_ties > 0
    assert [tree.n_ties for tree in opened.trees(0)] == [tree.n_ties for tree in direct]
    written = json.loads(trees_json(opened))["trees"]
    assert [tree["n_ties"] for tree in written] == [tree.n_ties for tree in direct]


def test_a_result_of_a_version_that_counted_no_ties_opens_and_says_so(flow):
    nodes = {name: node.to_dataset() for name, node in flow.to_xarray().children.items()}
    nodes["condensation"] = nodes["condensation"].drop_vars("n_ties")
    older = RGFlow(xr.DataTree.from_dict({"/": flow.to_xarray().to_dataset(), **nodes}))
    tree = older.tree(0, 0)
    assert tree.n_ties is None
    assert "ties unknown" in repr(tree)
    assert json.loads(trees_json(older))["trees"][0]["n_ties"] is None
    assert CondensationTree.from_json(tree.to_json()).n_ties is None


@pytest.mark.parametrize("at", [(9, 0), (0, 99), (-1, 0), (0, -1), (0, 0.0), (0, True), ("0", 0)])
def test_trees_that_the_result_does_not_hold_are_refused(flow, at, unchecked_types):
    for ask in (flow.tree, flow.tree_table):
        with pytest.raises(OptionError, match=r"(prompt|depth): expected a whole number from 0 to \d, received"):
            ask(*at)
    assert flow.tree(np.int64(0), np.int64(0)).n_leaves == 6


def test_tables_have_a_row_per_entry(flow):
    node = flow.to_xarray()["temperature"].to_dataset()
    table = flow.to_dataframe("temperature")
    sizes = [node.sizes[name] for name in ("quantity", "null_model", "sink", "block", "head")]
    assert len(table) == np.prod(sizes)
    assert {"value", "null", "difference", "low", "high", "p_value", "verdict", "units"} <= set(table.columns)
    summary = flow.summary()
    rows = sum(n["quantity"].size * n.sizes.get("sink", 1) for n in (flow.to_xarray()[d] for d in flow.diagnostics))
    assert len(summary) == rows
    assert (summary["n_beat_null"] == 0).all()  # five prompts, two seeds
    entropy = summary[(summary.diagnostic == "elimination") & (summary.quantity == "entropy")].iloc[0]
    direct = flow.to_xarray()["elimination"]["trend_null"].sel(quantity="entropy", null_model="random_init")
    assert entropy["null"] == float(direct)
    with pytest.raises(OptionError, match="condensation"):
        flow.to_dataframe("nothing")


def test_null_draws_are_traces_of_the_randomised_model_and_of_shuffled_tokens(flow):
    probe = rg.load(tiny_models.llama())
    seeds = flow.provenance["nulls"]
    assert (len(seeds["random_init_seeds"]), len(seeds["shuffle_seeds"])) == (2, 1)
    drawn = []
    for seed in seeds["random_init_seeds"]:
        with probe.randomised(seed) as null:
            drawn.append(rg.trace(null, PROMPTS, positions=6).lens["entropy"].mean("position").values)
    node = flow.to_xarray()["elimination"].to_dataset().sel(quantity="entropy")
    direct = np.mean(drawn, (0, 1)) / np.log(2)
    np.testing.assert_allclose(node["null"].sel(null_model="random_init"), direct, rtol=1e-10)
    (start,) = seeds["shuffle_seeds"]
    ids = [shuffle_tokens(p, seed=start + i) for i, p in enumerate(probe.encode(PROMPTS))]
    shuffled = rg.trace(probe, ids, positions=6).lens["entropy"].mean("position").values.mean(0) / np.log(2)
    np.testing.assert_allclose(node["null"].sel(null_model="shuffled_tokens"), shuffled, rtol=1e-10)


def test_thermal_beliefs_run_from_end_to_end(tmp_path):
    flow = rg.run(tiny_models.llama(), PROMPTS[:2], nulls=0, belief="thermal", positions=5)
    assert "elimination" not in flow.diagnostics
    assert flow.to_xarray()["condensation"]["value"].dims == ("quantity", "block")
    assert flow.to_xarray()["consensus"]["value"].sel(quantity="jeffreys").notnull().all()
    assert flow.to_xarray()["plateau"]["value"].sel(quantity="kl").isnull().all()
    flow.save(tmp_path / "thermal.nc")
    opened = rg.open_flow(tmp_path / "thermal.nc")
    assert opened.to_xarray().identical(flow.to_xarray())
    trace = rg.trace(tiny_models.llama(), PROMPTS[:2], belief="thermal", positions=5)
    np.testing.assert_array_equal(opened.tree(1, 2).parents, condense(trace.beliefs(1, 2)).parents)


def test_native_beliefs_run_from_end_to_end_against_native_nulls(tmp_path):
    model = tiny_gauge()
    options = {"belief": "native", "positions": 5, "diagnostics": "elimination,consensus,condensation"}
    flow, again = (rg.run(model, PROMPTS[1:4], nulls=1, seed=2, **options) for _ in range(2))
    assert "elimination" not in flow.diagnostics
    assert flow.to_xarray()["condensation"]["value"].dims == ("quantity", "block")
    node = flow.to_xarray()["consensus"].to_dataset()
    (seed,) = flow.provenance["nulls"]["random_init_seeds"]
    with rg.load(model).randomised(seed) as null:
        drawn = rg.run(null, PROMPTS[1:4], nulls=0, **options)
    expected = drawn.to_xarray()["consensus"]["value"].sel(quantity="jeffreys")
    np.testing.assert_allclose(node["null"].sel(quantity="jeffreys", null_model="random_init"), expected, rtol=1e-12)
    for name, one in (("a.nc", flow), ("b.nc", again)):
        one.save(tmp_path / name)
    assert (tmp_path / "a.nc").read_bytes() == (tmp_path / "b.nc").read_bytes()
    trace = rg.trace(model, PROMPTS[1:4], belief="native", positions=5)
    np.testing.assert_array_equal(
        rg.open_flow(tmp_path / "a.nc").tree(1, 1).parents, condense(trace.beliefs(1, 1)).parents
    )


def test_bidirectional_models_and_encoders_run():
    flow = rg.run(tiny_models.bert(), PROMPTS[:3], nulls=1, positions=6)
    distance = flow.to_xarray()["attention_distance"]["value"].sel(sink="included")
    assert distance.sel(quantity="distance").notnull().all()
    assert distance.sel(quantity="span").isnull().all()
    assert flow.to_xarray()["elimination"]["value"].sel(quantity="answer_rank").isnull().all()


def test_options_are_checked_before_anything_runs():
    model = tiny_models.llama()
    for options in ({"nulls": -1}, {"shuffles": -1}, {"basiss": 3}, {"diagnostics": "heat"},
                    {"belief": "astral"}, {"sink": "drop"}, {"positions": 0}):  # fmt: skip
        with pytest.raises(OptionError):
            rg.run(model, PROMPTS[:1], **{"nulls": 0, **options})


def test_a_file_of_another_kind_is_refused(tmp_path):
    with pytest.raises(BadInput, match="no such file"):
        rg.open_flow(tmp_path / "absent.nc")
    (tmp_path / "text.nc").write_text("hello")
    with pytest.raises(BadInput, match=r"text\.nc"):
        rg.open_flow(tmp_path / "text.nc")


def test_progress_counts_every_pass_over_every_prompt():
    seen = []
    rg.run(tiny_models.gpt2(), PROMPTS[:2], nulls=2, diagnostics="temperature", on_progress=lambda *a: seen.append(a))
    assert [done for done, _, _ in seen] == list(range(1, 9))
    assert {total for _, total, _ in seen} == {8}
    assert [label for _, _, label in seen][2].startswith("random init 1 of 2")


@pytest.mark.parametrize(("family", "models"), [("gpt2", 2), ("llama", 1)])
def test_a_model_that_is_a_random_initialisation_does_not_beat_random_initialisations(family, models):
    """At most 5% of all verdicts, for models drawn by the architecture's own initialiser."""
    beaten = tested = 0
    for seed in range(models):
        make = {"gpt2": tiny_models.fresh_gpt2, "llama": tiny_models.fresh_llama}[family]
        prompts = [ids[: 32 + i % 8] for i, ids in enumerate(random_prompts(20, 40, seed=seed))]
        flow = rg.run(make(100 + seed), prompts, nulls=5, shuffles=0, seed=seed, positions=4)
        for name in flow.diagnostics:
            for verdict in ("verdict", "trend_verdict"):
                words = flow.to_xarray()[name][verdict].values
                beaten += int((words == "beats null").sum())
                tested += int((words == "beats null").sum() + (words == "within null").sum())
    assert tested > 200 * models
    assert beaten <= 0.05 * tested


def test_scaled_nulls_are_the_random_initialisations_with_logits_of_the_models_size():
    model, options = tiny_models.llama(), {"diagnostics": "elimination,plateau,collapse", "positions": 6, "seed": 4}
    with torch.no_grad():
        model.model.norm.weight.mul_(9.0)
    flow = rg.run(model, PROMPTS, nulls=2, scaled_nulls=True, **options)
    told, probe = flow.provenance["nulls"], rg.load(model)
    np.testing.assert_allclose(told["scaled_init_gains"], 9.0, rtol=0.3)
    drawn = []
    for seed, gain in zip(told["random_init_seeds"], told["scaled_init_gains"], strict=True):
        with probe.randomised(seed) as null, torch.no_grad():
            null.bridge.original_model.model.norm.weight.mul_(gain)
            drawn.append(rg.trace(null, PROMPTS, positions=6).lens["entropy"].mean("position").values)
    node = flow.to_xarray()["elimination"].to_dataset().sel(quantity="entropy", null_model="scaled_init")
    np.testing.assert_allclose(node["null"], np.mean(drawn, (0, 1)) / np.log(2), rtol=1e-6)
    # a quantity of states knows nothing of the gain: nothing is tested twice
    plateau = flow.to_xarray()["plateau"].to_dataset().sel(null_model="scaled_init")
    assert plateau["null"].sel(quantity="angle").isnull().all()
    assert plateau["null"].sel(quantity="kl").notnull().any()
    assert "scaled_init" not in flow.to_xarray()["collapse"]["null_model"]
    # and all else is what it is without them
    plain = rg.run(model, PROMPTS, nulls=2, **options)
    for name in flow.diagnostics:
        kept = flow.to_xarray()[name].to_dataset().sel(null_model=plain.to_xarray()[name]["null_model"].values)
        xr.testing.assert_equal(kept["null"], plain.to_xarray()[name]["null"])
        xr.testing.assert_equal(kept["value"], plain.to_xarray()[name]["value"])


def test_scaled_nulls_of_none_are_refused():
    with pytest.raises(OptionError, match="scaled_nulls: expected nulls of at least 1"):
        rg.run(tiny_models.llama(), PROMPTS, nulls=0, scaled_nulls=True)
