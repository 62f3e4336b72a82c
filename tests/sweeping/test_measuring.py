"""One item: the bytes of `rgprobe run`, used again under an equal identity and under no other."""

import json
import shutil
from dataclasses import replace

import pytest
from safetensors.torch import load_file, save_file
from sweep_work import OPTIONS, TEXTS, training_run

from rgprobe.errors import OptionError
from rgprobe.flow import run
from rgprobe.sweeping.claiming import claim
from rgprobe.sweeping.identity import identify
from rgprobe.sweeping.items import PromptSet, plan_items
from rgprobe.sweeping.ledger import Outcome, read_entry
from rgprobe.sweeping.measuring import measure_item

LOADING = {"device": "cpu", "dtype": "float32"}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return training_run(tmp_path_factory.mktemp("sweep") / "seed-0", steps=(0,))


@pytest.fixture
def checkpoint(built, tmp_path):
    return shutil.copytree(built / "checkpoints" / "step-000000", tmp_path / "seed-0" / "checkpoints" / "step-000000")


def item_of(checkpoint, **options):
    (item,) = plan_items([checkpoint], list(TEXTS), loading=LOADING, running={**OPTIONS, "nulls": 0, **options})
    return item


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def results(out):
    return sorted(path.name for path in out.iterdir() if path.suffix == ".nc")


def test_the_bytes_are_those_of_a_run_and_a_second_sweep_uses_them(checkpoint, out, tmp_path):
    item = item_of(checkpoint, nulls=1)
    assert measure_item(item, out) == Outcome("done")
    run(checkpoint, list(TEXTS), **OPTIONS).save(tmp_path / "run.nc")
    (name,) = results(out)
    assert (out / name).read_bytes() == (tmp_path / "run.nc").read_bytes()
    assert {path.name for path in out.iterdir()} == {name, "seed-0_step-000000--prompts.json"}
    entry = read_entry(out / f"{item.stem}.json")
    assert (entry.run, entry.step, entry.result, entry.identity[:16]) == ("seed-0", 0, name, name[-19:-3])
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert measure_item(item, out) == Outcome("reused")
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before


def test_one_weight_one_setting_or_one_token_less_is_another_identity(checkpoint, tmp_path):
    def digest(**options):
        return identify(item_of(checkpoint, **options)).digest

    first = digest()
    assert digest(seed=0) == first  # a default spelled out
    seen = {first, digest(seed=1), digest(nulls=2), digest(diagnostics="plateau"), digest(sink="include")}
    item = item_of(checkpoint)
    seen.add(identify(replace(item, loading={**LOADING, "dtype": "float64"})).digest)
    seen.add(identify(replace(item, prompts=PromptSet("prompts", TEXTS[:1]))).digest)
    seen.add(identify(replace(item, prompts=PromptSet("prompts", TEXTS, ("a", "b")))).digest)
    assert len(seen) == 8
    for change in (_one_weight, _one_setting, _one_token):
        change(checkpoint)
        seen.add(digest())
    assert len(seen) == 11


def _one_weight(checkpoint):
    tensors = load_file(checkpoint / "model.safetensors")
    tensors["model.norm.weight"][0] += 1e-6
    save_file(tensors, checkpoint / "model.safetensors", metadata={"format": "pt"})


def _one_setting(checkpoint):
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1e-5}))


def _one_token(checkpoint):
    file = checkpoint / "tokenizer.json"
    file.write_text(file.read_text().replace("<|endoftext|>", "<|end|>"))


def test_a_changed_weight_is_measured_again_beside_the_earlier_result(checkpoint, out):
    assert measure_item(item_of(checkpoint), out) == Outcome("done")
    (first,) = results(out)
    before = (out / first).read_bytes()
    _one_weight(checkpoint)
    assert measure_item(item_of(checkpoint), out) == Outcome("done")
    assert len(results(out)) == 2
    assert (out / first).read_bytes() == before
    assert read_entry(out / f"{item_of(checkpoint).stem}.json").result != first


def test_a_damaged_result_is_made_again_and_one_without_an_entry_is_taken(checkpoint, out):
    item = item_of(checkpoint)
    measure_item(item, out)
    (name,) = results(out)
    whole = (out / name).read_bytes()
    (out / name).write_bytes(whole[:-1])
    assert measure_item(item, out) == Outcome("done")
    assert (out / name).read_bytes() == whole
    (out / f"{item.stem}.json").unlink()  # killed between the two files
    assert measure_item(item, out) == Outcome("reused")
    assert read_entry(out / f"{item.stem}.json").result == name


def test_an_item_of_another_process_is_left_alone_and_torn_files_of_a_dead_one_removed(checkpoint, out):
    item = item_of(checkpoint)
    identity = identify(item).digest[:16]
    with claim(out / f".{identity}.lock"):
        assert measure_item(item, out).state == "held"
    assert list(out.iterdir()) == []
    torn = out / f".{item.stem}-{identity}.nc.x7.part"
    torn.write_bytes(b"half")
    assert measure_item(item, out) == Outcome("done")
    assert not torn.exists()


def test_whatever_is_wrong_with_a_checkpoint_is_an_outcome(checkpoint, out):
    whole = (checkpoint / "model.safetensors").read_bytes()
    (checkpoint / "model.safetensors").write_bytes(b"not weights")
    failure = measure_item(item_of(checkpoint), out).failure
    assert (failure.kind, failure.exit_code, failure.is_final) == ("CheckpointError", 2, True)

    def broken(item):
        raise ZeroDivisionError("1 / 0")

    (checkpoint / "model.safetensors").write_bytes(whole)
    failure = measure_item(item_of(checkpoint), out, measure=broken).failure
    assert (failure.kind, failure.exit_code, failure.is_final) == ("ZeroDivisionError", 1, False)
    assert list(out.iterdir()) == []


def test_an_unknown_option_is_refused():
    from rgprobe.sweeping.identity import complete_options

    with pytest.raises(OptionError, match="an option among"):
        complete_options({"null": 3})
    with pytest.raises(OptionError, match="numbers, texts and lists"):
        complete_options({"answers": {1j}})
