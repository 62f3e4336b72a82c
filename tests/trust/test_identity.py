"""The identity of a result: whatever changes a number changes it, and nothing else does; and it stands in every artefact."""

import json
import shutil

import pytest
from tiny_checkpoints import copied

import rgprobe as rg
from rgprobe import belief_trace
from rgprobe.rg_flow import open_flow
from rgprobe.sweeping import identity as identity_module
from rgprobe.sweeping.identity import identify
from rgprobe.sweeping.items import plan_items

TEXTS = ["Now is the winter", "of our discontent"]
RUNNING = {
    "nulls": 1,
    "seed": 0,
    "diagnostics": "plateau",
    "positions": 4,
    "belief": "lens",
    "sink": "exclude",
    "bos": "model",
}
LOADING = {"device": "cpu", "dtype": "float32", "allow_pickle": False}


def digest(source, *, texts=TEXTS, loading=LOADING, running=RUNNING):
    (item,) = plan_items([source], texts, loading=loading, running=running)
    return identify(item).digest


@pytest.fixture(params=["standard", "gauge"])
def checkpoint(request, sources, tmp_path):
    """A copy of its own, no file of which is a link."""
    directory = copied(sources[request.param], tmp_path / "model")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (directory / name).unlink()
        shutil.copyfile(sources[request.param] / name, directory / name)
    return directory


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_changed_file_is_another_run(checkpoint, name):
    before = digest(checkpoint)
    path = checkpoint / name
    content = bytearray(path.read_bytes())
    if name == "model.safetensors":
        content[-1] ^= 1  # one bit of one weight
    else:
        content += b"\n"  # means the same: a digest does not judge
    path.write_bytes(content)
    assert digest(checkpoint) != before


CHANGES = {
    "prompts": {"texts": [TEXTS[0], TEXTS[1] + "."]}, "order of prompts": {"texts": TEXTS[::-1]},
    "fewer prompts": {"texts": TEXTS[:1]},
    "dtype": {"loading": {**LOADING, "dtype": "bfloat16"}},
    **{name: {"running": {**RUNNING, name: value}} for name, value in [
        ("nulls", 2), ("seed", 1), ("diagnostics", "plateau,temperature"), ("positions", 5), ("positions", [0, 1]),
        ("belief", "thermal"), ("sink", "include"), ("bos", "never"), ("truncate", True), ("shuffles", 2),
    ]},
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_option_is_another_run(sources, change):
    assert digest(sources["gauge"], **CHANGES[change]) != digest(sources["gauge"])


@pytest.mark.parametrize("library", ["rgprobe", "torch", "numpy"])
def test_a_changed_version_is_another_run(sources, library, monkeypatch):
    before = digest(sources["gauge"])
    versions = belief_trace.library_versions()
    assert library in versions
    monkeypatch.setattr(identity_module, "library_versions", lambda: {**versions, library: "99.0"})
    assert digest(sources["gauge"]) != before


def test_what_has_no_effect_on_numbers_is_the_same_run(sources, tmp_path):
    before = digest(sources["gauge"])
    spelled = {**RUNNING, "truncate": False}
    assert digest(sources["gauge"], running=spelled) == before
    elsewhere = copied(sources["gauge"], tmp_path / sources["gauge"].name)
    assert digest(elsewhere) == before


def test_a_changed_checkpoint_is_measured_again_and_the_same_is_not(checkpoint, tmp_path):
    def swept():
        seen = []
        rg.sweep(
            [checkpoint],
            TEXTS,
            out=tmp_path / "out",
            device="cpu",
            on_progress=lambda *said: seen.append(said[-1]),
            **RUNNING,
        )
        return sorted(path.name for path in (tmp_path / "out").glob("*.nc")), seen

    first, _ = swept()
    again, said = swept()
    assert again == first
    assert "reused" in " ".join(map(str, said)) or len(first) == 1
    path = checkpoint / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-4] ^= 1
    path.write_bytes(content)
    changed, _ = swept()
    assert set(first) < set(changed)  # the earlier result is kept beside the new one


def test_provenance_stands_in_every_artefact(sources, tmp_path):
    from rgprobe.cli import main

    few = ["--nulls", "0", "--device", "cpu", "--quiet", "--diagnostics", "plateau,condensation"]
    assert main(["run", str(sources["gauge"]), "--text", TEXTS[0], "--out", str(tmp_path), *few]) == 0
    digests = rg.load(sources["gauge"]).source.sha256
    assert digests.keys() >= {"config.json", "model.safetensors", "tokenizer.json"}
    record = open_flow(tmp_path / "gauge.nc").provenance
    assert record["source"]["sha256"] == digests
    assert record.keys() >= {
        "config",
        "tokenizer",
        "dtype",
        "versions",
        "options",
        "seed",
        "nulls",
        "belief",
        "assumption",
    }
    page = (tmp_path / "report.html").read_text("utf-8")
    assert digests["model.safetensors"] in page
    assert json.loads((tmp_path / "gauge.trees.json").read_text())["source"] == "gauge"
