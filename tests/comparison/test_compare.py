"""`compare`: no false alarms, planted differences found with their sign, and everything that is refused or set aside."""

import numpy as np
import pytest
from planted_flows import DEPTHS, PROMPTS, SEEDS, planted_flow, random_values

import rgprobe as rg
from rgprobe.comparison import NotCompared, open_comparison
from rgprobe.comparison.aligning import interpolated
from rgprobe.errors import BadInput, OptionError, PromptError

MANY = 400  # quantities of one diagnostic: as many comparisons at once


def verdicts(comparison, variable="verdict", name="fake"):
    return comparison.to_xarray()[name][variable].values


def pair(rng, quantities=MANY, *, shift=0.0, with_nulls=False, **changes):
    """Two flows drawn alike, over prompts of unequal difficulty; the second is moved."""
    difficulty = 2 * rng.standard_normal((quantities, PROMPTS, 1))

    def one(moved, **changes):
        values = random_values(rng, quantities, difficulty=difficulty, shift=moved, spread=0.5 * with_nulls)
        nulls = [
            random_values(rng, quantities, difficulty=difficulty, spread=0.5) for _ in range(SEEDS * with_nulls)
        ]  # fmt: skip
        return planted_flow(values, nulls=nulls, **changes)

    return {"first": one(0.0), "second": one(shift, **changes)}


def test_a_flow_compared_with_itself_is_equal_and_nothing_is_tested():
    rng = np.random.default_rng(0)
    flow = pair(rng, 3, with_nulls=True)["first"]
    comparison = rg.compare({"one": flow, "same": flow})
    for variable in ("difference", "level_difference", "trend_difference", "excess_difference", "low", "high"):
        assert (verdicts(comparison, variable) == 0).all(), variable
    for variable in ("verdict", "level_verdict", "trend_verdict", "excess_verdict", "trend_excess_verdict"):
        assert set(verdicts(comparison, variable).ravel()) == {"equal"}, variable
    assert comparison.not_compared == ()


def test_checkpoints_drawn_alike_are_called_different_at_the_nominal_rate():
    comparison = rg.compare(pair(np.random.default_rng(1)))
    node = comparison.to_xarray()["fake"]
    slack = 4 * np.sqrt(0.05 * 0.95 / MANY)
    for prefix in ("level_", "trend_"):
        rate = float((node[f"{prefix}p_value"] < 0.05).mean())
        assert abs(rate - 0.05) <= slack, prefix
        assert node[f"{prefix}significant"].sum() == 0  # 400 tests are one family
    assert abs(float((node["p_value"] < 0.05).mean()) - 0.05) <= slack / 2
    # the depths of a quantity are a family: the rate of quantities with any false alarm is the nominal one
    assert float(node["significant"].any("state").mean()) <= 0.05 + slack


def test_checkpoints_drawn_like_their_nulls_do_not_differ_in_excess_more_often_than_that():
    comparison = rg.compare(pair(np.random.default_rng(2), with_nulls=True))
    node = comparison.to_xarray()["fake"].sel(null_model="random_init")
    slack = 4 * np.sqrt(0.05 * 0.95 / MANY)
    assert float((node["level_excess_p_value"] < 0.05).mean()) <= 0.05 + slack
    assert float((node["excess_p_value"] < 0.05).mean()) <= 0.05 + slack / 2
    assert float(node["excess_significant"].any("state").mean()) <= 0.05 + slack


@pytest.mark.parametrize("shift", [1.5, -1.5])
def test_a_planted_difference_has_its_sign_and_is_covered(shift):
    comparison = rg.compare(pair(np.random.default_rng(3), shift=shift))
    node = comparison.to_xarray()["fake"]
    expected = "second above first" if shift > 0 else "first above second"
    assert (verdicts(comparison) == expected).mean() > 0.95
    assert set(verdicts(comparison).ravel()) <= {expected, "no difference found"}
    for prefix in ("", "level_"):
        covered = float(((node[f"{prefix}low"] <= shift) & (node[f"{prefix}high"] >= shift)).mean())
        assert 0.92 <= covered <= 0.98
    assert float(((node["trend_low"] <= 0) & (node["trend_high"] >= 0)).mean()) >= 0.92


def test_values_differences_and_nulls_add_up():
    runs = pair(np.random.default_rng(4), 3, shift=1.0, with_nulls=True)
    node = rg.compare(runs).to_xarray()["fake"].to_dataset()
    for prefix in ("", "level_", "trend_"):
        value, difference = node[f"{prefix}value"], node[f"{prefix}difference"]
        np.testing.assert_allclose(value.sel(run="second") - value.sel(run="first"), difference, rtol=1e-10, atol=1e-12)
        excess = value - node[f"{prefix}null"]
        np.testing.assert_allclose(excess, node[f"{prefix}excess"].transpose(*excess.dims), rtol=1e-10, atol=1e-12)
        between = excess.sel(run="second") - excess.sel(run="first")
        expected = node[f"{prefix}excess_difference"].transpose(*between.dims)
        np.testing.assert_allclose(between, expected, rtol=1e-10, atol=1e-12)
    for name, flow in runs.items():
        source = flow.to_xarray()["fake"].to_dataset()
        np.testing.assert_allclose(node["value"].sel(run=name), source["value"], rtol=1e-12)
        np.testing.assert_allclose(node["trend_value"].sel(run=name), source["trend"], rtol=1e-12)
        for bound in ("null", "null_low", "null_high"):
            np.testing.assert_allclose(
                node[bound].sel(run=name, null_model="random_init"),
                source[bound].sel(null_model="random_init"),
                rtol=1e-10,
                err_msg=bound,
            )


def test_the_difference_of_excesses_takes_out_what_the_architecture_alone_makes():
    rng = np.random.default_rng(5)
    first = planted_flow(random_values(rng, 5), nulls=[random_values(rng, 5) for _ in range(SEEDS)])
    second = planted_flow(
        random_values(rng, 5, shift=9.0), nulls=[random_values(rng, 5, shift=9.0) for _ in range(SEEDS)]
    )
    comparison = rg.compare({"first": first, "second": second})
    assert set(verdicts(comparison, "level_verdict")) == {"second above first"}
    assert set(verdicts(comparison, "level_excess_verdict").ravel()) == {"no difference found"}


def test_what_differs_exactly_is_named_and_leaves_the_tests_of_the_others_alone():
    rng = np.random.default_rng(17)
    values = [random_values(rng, 3, shift=shift) for shift in (0.0, 0.2)]
    for index, value in enumerate(values):
        value[0] = 0.1 + 0.3 * index
    exact = rg.compare({name: planted_flow(value) for name, value in zip("ab", values, strict=True)}).to_xarray()[
        "fake"
    ]
    others = {name: planted_flow(value[1:], names=["q1", "q2"]) for name, value in zip("ab", values, strict=True)}
    assert set(exact["verdict"].sel(quantity="q0").values) == {"b above a"}
    assert exact["level_p_value"].isnull().values.tolist() == [True, False, False]
    without = rg.compare(others).to_xarray()["fake"]["level_significant"].values
    assert exact["level_significant"].values[1:].tolist() == without.tolist()


def test_heads_enter_as_their_mean_and_may_be_unequally_many():
    rng = np.random.default_rng(6)
    dims = ("prompt", "block", "head")
    values = [rng.standard_normal((2, PROMPTS, DEPTHS, heads)) for heads in (3, 8)]
    comparison = rg.compare({"a": planted_flow(values[0], dims=dims), "b": planted_flow(values[1], dims=dims)})
    node = comparison.to_xarray()["fake"]
    expected = values[1].mean(-1).mean(1) - values[0].mean(-1).mean(1)
    np.testing.assert_allclose(node["difference"].values, expected, rtol=1e-10)
    assert "mean over heads" in node.attrs["heads"]
    assert node.attrs["alignment"].startswith("layer to layer")


def test_unequal_depths_are_matched_relative_to_the_whole():
    line = np.linspace(1.0, 3.0, 7)
    noise = np.random.default_rng(7).standard_normal((1, PROMPTS, 1))
    deep = planted_flow(line + noise)
    shallow = planted_flow(line[::2] + noise)
    node = rg.compare({"deep": deep, "shallow": shallow}).to_xarray()["fake"].to_dataset()
    np.testing.assert_allclose(node["state"].values, [0, 1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(node["difference"].values, 0, atol=1e-12)
    np.testing.assert_allclose(node["trend_difference"].values, 0, atol=1e-12)
    assert "l / L" in node.attrs["alignment"]


def test_equal_curves_are_equal_whatever_part_of_one_is_undefined():
    bent = np.linspace(0.0, 2.0, 7) ** 2 + np.random.default_rng(18).standard_normal((1, PROMPTS, 1))
    nulls = [np.broadcast_to(seed * np.linspace(1.0, 0.0, 7) ** 2, bent.shape) for seed in range(SEEDS)]
    part = bent.copy()
    part[..., 0] = np.nan
    part[0, :9, -1] = np.nan
    node = rg.compare({"whole": planted_flow(bent, nulls=nulls), "part": planted_flow(part, nulls=nulls)}).to_xarray()[
        "fake"
    ]
    for prefix in ("level", "trend"):
        np.testing.assert_allclose(node[f"{prefix}_difference"], 0, atol=1e-12)
        np.testing.assert_allclose(node[f"{prefix}_excess_difference"], 0, atol=1e-12)


def test_unequal_depths_are_compared_over_the_part_that_both_define():
    line = np.linspace(0.0, 1.0, 7) + np.random.default_rng(19).standard_normal((1, PROMPTS, 1))
    shallow = line[..., ::2].copy()
    shallow[..., 0] = np.nan
    node = rg.compare({"deep": planted_flow(line), "shallow": planted_flow(shallow)}).to_xarray()["fake"]
    np.testing.assert_allclose(node["level_value"].sel(run="deep"), line[0, :, 0].mean() + 2 / 3)
    np.testing.assert_allclose(node["level_difference"], 0, atol=1e-12)
    np.testing.assert_allclose(node["trend_difference"], 0, atol=1e-12)


def test_interpolation_is_that_of_numpy_and_undefined_next_to_what_is():
    import xarray as xr

    values = np.random.default_rng(8).standard_normal((3, 7))
    grid = np.linspace(0, 1, 5)
    array = xr.DataArray(values, dims=("prompt", "state"))
    expected = [np.interp(grid, np.linspace(0, 1, 7), row) for row in values]
    np.testing.assert_allclose(interpolated(array, "state", grid).values, expected, rtol=1e-12)
    values[:, 0] = np.nan
    defined = np.isfinite(interpolated(xr.DataArray(values, dims=("prompt", "state")), "state", grid).values)
    assert defined.tolist() == [[False, True, True, True, True]] * 3


def seeds_of(rng, count, *, shift, weights=None, **changes):
    """Training seeds that differ more from each other than the families do."""
    digests = [f"{weights}{index}" if weights else None for index in range(count)]
    return [
        planted_flow(random_values(rng, 40, shift=shift, spread=3.0), weights=digest, **changes) for digest in digests
    ]


def test_several_seeds_speak_about_the_families():
    rng = np.random.default_rng(9)
    comparison = rg.compare({"standard": seeds_of(rng, 3, shift=0), "gauge": seeds_of(rng, 3, shift=0)})
    assert "families as trained here" in comparison.statement
    assert comparison.checkpoints == (3, 3)
    node = comparison.to_xarray()["fake"].to_dataset()
    assert float((node["p_value"] < 0.05).mean()) <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / node["p_value"].size)
    # one of each, paired over prompts, finds these two checkpoints different nearly always, and says of what it speaks
    single = rg.compare({"standard": seeds_of(rng, 1, shift=0), "gauge": seeds_of(rng, 1, shift=0)})
    assert float((single.to_xarray()["fake"]["p_value"] < 0.05).mean()) > 0.7
    assert "does not speak about the families" in single.statement
    far = rg.compare({"standard": seeds_of(rng, 3, shift=0), "gauge": seeds_of(rng, 4, shift=40)})
    assert set(verdicts(far, "level_verdict")) == {"gauge above standard"}
    assert node["by_checkpoint"].sizes["checkpoint"] == 6
    assert node["group"].values.tolist() == ["standard"] * 3 + ["gauge"] * 3


def test_few_prompts_or_seeds_are_described_and_not_judged():
    rng = np.random.default_rng(10)
    few = [planted_flow(random_values(rng, 2, prompts=19, shift=shift)) for shift in (0, 9)]
    assert set(verdicts(rg.compare({"a": few[0], "b": few[1]})).ravel()) == {"descriptive"}
    two = {"a": seeds_of(rng, 2, shift=0), "b": seeds_of(rng, 2, shift=900)}
    assert set(verdicts(rg.compare(two)).ravel()) == {"descriptive"}
    nulls = [random_values(rng, 2) for _ in range(SEEDS - 1)]
    runs = {name: planted_flow(random_values(rng, 2, shift=shift), nulls=nulls) for name, shift in (("a", 0), ("b", 9))}
    assert set(verdicts(rg.compare(runs), "excess_verdict").ravel()) == {"descriptive"}
    assert set(verdicts(rg.compare(runs)).ravel()) == {"b above a"}


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"texts": ["other"] * PROMPTS}, PromptError, "prompts of 'b': expected the texts of 'a'"),
        ({"texts": ["text 0"] * PROMPTS}, PromptError, "another text as number 1"),
        (
            {"belief": "thermal"},
            OptionError,
            'belief: expected the belief estimator of \'a\', "lens", received "thermal"',
        ),
        ({"sink": "include"}, OptionError, "sink: expected the sink policy of 'a'"),
        ({"bos": "never"}, OptionError, "bos: expected"),
        ({"basis": 8}, OptionError, "basis: expected"),
        ({"positions": (0, 2, 3)}, OptionError, "positions: expected those recorded in 'a'"),
    ],
)
def test_runs_that_differ_by_more_than_the_checkpoint_are_refused(changes, error, words):
    rng = np.random.default_rng(11)
    runs = {"a": planted_flow(random_values(rng, 1)), "b": planted_flow(random_values(rng, 1), **changes)}
    with pytest.raises(error, match="expected") as caught:
        rg.compare(runs)
    assert words in str(caught.value)


def test_other_numbers_of_prompts_names_or_runs_are_refused():
    rng = np.random.default_rng(12)
    flow, short = planted_flow(random_values(rng, 1)), planted_flow(random_values(rng, 1, prompts=20))
    with pytest.raises(PromptError, match="expected the 24 of 'a', received 20"):
        rg.compare({"a": flow, "b": short})
    for runs in ({}, {"a": flow}, {"a": flow, "b": flow, "c": flow}, {"a": flow, "b": []}):
        with pytest.raises(OptionError, match="two names"):
            rg.compare(runs)
    for name in ("", " ", "\ud800", "\x00", "\u202eb"):
        with pytest.raises(OptionError, match="names of printable characters"):
            rg.compare({"a": flow, name: flow})
    with pytest.raises(OptionError, match="one run of each, or several of each"):
        rg.compare({"a": flow, "b": [flow, flow]})
    same = seeds_of(rng, 1, shift=0, weights="w")
    with pytest.raises(OptionError, match="the same weights twice"):
        rg.compare({"a": seeds_of(rng, 2, shift=0, weights="v"), "b": same * 2})


def test_other_tokenizers_leave_the_pure_numbers_alone():
    rng = np.random.default_rng(13)
    names = ["theta", "beta_sigma"]
    dims = ("prompt", "block")
    runs = {
        name: planted_flow(random_values(rng, 2), names=names, dims=dims, diagnostic_name="temperature", token=token)
        for name, token in (("a", 5), ("b", 6))
    }
    comparison = rg.compare(runs)
    assert comparison.to_xarray()["temperature"]["quantity"].values.tolist() == ["theta"]
    (left_out,) = comparison.not_compared
    assert (left_out.diagnostic, left_out.quantity) == ("temperature", "beta_sigma")
    assert "tokenizers differ" in left_out.reason
    with pytest.raises(OptionError, match="tokenizers differ"):
        rg.compare({name: planted_flow(random_values(rng, 1), token=token) for name, token in (("a", 5), ("b", 6))})


def test_what_one_run_lacks_is_listed_with_the_reason():
    rng = np.random.default_rng(14)
    values = random_values(rng, 3)
    full = planted_flow(values, nulls=[random_values(rng, 3) for _ in range(SEEDS)])
    values = values.copy()
    values[2] = np.nan
    comparison = rg.compare({"full": full, "less": planted_flow(values)})
    assert comparison.not_compared == (
        NotCompared("fake", "q2", "undefined, or not measured, in less"),
        NotCompared("fake", "every quantity, excess over random_init", "no such null in less"),
    )
    other = full.to_xarray().copy()
    other["only"] = other["fake"].copy()
    comparison = rg.compare({"full": full, "more": type(full)(other)})
    assert NotCompared("only", "every quantity", "not measured in full") in comparison.not_compared
    old = full.to_xarray().copy()
    old["fake"] = old["fake"].to_dataset().drop_vars(["null_per_prompt", "random_init_by_seed"])
    comparison = rg.compare({"full": full, "old": type(full)(old)})
    assert any("older version" in entry.reason for entry in comparison.not_compared)
    assert "excess" not in comparison.to_xarray()["fake"]


def test_a_comparison_reads_back_identical_and_equal_ones_are_equal_bytes(tmp_path):
    runs = pair(np.random.default_rng(15), 2, with_nulls=True)
    comparison = rg.compare(runs)
    comparison.save(tmp_path / "a.nc")
    opened = rg.open_comparison(tmp_path / "a.nc")
    assert opened.to_xarray().identical(comparison.to_xarray())
    assert (opened.names, opened.statement, repr(opened)) == (comparison.names, comparison.statement, repr(comparison))
    assert opened.provenance["first"][0]["n_parameters"] == 1234
    rg.compare(runs).save(tmp_path / "b.nc")
    assert (tmp_path / "a.nc").read_bytes() == (tmp_path / "b.nc").read_bytes()
    runs["first"].save(tmp_path / "flow.nc")
    with pytest.raises(BadInput, match="a comparison that rgprobe saved"):
        open_comparison(tmp_path / "flow.nc")


def test_tables_have_a_row_per_entry_and_per_quantity():
    comparison = rg.compare(pair(np.random.default_rng(16), 3, shift=3.0, with_nulls=True))
    table = comparison.to_dataframe("fake")
    assert len(table) == 3 * DEPTHS
    assert {"quantity", "state", "value of first", "value of second", "difference", "excess_verdict"} <= set(
        table.columns
    )
    with pytest.raises(OptionError, match="expected fake"):
        comparison.to_dataframe("missing")
    summary = comparison.summary()
    assert len(summary) == 3
    assert (summary["n_second_above"] == DEPTHS).all()
    assert (summary["level_verdict"] == "second above first").all()
    np.testing.assert_allclose(summary["level_second"] - summary["level_first"], summary["level_difference"], rtol=1e-9)
