"""What sources and prompts become: labels, runs, steps, shards."""

import pytest

from rgprobe.errors import OptionError, PromptError
from rgprobe.sweeping.items import PromptSet, places_of, plan_items, prompt_sets, take_shard


def checkpoint(folder):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return folder


def test_a_training_run_is_its_checkpoints_in_the_order_of_steps(tmp_path):
    for step in (1000, 0, 20):
        checkpoint(tmp_path / "seed-0" / "checkpoints" / f"step-{step:06d}")
    (tmp_path / "seed-0" / "config.json").write_text("{}")  # the last weights lie beside them
    (tmp_path / "seed-0" / "checkpoints" / "step-000007").mkdir()  # being written
    places = places_of([tmp_path / "seed-0"])
    assert [(place.run, place.step, place.label) for place in places] == [
        ("seed-0", step, f"seed-0@step-{step:06d}") for step in (0, 20, 1000)
    ]


def test_a_trainers_folder_without_a_model_is_its_checkpoints_and_with_one_is_that_model(tmp_path):
    checkpoint(tmp_path / "out" / "checkpoint-500")
    assert [place.step for place in places_of([tmp_path / "out"])] == [500]
    (tmp_path / "out" / "config.json").write_text("{}")
    assert [(place.step, place.label) for place in places_of([tmp_path / "out"])] == [(None, "out")]


def test_runs_of_one_name_are_told_apart_by_the_folders_above(tmp_path):
    found = [checkpoint(tmp_path / family / "seed-0" / "step-5") for family in ("gauge", "standard")]
    found.append(checkpoint(tmp_path / "alone"))
    assert [place.run for place in places_of(found)] == ["gauge/seed-0", "standard/seed-0", "alone"]


def test_hub_ids_carry_their_revision_and_shipped_names_none():
    hub, shipped = places_of(["org/model@step512", "gauge-small"])
    assert (hub.source, hub.revision, hub.step, hub.run) == ("org/model", "step512", 512, "org/model")
    assert (shipped.source, shipped.revision, shipped.step, shipped.label) == ("gauge-small", None, None, "gauge-small")


def test_relative_directories_are_located_for_workers_elsewhere(tmp_path, monkeypatch):
    checkpoint(tmp_path / "here")
    monkeypatch.chdir(tmp_path)
    (place,) = places_of(["here"])
    assert (place.source, place.location) == ("here", str(tmp_path / "here"))


def test_every_source_meets_every_prompt_set():
    sets = {"prose": ["a", "b"], "code": PromptSet("code", ("c",), ("group",))}
    items = plan_items(["standard-small", "gauge-small"], sets, loading={}, running={})
    assert [item.stem for item in items] == [
        "standard-small--prose", "standard-small--code", "gauge-small--prose", "gauge-small--code",
    ]  # fmt: skip
    assert items[1].prompts.groups == ("group",)


def test_without_prompts_each_source_gets_the_set_that_suits_it(tmp_path):
    items = plan_items(["gauge-small", checkpoint(tmp_path / "mine")], None, loading={}, running={})
    assert [item.prompts.name for item in items] == ["held_out", "passages"]


@pytest.mark.parametrize("shards", [1, 2, 5, 13])
def test_shards_together_are_everything_once(shards):
    items = list(range(12))
    parts = [take_shard(items, (index + 1, shards)) for index in range(shards)]
    assert sorted(item for part in parts for item in part) == items
    assert take_shard(items, None) == items


@pytest.mark.parametrize("shard", ["0/3", "4/3", "1", "a/b", "1/2/3", "-1/2", (1, 0)])
def test_what_is_no_shard_is_refused(shard):
    with pytest.raises(OptionError, match="i/n with i from 1 to n"):
        take_shard([1, 2], shard)


@pytest.mark.parametrize("prompts", [[], {"empty": []}, [1, 2], [["a"]]])
def test_what_is_no_text_is_refused(prompts):
    with pytest.raises(PromptError):
        prompt_sets(prompts)


def test_a_source_named_twice_and_no_source_are_refused():
    with pytest.raises(OptionError, match="each source once"):
        plan_items(["gauge-small", "gauge-small"], ["a"], loading={}, running={})
    with pytest.raises(OptionError, match="at least one checkpoint"):
        plan_items([], ["a"], loading={}, running={})
