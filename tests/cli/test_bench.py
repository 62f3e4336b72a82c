"""`rgprobe bench`: what it writes, prints and refuses."""

import json

import pytest
from ladder_cases import made_up_result

from rgprobe.models.bench.options import LadderOptions

FILES = [f"attention-ladder.{suffix}" for suffix in ("json", "pdf", "png", "svg")]


@pytest.fixture
def asked(monkeypatch):
    """The options of each measurement asked for; nothing is measured."""
    seen = []

    def measure(options, *, on_progress):
        seen.append(options)
        on_progress(1, 2, "loop")
        return made_up_result()

    monkeypatch.setattr("rgprobe.models.bench.ladder.measure_ladder", measure)
    return seen


def test_json_figure_and_tables(rgprobe, asked, tmp_path):
    outcome = rgprobe("bench", "attention", "--out", tmp_path / "out")
    assert outcome.code == 0
    assert asked == [LadderOptions()]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == FILES
    assert json.loads((tmp_path / "out" / FILES[0]).read_text("utf-8"))["schema"] == "rgprobe.attention-ladder"
    assert "CPU time over that of the exact form" in outcome.out
    assert f"Wrote {tmp_path / 'out' / FILES[0]}" in outcome.out


def test_quick_and_seed_reach_the_measurement(rgprobe, asked, tmp_path):
    assert rgprobe("bench", "attention", "--quick", "--seed", 3, "--quiet", "--out", tmp_path / "out").code == 0
    assert asked == [LadderOptions.quick(seed=3)]


def test_an_unknown_target_gets_the_list(rgprobe, asked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = rgprobe("bench", "teapot")
    assert outcome.code == 2
    assert "TARGET: expected run | pair | sweep | attention | tree, received 'teapot'" in outcome.err
    assert (asked, list(tmp_path.iterdir())) == ([], [])


def test_a_directory_that_cannot_be_made_is_refused_before_measuring(rgprobe, asked, tmp_path):
    (tmp_path / "file").write_text("in the way")
    outcome = rgprobe("bench", "attention", "--out", tmp_path / "file" / "out")
    assert outcome.code == 3
    assert asked == []


def test_a_failure_leaves_nothing_behind(rgprobe, tmp_path, monkeypatch):
    def fail(options, *, on_progress):
        raise MemoryError

    monkeypatch.setattr("rgprobe.models.bench.ladder.measure_ladder", fail)
    assert rgprobe("bench", "attention", "--out", tmp_path / "out").code == 3
    assert list(tmp_path.iterdir()) == []


def test_a_source_is_for_runs_only(rgprobe, asked, tmp_path):
    outcome = rgprobe("bench", "attention", "--source", "standard-small", "--out", tmp_path / "out")
    assert outcome.code == 2
    assert "--source: expected the target run" in outcome.err
    assert asked == []


def test_runs_and_sweeps_write_a_record_and_figures(rgprobe, tmp_path, monkeypatch):
    from benchmark_results import runs, sweeps

    seen = []
    for module, name, made in (("run_cost", "measure_runs", runs), ("sweep_overhead", "measure_sweep", sweeps)):
        monkeypatch.setattr(
            f"rgprobe.benchmarks.{module}.{name}", lambda options, made=made, **_: (seen.append(options), made())[1]
        )
    for target, record in (("run", "run-cost"), ("sweep", "sweep-overhead")):
        outcome = rgprobe("bench", target, "--quick", "--quiet", "--out", tmp_path / target)
        assert outcome.code == 0, outcome.err
        written = sorted(path.name for path in (tmp_path / target).iterdir())
        assert written == [f"{record}.{suffix}" for suffix in ("json", "pdf", "png", "svg")]
    assert rgprobe("bench", "run", "--source", "gauge-small", "--out", tmp_path / "own").code == 0
    assert [getattr(options, "source", None) for options in seen] == [None, None, "gauge-small"]


def test_the_pair_writes_its_record_and_prints_its_table(rgprobe, tmp_path, monkeypatch):
    from benchmark_results import pair

    from rgprobe.benchmarks.pair_cost import PairOptions

    seen = []
    monkeypatch.setattr(
        "rgprobe.benchmarks.pair_cost.measure_pair", lambda options, **_: (seen.append(options), pair())[1]
    )
    outcome = rgprobe("bench", "pair", "--quick", "--device", "cpu", "--seed", 2, "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert seen == [PairOptions.quick(2, "cpu")]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["pair-cost.json"]
    assert "training, float32, tokens/s" in outcome.out


def test_a_device_is_for_the_pair_only(rgprobe, asked, tmp_path):
    outcome = rgprobe("bench", "attention", "--device", "cpu", "--out", tmp_path / "out")
    assert outcome.code == 2
    assert "--device: expected the target pair" in outcome.err
    assert asked == []
