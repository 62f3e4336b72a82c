"""Twelve checkpoints with two workers, one of them killed in the middle: all results, the same bytes, one item redone."""

from functools import partial

import numpy as np
import pytest
from sweep_work import OPTIONS, STEPS, TEXTS, measured, training_run

import rgprobe as rg
from rgprobe.errors import BadInput, EnvironmentFault, OptionError
from rgprobe.sweeping.driving import drive
from rgprobe.sweeping.items import plan_items
from rgprobe.sweeping.ledger import read_entries
from rgprobe.sweeping.local import LocalWorkers
from rgprobe.sweeping.measuring import measure_item
from rgprobe.sweeping.reading import read_statistics

LOADING = {"device": "cpu", "dtype": "float32", "allow_pickle": False}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return training_run(tmp_path_factory.mktemp("sweep") / "seed-0")


@pytest.fixture(scope="module")
def serial(trained, tmp_path_factory):
    return rg.sweep([trained], list(TEXTS), out=tmp_path_factory.mktemp("serial"), device="cpu", **OPTIONS)


def files(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_killed_worker_costs_one_item_and_no_byte(trained, serial, tmp_path):
    items = plan_items([trained], list(TEXTS), loading=LOADING, running=OPTIONS)
    out = tmp_path / "out"
    out.mkdir()
    measure = partial(measured, starts=str(tmp_path / "starts"), victim=STEPS[4])
    pool = LocalWorkers(2, partial(measure_item, directory=out, measure=measure))
    try:
        ended = drive(items, pool, out, retries=1)
    finally:
        pool.close()
    assert ended == {"done": 12}
    starts = [int(word) for word in (tmp_path / "starts").read_text().split()]
    assert sorted(starts) == sorted([*STEPS, STEPS[4]])
    assert files(out) == files(serial.directory)
    assert sum(name.endswith(".nc") for name in files(out)) == 12


def test_shards_together_leave_what_one_sweep_leaves(trained, serial, tmp_path):
    for shard in ("1/2", (2, 2)):
        part = rg.sweep([trained], list(TEXTS), out=tmp_path, device="cpu", shard=shard, **OPTIONS)
        assert len(part.results) == 6
    assert files(tmp_path) == files(serial.directory)
    assert rg.open_sweep(tmp_path).entries == serial.entries


def test_steps_are_a_dimension(serial):
    data = serial.to_xarray()
    node = data["plateau"].to_dataset()
    assert node["value"].dims == ("step", "quantity", "transition")
    assert node["step"].values.tolist() == list(STEPS)
    for step in (0, 144):
        single = serial.flow(f"seed-0@step-{step:06d}").to_xarray()["plateau"]
        for name in ("value", "null", "difference", "trend", "verdict"):
            np.testing.assert_array_equal(node[name].sel(step=step).values, single[name].values)
    assert "per_prompt" not in node
    assert len(serial.to_dataframe("plateau")) == 12 * len(serial.flow("seed-0@step-000000").to_dataframe("plateau"))


def test_families_and_runs_share_arrays(serial, trained, tmp_path):
    other = training_run(tmp_path / "seed-1", steps=(0, 8), seed=1)
    sources = [other, trained / "checkpoints" / "step-000008"]
    data = rg.sweep(sources, list(TEXTS), out=tmp_path / "runs", device="cpu", **OPTIONS).to_xarray()
    value = data["plateau"]["value"]
    assert value.dims[:2] == ("run", "step")
    assert value.notnull().any(("quantity", "transition")).values.tolist() == [[False, True], [True, True]]
    mixed = rg.sweep([other / "checkpoints" / "step-000000", "standard-small"], list(TEXTS), out=tmp_path / "mixed",
                     device="cpu", **OPTIONS).to_xarray()  # fmt: skip
    value = mixed["plateau"]["value"]
    assert value.dims == ("source", "quantity", "transition")
    assert value.sel(source="seed-1@step-000000").notnull().sum("transition").max() == 2
    assert value.sel(source="standard-small").notnull().sum("transition").max() == 6
    assert set(np.unique(mixed["plateau"]["verdict"])) <= {"", "descriptive", "identity"}


def test_failures_do_not_stop_a_sweep_and_are_mended_by_the_next(trained, tmp_path):
    run = training_run(tmp_path / "seed-0", steps=(0, 5))
    weights = run / "checkpoints" / "step-000005" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:100])
    options = {**OPTIONS, "nulls": 0}
    found = rg.sweep([run], list(TEXTS), out=tmp_path / "out", device="cpu", **options)
    assert [(each.step, each.failure.kind) for each in found.failures] == [(5, "CheckpointError")]
    assert [each.step for each in found.results] == [0]
    assert repr(found).endswith("results=1, failures=1)")
    weights.write_bytes(whole)
    assert rg.sweep([run], list(TEXTS), out=tmp_path / "out", device="cpu", **options).failures == ()


def test_results_of_other_options_do_not_enter_one_array(trained, tmp_path):
    first, second = (trained / "checkpoints" / f"step-{step:06d}" for step in (0, 1))
    options = {**OPTIONS, "nulls": 0}
    rg.sweep([first], list(TEXTS), out=tmp_path, device="cpu", **options)
    rg.sweep([second], list(TEXTS), out=tmp_path, device="cpu", **{**options, "seed": 1})
    with pytest.raises(BadInput, match="another seed than"):
        rg.open_sweep(tmp_path).to_xarray()


def test_unusable_requests_are_refused_before_anything_runs(trained, tmp_path):
    for wrong, words in (
        ({"workers": -1}, "workers"), ({"threads": 0}, "threads"), ({"nulls": 1, "vibes": 2}, "vibes"),
        ({"diagnostics": "vibes"}, "diagnostics"), ({"shard": "3/2"}, "shard"), ({"client": "x", "workers": 1}, "client"),
    ):  # fmt: skip
        with pytest.raises(OptionError, match=words):
            rg.sweep([trained], list(TEXTS), out=tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFault, match="created and written"):
        rg.sweep([trained], list(TEXTS), out=tmp_path / "file" / "out")
    assert read_entries(tmp_path) == []


def test_labels_that_are_not_there_are_refused(serial):
    with pytest.raises(OptionError, match="label: expected one of seed-0@step-000000"):
        serial.flow("seed-9")
    with pytest.raises(OptionError, match="diagnostic"):
        serial.to_dataframe("temperature")


def test_what_is_read_directly_is_what_the_file_holds(serial):
    entry = serial.results[3]
    opened = rg.open_flow(serial.path(entry)).to_xarray()
    read = read_statistics(serial.path(entry))
    assert set(read) == set(opened.children) - {"prompts"}
    for name, node in read.items():
        whole = opened[name].to_dataset()
        assert node.attrs == {key: str(value) for key, value in whole.attrs.items()}
        assert set(node.coords) == {name for name in whole.coords if "prompt" not in whole[name].dims}
        assert {"value", "null", "difference", "verdict", "trend"} <= set(node.data_vars)
        for variable, array in node.variables.items():
            assert array.dims == whole[variable].dims
            np.testing.assert_array_equal(array.values, whole[variable].values)
