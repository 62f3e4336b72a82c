"""What may be said of a measurement: the verdict rules, trends, families of tests."""

import numpy as np
import pytest
import xarray as xr

from rgprobe.assembly import NullMeasurements, assemble_node
from rgprobe.diagnostics.record import Diagnostic, Measurement, Quantity

STATES = 6


def diagnostic(*names, depth="state", **changes):
    quantities = tuple(Quantity(name, "nats", name, identity=name == "exact") for name in names)
    return Diagnostic(
        "fake",
        "D0",
        "Fake",
        depth,
        quantities,
        frozenset(),
        lambda trace: Measurement(xr.Dataset()),
        "a",
        "r",
        "u",
        **changes,
    )


def measurement(array, dims=("prompt", "state"), name="x", **internal):
    return Measurement(xr.Dataset({name: (dims, array)}), internal_nulls=internal)


def noise(seed, prompts=20, shift=0.0):
    rng = np.random.default_rng(seed)
    return measurement(shift + rng.standard_normal() * 0.1 + 0.1 * rng.standard_normal((prompts, STATES)))


def verdicts(seeds, prompts=20, shift=3.0, **more):
    nulls = NullMeasurements([noise(s + 1, prompts) for s in range(seeds)], **more)
    return assemble_node(diagnostic("x"), noise(0, prompts, shift), nulls, seed=0)


def test_a_difference_beats_the_null_on_five_seeds_and_twenty_prompts_only():
    assert set(verdicts(5)["verdict"].values.ravel()) == {"beats null"}
    assert set(verdicts(5, shift=0.0)["verdict"].values.ravel()) == {"within null"}
    for node in (verdicts(4), verdicts(5, prompts=19), verdicts(0)):
        assert set(node["verdict"].values.ravel()) == {"descriptive"}
        assert set(node["trend_verdict"].values.ravel()) == {"descriptive"}


def test_nothing_beats_its_null_without_random_initialisations():
    node = assemble_node(
        diagnostic("x"), noise(0, shift=3.0), NullMeasurements(shuffled_tokens=[noise(s) for s in (1, 2)]), seed=0
    )
    assert set(node["verdict"].values.ravel()) == {"descriptive"}
    assert set(node["verdict_by_null"].values.ravel()) == {"beats null"}  # the question that shuffling asks


def test_each_null_has_a_verdict_of_its_own():
    node = verdicts(5, shuffled_tokens=[noise(9, shift=3.0)])
    assert node["null_model"].values.tolist() == ["random_init", "shuffled_tokens"]
    assert set(node["verdict_by_null"].sel(null_model="random_init").values.ravel()) == {"beats null"}
    assert set(node["verdict_by_null"].sel(null_model="shuffled_tokens").values.ravel()) <= {
        "within null",
        "beats null",
    }
    assert node["verdict"].equals(node["verdict_by_null"].sel(null_model="random_init", drop=True))


def test_one_prompt_with_one_null_has_a_difference_and_no_interval():
    node = verdicts(1, prompts=1)
    assert node["difference"].notnull().all()
    for name in ("low", "high", "p_value", "value_low", "value_high", "trend_low", "trend_p_value"):
        assert node[name].isnull().all(), name
    assert "nothing" in node.attrs["interval_carries"]


def test_entries_that_are_refused_have_no_verdict_and_too_few_prompts_no_test():
    value = noise(0, shift=3.0)
    value.values["x"][:, 0] = np.nan
    value.values["x"][3:, 1] = np.nan
    node = assemble_node(diagnostic("x"), value, NullMeasurements([noise(s + 1) for s in range(5)]), seed=0)
    assert node["verdict"].values[0].tolist() == ["", "descriptive", *["beats null"] * 4]


def test_the_trend_is_the_slope_of_the_head_mean_over_relative_depth():
    rng = np.random.default_rng(0)
    line = np.linspace(1, 3.5, STATES)
    heads = line[None, :, None] + rng.standard_normal((4, 1, 3)) + np.zeros((4, STATES, 3))
    node = assemble_node(
        diagnostic("x", depth="block"), measurement(heads, ("prompt", "block", "head")), NullMeasurements(), seed=0
    )
    assert float(node["trend"][0]) == pytest.approx(2.5, rel=1e-12)
    holed = line[None] + rng.standard_normal((4, 1))
    holed[:, [0, 3]] = np.nan
    node = assemble_node(diagnostic("x"), measurement(holed), NullMeasurements(), seed=0)
    assert float(node["trend"][0]) == pytest.approx(2.5, rel=1e-12)
    holed[:, 1:] = np.nan
    assert np.isnan(assemble_node(diagnostic("x"), measurement(holed), NullMeasurements(), seed=0)["trend"][0])


def test_slopes_are_compared_over_the_depths_where_both_are_defined():
    """The same bent curve, of which the checkpoint has one half: its slope differs, its difference is nothing."""
    curve = 8 * np.linspace(0, 1, STATES) ** 2

    def bent(seed):
        rng = np.random.default_rng(seed)
        return curve + 0.02 * rng.standard_normal() + 0.1 * rng.standard_normal((24, STATES))

    half = bent(99)
    half[:, 3:] = np.nan
    nulls = NullMeasurements([measurement(bent(seed)) for seed in range(5)])
    node = assemble_node(diagnostic("x"), measurement(half), nulls, seed=0)
    whole = assemble_node(diagnostic("x"), measurement(bent(99)), nulls, seed=0)
    assert float(node["trend"][0]) < float(whole["trend"][0]) - 3
    assert abs(float(node["trend_difference"].squeeze())) < 0.2
    assert node["trend_verdict"].item() == whole["trend_verdict"].item() == "within null"


def test_the_later_trend_leaves_the_first_depth_out():
    """One step at the input end, then a rise: the line through all falls, the line behind the step rises."""
    curve = np.array([90.0, 11.0, 14.0, 17.0, 20.0, 23.0])
    rng = np.random.default_rng(0)
    value = measurement(curve + 0.1 * rng.standard_normal((20, STATES)))
    flat = [measurement(10 + 0.1 * np.random.default_rng(s).standard_normal((20, STATES))) for s in range(1, 6)]
    node = assemble_node(diagnostic("x"), value, NullMeasurements(flat), seed=0)
    assert float(node["trend"][0]) < -40
    assert float(node["later_trend"][0]) == pytest.approx(3 * (STATES - 1), rel=0.05)
    assert float(node["later_trend_difference"].squeeze()) == pytest.approx(15, rel=0.1)
    assert node["later_trend_verdict"].item() == "beats null"
    alone = assemble_node(diagnostic("x"), measurement(value.values["x"].values[:, :1]), NullMeasurements(), seed=0)
    assert np.isnan(alone["later_trend"][0])


def test_families_of_tests_are_depths_and_heads_of_one_quantity_and_sink():
    rng = np.random.default_rng(1)
    names = [f"q{i}" for i in range(3)]
    dims, shape = ("sink", "prompt", "block", "head"), (2, 20, 4, 5)

    def one(strength):
        data = {
            name: (dims, 0.1 * rng.standard_normal(shape) + strength * 0.1 * rng.standard_normal(shape[2:]))
            for name in names
        }
        return Measurement(xr.Dataset(data, coords={"sink": ["excluded", "included"]}))

    nulls = NullMeasurements([one(1.0) for _ in range(6)])
    node = assemble_node(diagnostic(*names, depth="block"), one(12.0), nulls, seed=0)
    from scipy.stats import false_discovery_control

    significant = node["significant"].sel(null_model="random_init")
    for name in names:
        for sink in ("excluded", "included"):
            p = node["p_value"].sel(quantity=name, sink=sink, null_model="random_init").values
            expected = false_discovery_control(p.ravel()).reshape(p.shape) <= 0.05
            assert np.array_equal(significant.sel(quantity=name, sink=sink).values, expected)
    p = node["trend_p_value"].sel(null_model="random_init").values
    expected = false_discovery_control(p.ravel()).reshape(p.shape) <= 0.05
    assert np.array_equal(node["trend_significant"].sel(null_model="random_init").values, expected)
    assert 0 < significant.mean() < 1


def test_identities_are_called_so():
    node = assemble_node(
        diagnostic("exact"), measurement(np.zeros((3, STATES)), name="exact"), NullMeasurements(), seed=0
    )
    assert set(node["verdict"].values.ravel()) == {"identity"}


def test_identities_are_not_tested_and_change_no_other_test():
    rng = np.random.default_rng(0)

    def drawn(strength, exact):
        x = strength * np.arange(STATES) + rng.standard_normal((20, STATES))
        values = {"x": (("prompt", "state"), x), "exact": (("prompt", "state"), np.full((20, STATES), exact))}
        return Measurement(xr.Dataset(values))

    measured, nulls = drawn(0.05, 2.0), [drawn(0.0, 1.0) for _ in range(5)]
    both = assemble_node(diagnostic("x", "exact"), measured, NullMeasurements(nulls), seed=0)
    alone = assemble_node(diagnostic("x"), measured, NullMeasurements(nulls), seed=0)
    for name in ("p_value", "trend_p_value", "trend_difference", "null"):
        assert both[name].sel(quantity="exact").isnull().all()
    assert not both["significant"].sel(quantity="exact").any()
    for name in ("trend_verdict", "trend_significant", "verdict_by_null"):
        assert np.array_equal(both[name].sel(quantity="x"), alone[name].sel(quantity="x")), name
    assert str(both["trend_verdict"].sel(quantity="exact").item()) == "identity"


def test_each_seed_is_calibrated_by_the_others_as_the_model_is_by_all():
    seen = []

    def calibrate(one, others):
        seen.append((float(one.values["x"][0, 0]), sorted(float(o.values["x"][0, 0]) for o in others)))
        return one

    def constant(value):
        return measurement(np.full((2, STATES), float(value)))

    nulls = NullMeasurements([constant(s) for s in (1, 2, 3)], [constant(9)])
    assemble_node(diagnostic("x", calibrate=calibrate), constant(0), nulls, seed=0)
    assert sorted(seen) == [(0, [1, 2, 3]), (1, [2, 3]), (2, [1, 3]), (3, [1, 2]), (9, [1, 2, 3])]
