"""`rgprobe compare` as a person would use it, and the comparison that `rgprobe run` writes."""

import json
import shutil

import numpy as np
import pytest

from rgprobe.comparison import open_comparison
from rgprobe.rg_flow import RGFlow, open_flow


@pytest.fixture
def other(finished, tmp_path):
    """A result like that of the finished run, of a checkpoint that measures otherwise."""
    return changed(finished / "tiny.nc", tmp_path / "other.nc", seed=0)


@pytest.fixture
def undrawn(monkeypatch):
    """Drawing takes most of the time; the names of the runs are written instead."""
    monkeypatch.setattr("rgprobe.report.write_report", lambda flows, path, **_: path.write_text("; ".join(flows)))


def changed(source, target, *, seed, name="other", options=None):
    tree = open_flow(source).to_xarray().copy(deep=True)
    provenance = json.loads(tree.attrs["provenance"])
    provenance["source"] |= {"name": name, "sha256": {"model.safetensors": f"{seed:064d}"}}
    provenance["options"] |= options or {}
    tree.attrs["provenance"] = json.dumps(provenance)
    rng = np.random.default_rng(seed)
    for diagnostic in ("temperature", "elimination", "condensation", "consensus"):
        values = tree[diagnostic]["per_prompt"]
        tree[diagnostic]["per_prompt"] = values + rng.standard_normal(values.shape)
    RGFlow(tree).save(target)
    return target


def files(directory):
    return sorted(path.name for path in directory.iterdir())


def test_two_results_are_compared(rgprobe, finished, other, tmp_path):
    outcome = rgprobe("compare", finished / "tiny.nc", other, "--out", tmp_path / "out")
    assert outcome.code == 0
    assert files(tmp_path / "out") == ["comparison.html", "comparison.nc"]
    header, *rows = outcome.out.split("\n\n")[0].splitlines()
    assert header.split()[:5] == ["mean", "over", "depth", "tiny", "other"]
    assert any(row.startswith("temperature: theta ") for row in rows)
    assert "does not speak about the families" in " ".join(outcome.out.split())
    comparison = open_comparison(tmp_path / "out" / "comparison.nc")
    assert comparison.names == ("tiny", "other")
    page = (tmp_path / "out" / "comparison.html").read_text("utf-8")
    assert page.index("<section id='summary'>") < page.index("<section id='comparison'>")
    assert "tiny and other, side by side" in page


def test_the_summary_for_other_programs(undrawn, rgprobe, finished, other, tmp_path):
    outcome = rgprobe(
        "compare", finished / "tiny.nc", other, "--out", tmp_path / "out", "--names", "before,after", "--json"
    )
    record = json.loads(outcome.out)
    assert record["names"] == ["before", "after"]
    assert record["comparison"] == str(tmp_path / "out" / "comparison.nc")
    rows = {(row["diagnostic"], row["quantity"]): row for row in record["summary"]}
    assert rows["temperature", "theta"]["level_verdict"] == "descriptive"  # two prompts
    assert {"diagnostic", "quantity", "reason"} == set(record["not_compared"][0])


def test_training_seeds_of_each_side(undrawn, rgprobe, finished, other, tmp_path):
    more = [changed(finished / "tiny.nc", tmp_path / f"{seed}.nc", seed=seed) for seed in (1, 2)]
    arguments = (
        "compare",
        finished / "tiny.nc",
        other,
        "--more-a",
        more[0],
        "--more-b",
        more[1],
        "--out",
        tmp_path / "out",
    )
    outcome = rgprobe(*arguments)
    assert outcome.code == 0
    assert "2 checkpoints of tiny and 2 of other" in " ".join(outcome.out.split())
    page = (tmp_path / "out" / "comparison.html").read_text("utf-8")
    assert page == "tiny, seed 1; tiny, seed 2; other, seed 1; other, seed 2"
    assert rgprobe(*arguments[:3], "--more-a", more[0], "--out", tmp_path / "out").code == 2


def test_a_result_and_itself_are_equal(undrawn, rgprobe, finished, tmp_path):
    outcome = rgprobe("compare", finished / "tiny.nc", finished / "tiny.nc", "--out", tmp_path / "out")
    assert outcome.code == 0
    assert "tiny (2)" in outcome.out
    assert " equal " in outcome.out


def test_what_cannot_be_compared_gets_one_line_and_leaves_nothing(rgprobe, finished, tmp_path):
    sink = changed(finished / "tiny.nc", tmp_path / "sink.nc", seed=3, options={"sink": "include"})
    outcome = rgprobe("compare", finished / "tiny.nc", sink, "--out", tmp_path / "out")
    assert (outcome.code, outcome.out) == (2, "")
    assert "sink: expected the sink policy of 'tiny'" in outcome.err
    assert not (tmp_path / "out").exists()
    for arguments, words in (
        ((finished / "tiny.nc", tmp_path / "absent.nc"), "absent.nc: expected a result file"),
        ((finished / "tiny.nc",), "Missing argument"),
        ((finished / "tiny.nc", sink, "--names", "one"), "--names: expected two different names"),
        ((finished / "tiny.nc", sink, "--names", "x,x"), "--names: expected two different names"),
    ):
        outcome = rgprobe("compare", *arguments, "--out", tmp_path / "out")
        assert outcome.code == 2
        assert words in outcome.err
        assert not (tmp_path / "out").exists()


def test_an_older_comparison_survives_a_refused_one(undrawn, rgprobe, finished, other, tmp_path):
    out = tmp_path / "out"
    assert rgprobe("compare", finished / "tiny.nc", other, "--out", out).code == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert rgprobe("compare", finished / "tiny.nc", tmp_path / "absent.nc", "--out", out).code == 2
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_run_of_two_checkpoints_compares_them(rgprobe, checkpoint, tmp_path, monkeypatch):
    second = shutil.copytree(checkpoint, tmp_path / "second")
    monkeypatch.setattr("rgprobe.cli.run_command.shipped_names", lambda: (str(checkpoint), str(second)))
    texts = ("--text", "Now is the winter", "--text", "of our discontent")
    outcome = rgprobe("run", *texts, "--out", tmp_path / "out", "--diagnostics", "plateau", "--nulls", 0)
    assert outcome.code == 0
    assert {"comparison.nc", "report.html", "tiny.nc", "second.nc"} <= set(files(tmp_path / "out"))
    assert "second against tiny, on the same prompts" in outcome.out
    assert open_comparison(tmp_path / "out" / "comparison.nc").names == ("tiny", "second")
    assert "tiny and second, side by side" in (tmp_path / "out" / "report.html").read_text("utf-8")
